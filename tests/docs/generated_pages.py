"""Generate docs/settings.md and docs/features.md from the code, by `make docs`."""

import ast
import inspect
import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from features.registry import describe
from recsys.models.registry import MODELS
from recsys.settings import SECTIONS, Settings, Table

DOCS = Path(__file__).parents[2] / "docs"

SETTINGS_INTRODUCTION = """# Settings

Settings come from `recsys.toml` and, over it, from environment variables: `RECSYS_<FIELD>` or
`RECSYS_<SECTION>_<FIELD>`, as in `RECSYS_REPEAT` or `RECSYS_SOURCES_HALF_LIFE_DAYS`. `--config FILE` or
`RECSYS_SETTINGS_FILE` names another file. An invalid value ends the command with exit status 2 and one line
that names the field, the value and what was expected.

`make docs` generates this page from the code.
"""

FEATURES_INTRODUCTION = """# Features

Columns of the feature tables of a run, as `recsys features describe` prints them. Each table is written to
`features/` in the run's directory. A column uses only events before the run's `as_of`.

An order is what a user buys in one session; without sessions, at one time. Its lines are the items: `orders_7d`
counts orders, `purchase_lines_7d` lines. A purchase that was returned whole is neither an order nor a line, and
counts in no money; of one that was returned in part, the rest counts. Hours and days are those of the setting
`sources.time_zone`, the shop's; windows such as `7d` are multiples of 24 hours before `as_of`.

`recsys users export` writes profiles, segments, forecasts and due items of all users to one file. [The page on
Redis](redis.md#profiles) says what of them is there.

`make docs` generates this page from the code.
"""


def settings_page() -> str:
    """Describe every setting: one table per section, one per source table, one per model."""
    parts = [SETTINGS_INTRODUCTION, _settings_table("Top level", Settings, exclude=SECTIONS)]
    defaults = {field.name: field.default_factory for field in fields(Settings)}
    for section in SECTIONS:
        factory: Any = defaults[section]
        parts.append(_settings_table(f"`[{section}]`", factory))
    parts.append(_settings_table("`[[sources.tables]]`", Table))
    parts.append("## Models\n\nA model's settings are in `[model_settings.<name>]`.\n")
    parts += [_settings_table(f"`[model_settings.{model.name}]`", model.config_type, level=3) for model in MODELS]
    return "\n".join(parts)


def features_page() -> str:
    """Describe every feature: one table per feature table."""
    parts = [FEATURES_INTRODUCTION]
    for (table,), rows in describe().group_by("table", maintain_order=True):
        parts.append(f"## {table}\n\n| feature | type | unit | meaning |\n| --- | --- | --- | --- |")
        parts += [
            f"| `{row['name']}` | {row['dtype']} | {row['unit']} | {_cell(row['meaning'])} |"
            for row in rows.iter_rows(named=True)
        ]
        parts.append("")
    return "\n".join(parts)


PAGES = {"settings.md": settings_page, "features.md": features_page}


def _settings_table(title: str, settings: type[Any], exclude: tuple[str, ...] = (), level: int = 2) -> str:
    """Render one settings dataclass as a Markdown table."""
    assert is_dataclass(settings)
    properties = _properties(TypeAdapter(settings).json_schema())
    meanings = _attribute_docstrings(settings)
    lines = [f"{'#' * level} {title}", "", _cell(inspect.getdoc(settings) or ""), ""]
    lines += ["| setting | value | default | meaning |", "| --- | --- | --- | --- |"]
    for field in fields(settings):
        if field.name not in exclude:
            kind = _kind(properties.get(field.name, {}))
            lines.append(f"| `{field.name}` | {kind} | {_default(field)} | {_cell(meanings[field.name])} |")
    return "\n".join([*lines, ""])


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return schema.get("properties", {})


def _attribute_docstrings(settings: type[Any]) -> dict[str, str]:
    """Read the string literal under each field, base classes first."""
    found: dict[str, str] = {}
    for base in reversed([each for each in settings.__mro__ if is_dataclass(each)]):
        (definition,) = ast.parse(inspect.cleandoc(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for statement, following in zip(definition.body, definition.body[1:], strict=False):
            if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
                continue
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                found[statement.target.id] = inspect.cleandoc(str(following.value.value))
    return found


def _kind(schema: Mapping[str, Any]) -> str:
    """Describe the values that a JSON schema accepts."""
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        kinds = [_kind(each) for each in schema["anyOf"] if each.get("type") != "null"]
        return " or ".join(kinds)
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items') or {'type': 'string'})}"
    names = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "string": "text",
        "object": "table",
    }
    name = names.get(schema.get("type", ""), "value")
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {schema[key]:g}" for key, sign in signs.items() if key in schema]
    return " ".join([name, ", ".join(bounds)]).strip()


def _default(field: Any) -> str:
    value = field.default if field.default is not MISSING else None
    if field.default is MISSING and field.default_factory is not MISSING:
        value = field.default_factory()
    elif field.default is MISSING:
        return "required"
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, Path):
        value = str(value)
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page())


if __name__ == "__main__":
    main()
