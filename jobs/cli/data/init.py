"""`recsys init`: from a shop's files or database to a commented recsys.toml."""

import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from jobs.cli.render import console, make_table, print_rows
from jobs.ingest.files import SkippedFile
from jobs.ingest.ingest import check_tables
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.draft import DraftedSettings, draft_settings
from jobs.mapping_inference.preview import PREVIEW_ROWS
from jobs.mapping_inference.questions import Ask, Question, accept_default
from jobs.mapping_inference.settings_file import never_show, not_recommendable, render
from recsys.errors import SettingsError
from recsys.files import atomic_write
from recsys.logs import configure_logging
from recsys.settings import DEFAULT_FILE, load_settings
from recsys.settings.types import redact_address

MAX_SKIPPED = 10
OLD = timedelta(days=14)  # since the last event, from which a run is as of the day after it

commands = typer.Typer()


@commands.command("init")
def init_command(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(help="Directories, files, globs, s3:// addresses, or URIs of databases")
    ],
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing, and take the default of every question")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the settings file if there is one")] = False,
) -> None:
    """Look at files or a database, and write the recsys.toml that reads them."""
    file: Path = context.obj or DEFAULT_FILE
    if file.exists() and not force:
        raise SettingsError(f"{file} exists: --force replaces it, `recsys --config FILE init` writes another one")
    settings = load_settings(None)
    configure_logging(settings.log_format)
    console.print(Text(f"Looking at {', '.join(map(redact_address, sources))}"), soft_wrap=True)
    with tempfile.TemporaryDirectory() as scratch:
        now = datetime.now(UTC)
        drafted = draft_settings(sources, settings, _choose_ask(yes), file.parent, Path(scratch), now)
    _print_conclusions(drafted)
    if not drafted.draft.inference.conclusions:
        named = ", ".join(map(redact_address, sources))
        raise SettingsError(f"{named}: no table of events, items or users was recognized; write {file} by hand")
    _write(file, render(drafted.draft))
    _print_next_commands(file, drafted, now)


def ask_at_terminal(question: Question) -> str:
    """Ask a question until the answer is understood; Enter takes the default."""

    def check(answer: str) -> str:
        expected = f"expected one of {', '.join(question.choices)}"
        is_choice = not question.choices or answer in question.choices
        problem = question.problem(answer) if is_choice else expected
        if problem is not None:
            raise typer.BadParameter(problem)
        return answer

    choices = f" ({', '.join(question.choices)})" if question.choices else ""
    answer: str = typer.prompt(question.text + choices, default=question.default, value_proc=check)
    return answer


def _choose_ask(yes: bool) -> Ask:
    """Return how questions are answered: by their defaults if nobody can be asked."""
    return accept_default if yes or not sys.stdin.isatty() else ask_at_terminal


def _write(file: Path, text: str) -> None:
    """Write the settings once they are known to be valid."""
    with atomic_write(file) as temporary:
        temporary.write_text(text, encoding="utf-8")
        check_tables(load_settings(temporary, {}).sources)


def _print_conclusions(drafted: DraftedSettings) -> None:
    inference = drafted.draft.inference
    for conclusion, preview in zip(inference.conclusions, drafted.previews, strict=True):
        _print_conclusion(conclusion)
        console.print(Text(f"The first rows of {conclusion.table.name}, as they will be read:"), soft_wrap=True)
        print_rows("", preview.rows.head(PREVIEW_ROWS))
        if preview.unreadable:
            console.print(f"  {preview.unreadable:,} rows of the sample cannot be read; `recsys check` says why")
    notes = [*inference.notes, *(f"{each.name} is not read: {each.reason}" for each in inference.unused)]
    notes += [
        f"kept out of lists as no goods: {each.kind} ({', '.join(each.examples)})" for each in inference.not_goods
    ]
    for note in notes:
        console.print(Text(f"  {note}"), soft_wrap=True)
    _print_skipped(drafted.skipped)


def _print_conclusion(conclusion: Conclusion) -> None:
    table = conclusion.table
    source = table.files or f"connection {table.connection}"
    recipe = f", by the recipe {conclusion.recipe}" if conclusion.recipe else ""
    console.print(Text(f"{table.name}: {table.kind} from {source}{recipe}", "bold"), soft_wrap=True)
    shown = make_table("", "column", "read from", *([] if recipe else ["because"]))

    def add(name: str, read_from: str, reason: str) -> None:
        shown.add_row(*map(Text, (name, read_from, *([] if recipe else [reason]))))

    for name, mapped in table.columns.items():
        add(name, mapped if isinstance(mapped, str) else ", ".join(mapped), conclusion.reasons.get(name, ""))
    for name in ("explode", "where", "time_format", "decimal", "thousands", "ids", "keep"):
        value = getattr(table, name)
        if value not in (None, "", ".", "reject", "first"):
            add(f"({name})", str(value), conclusion.reasons.get(name, ""))
    console.print(shown)
    for note in conclusion.sample.notes:
        console.print(Text(f"  {note}"), soft_wrap=True)


def _print_skipped(skipped: Sequence[SkippedFile]) -> None:
    for file in skipped[:MAX_SKIPPED]:
        console.print(Text(f"  skipped {file.file}: {file.reason}"), soft_wrap=True)
    if len(skipped) > MAX_SKIPPED:
        console.print(f"  skipped {len(skipped) - MAX_SKIPPED:,} more files")


def _print_next_commands(file: Path, drafted: DraftedSettings, now: datetime) -> None:
    draft, last = drafted.draft, drafted.last_event
    patterns = not_recommendable(draft.inference)
    if patterns:
        console.print(Text(f"  lists.not_recommendable = {', '.join(patterns)}"), soft_wrap=True)
    if hidden := never_show(draft.inference):
        console.print(Text(f"  lists.never_show = {', '.join(hidden)}"), soft_wrap=True)
    console.print(Text(f"Wrote {file}. Read it, change what is wrong, then run:"), soft_wrap=True)
    for name in draft.secret_connections:
        console.print(Text(f"  export RECSYS_SOURCES_CONNECTIONS_{name.upper()}=URI"), soft_wrap=True)
    recsys = "recsys" if file == DEFAULT_FILE else f"recsys --config {file}"
    is_old = last is not None and last < now - OLD
    as_of = f" --as-of {last + timedelta(days=1):%Y-%m-%d}" if last is not None and is_old else ""
    for command, purpose in (
        ("check", "check the settings, the first rows of each table, and Redis"),
        ("ingest", "read everything into the lake"),
        (f"nightly{as_of}", "read, train, measure, and publish lists to Redis"),
    ):
        console.print(Text(f"  {f'{recsys} {command}':36}  # {purpose}"), soft_wrap=True)
    if last is not None and is_old:
        console.print(Text(f"The last event is of {last:%Y-%m-%d}: a run as of today has none to learn from."))
