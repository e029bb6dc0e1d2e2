"""Write what was concluded as a commented settings file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatch
from textwrap import wrap
from typing import Any

from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.inference import Inference
from recsys.settings import Settings, Table

COMMENT_COLUMN = 44
LINE_LENGTH = 116
OWN_LINES = ("name", "kind", "columns")


@dataclass(frozen=True)
class Draft:
    """Settings that are not written yet."""

    title: str
    """What the data is."""
    inference: Inference
    paths: tuple[str, ...] = ()
    connections: Mapping[str, str] = field(default_factory=dict[str, str])
    """Name -> URI without a password."""
    secret_connections: tuple[str, ...] = ()
    """Names of connections whose URI belongs in the environment."""
    time_zone: str | None = None
    repeat: str = "exclude"
    repeat_reason: str = ""


def render(draft: Draft) -> str:
    """Return a draft as TOML with comments."""
    return "\n".join(_lines(draft)).rstrip() + "\n"


def _lines(draft: Draft) -> Iterator[str]:
    yield f"# How {draft.title} is read, as `recsys init` concluded. Change what is wrong, then run `recsys check`."
    yield "# docs/data-sources.md explains mappings, docs/settings.md all settings."
    yield ""
    yield _setting("repeat", draft.repeat, draft.repeat_reason)
    yield from _not_recommendable(draft.inference)
    yield ""
    yield "[sources]"
    if draft.paths:
        yield _setting("paths", draft.paths)
    if draft.time_zone is not None:
        yield _setting("time_zone", draft.time_zone, "of times without an offset")
    yield from _other_source_settings(draft.inference)
    if draft.connections or draft.secret_connections:
        yield ""
        yield "[sources.connections]"
        yield from (_setting(name, uri) for name, uri in draft.connections.items())
        for name in draft.secret_connections:
            yield f"# {name}: its URI is in the environment, as RECSYS_SOURCES_CONNECTIONS_{name.upper()}"
    for conclusion in draft.inference.conclusions:
        yield ""
        yield from _table(conclusion)


def _not_recommendable(inference: Inference) -> Iterator[str]:
    patterns, hidden = not_recommendable(inference), never_show(inference)
    if patterns or hidden:
        yield ""
        yield "[lists]"
        for goods in inference.not_goods:
            yield from comment_lines(f"{goods.kind}: {', '.join(goods.examples)}")
        if patterns:
            yield _setting("not_recommendable", patterns)
        if hidden:
            yield _setting("never_show", hidden)


def never_show(inference: Inference) -> tuple[str, ...]:
    """Return the patterns of what customers buy for themselves and no list should show."""
    found = (goods.patterns for goods in inference.not_goods if goods.is_bought_regularly)
    return tuple(dict.fromkeys(pattern for patterns in found for pattern in patterns))


def not_recommendable(inference: Inference) -> tuple[str, ...]:
    """Return the patterns of what is no goods: those of the recipes, and those that were found."""
    given = [pattern for recipe in inference.recipes for pattern in recipe.settings.lists.not_recommendable]
    others = (goods for goods in inference.not_goods if not goods.is_bought_regularly)
    found = [pattern for goods in others for pattern in goods.patterns]
    new = [each for each in found if not any(fnmatch(each.lower(), pattern.lower()) for pattern in given)]
    return tuple(dict.fromkeys([*given, *new]))


def _other_source_settings(inference: Inference) -> Iterator[str]:
    default = Settings().sources.half_life_days
    for recipe in inference.recipes:
        if recipe.settings.sources.half_life_days != default:
            yield _setting("half_life_days", recipe.settings.sources.half_life_days)
            return


def _table(conclusion: Conclusion) -> Iterator[str]:
    table, reasons = conclusion.table, conclusion.reasons
    if conclusion.recipe:
        yield from comment_lines(f"From the recipe {conclusion.recipe}: {reasons.get('recipe', '')}.")
    yield "[[sources.tables]]"
    yield _setting("name", table.name)
    yield _setting("kind", table.kind)
    for each in fields(Table):
        value = getattr(table, each.name)
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        if each.name not in OWN_LINES and value != default:
            yield _setting(each.name, value, reasons.get(each.name, ""))
    yield "[sources.tables.columns]"
    for name, mapped in table.columns.items():
        yield _setting(name, mapped, reasons.get(name, ""))


def _setting(name: str, value: Any, comment: str = "") -> str:
    line = f"{name} = {toml_value(value)}"
    if not comment:
        return line
    note = " ".join(comment.split())
    is_beside = len(line) <= COMMENT_COLUMN and len(note) <= LINE_LENGTH - COMMENT_COLUMN and "\n" not in line
    return f"{line:{COMMENT_COLUMN}}# {note}" if is_beside else "\n".join([*comment_lines(note), line])


def comment_lines(text: str) -> list[str]:
    """Return a text as lines of a comment."""
    return wrap(text, LINE_LENGTH, initial_indent="# ", subsequent_indent="# ")


def toml_value(value: Any) -> str:
    """Return a value of the settings as TOML.

    >>> toml_value({"a b": ("x", 1.5, True)})
    '{ "a b" = ["x", 1.5, true] }'
    """
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{_key(str(key))} = {toml_value(inner)}" for key, inner in value.items())
        return f"{{ {pairs} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml_value, value))}]"
    return _text(value) if isinstance(value, str) else json.dumps(value)


def _key(name: str) -> str:
    is_bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if is_bare else json.dumps(name, ensure_ascii=False)


def _text(text: str) -> str:
    """Return a text as TOML; one with quotes is literal where that is possible, one of several lines stays so."""
    is_plain = text.isprintable() or "\n" in text
    if "\n" in text and is_plain and '"""' not in text and "\\" not in text:
        return f'"""\n{text}"""'
    if '"' in text and "'" not in text and is_plain:
        return f"'{text}'"
    if '"' in text and is_plain and "'''" not in text and not text.endswith("'") and "\n" not in text:
        return f"'''{text}'''"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
