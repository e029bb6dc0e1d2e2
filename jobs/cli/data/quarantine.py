"""`recsys quarantine`: list and show the rows that broke a rule, and read them again."""

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from jobs.audit import audit
from jobs.checks.quarantine import list_quarantine, read_bad_rows
from jobs.cli.options import AsJson
from jobs.cli.render import console, filled_columns, make_table, print_json, print_rows
from jobs.ingest.ingest import MAX_CLOCK_SKEW
from jobs.lake.lake import open_lake
from jobs.progress import show_progress
from jobs.quarantine.retry import Retry, retry
from recsys.settings import Settings

commands = typer.Typer()
quarantine_app = typer.Typer(
    help="List and show the rows that broke a rule, and read them again.", no_args_is_help=True
)
commands.add_typer(quarantine_app, name="quarantine")

Table = Annotated[str | None, typer.Argument(help="Name of a table (default: all)")]
Rule = Annotated[str | None, typer.Option("--rule", help="Only rows that broke this rule")]
Source = Annotated[
    str | None, typer.Option("--source", help="Only rows of this source, as `list` names it, or by its file's name")
]
OnlyTable = Annotated[str | None, typer.Option("--table", help="Only rows of this table")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing")]
Limit = Annotated[int, typer.Option("-n", min=1, help="Maximum number of rows")]


@quarantine_app.command("list")
def list_command(context: typer.Context, as_json: AsJson = False) -> None:
    """List the rows in quarantine by table, source and rule."""
    files = list_quarantine(open_lake(context.obj))
    if as_json:
        print_json([asdict(file) for file in files])
        return
    if not files:
        console.print("No rows are in quarantine.")
        return
    table = make_table("Quarantine", "table", "source", "ingest", "rule", right=("rows",))
    for file in files:
        origin = (escape(file.table), escape(file.source), "" if file.ingest is None else str(file.ingest))
        for number, (rule, rows) in enumerate(file.rules.items()):
            table.add_row(*(origin if number == 0 else ("", "", "")), escape(rule), f"{rows:,}")
    console.print(table)


@quarantine_app.command("show")
def show_command(
    context: typer.Context,
    table: Table = None,
    rule: Rule = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """Show rows in quarantine with the values as they came, and the rules that they broke."""
    found = list(read_bad_rows(list_quarantine(open_lake(context.obj)), table, rule, limit))
    if as_json:
        print_json(
            [
                {"table": file.table, "source": file.source, "rows": filled_columns(rows).to_dicts()}
                for file, rows in found
            ]
        )
        return
    if not found:
        console.print("No rows are in quarantine.")
    for file, rows in found:
        print_rows(f"{file.table}: {file.source}", rows)


@quarantine_app.command("retry")
def retry_command(
    context: typer.Context,
    source: Source = None,
    table: OnlyTable = None,
    rule: Rule = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read rows in quarantine again by the present settings, and take those that are good now into the lake."""
    settings: Settings = context.obj
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW
    lake = open_lake(settings)
    if not dry_run:
        chosen = {"table": table, "source": source, "rule": rule}
        detail = ", ".join(f"{name} {value}" for name, value in chosen.items() if value is not None)
        audit(settings, "quarantine_retry", detail=detail or None)
    with show_progress() as progress, progress.task("read rows in quarantine") as task:
        retried = retry(lake, settings.sources, latest, source, table, rule, dry_run, on_rows=task.advance)
    if as_json:
        print_json(asdict(retried))
    elif not retried.files:
        console.print("No rows are in quarantine.")
    else:
        _print_retry(retried, dry_run)


def _print_retry(retried: Retry, dry_run: bool) -> None:
    title = "Would be read again" if dry_run else "Read again"
    shown = make_table(title, "table", "source", right=("rows", "good now", "in quarantine"))
    for file in retried.files:
        numbers = (f"{number:,}" for number in (file.rows, file.accepted, file.quarantined))
        shown.add_row(escape(file.table), escape(file.source), *numbers)
    console.print(shown)
    for file in retried.files:
        if file.reason:
            console.print(Text(f"  {file.table}: {file.source}: not read again: {file.reason}"), soft_wrap=True)
            continue
        if file.is_whole:
            console.print(Text(f"  {file.table}: {file.source} is there, and is read as a whole"), soft_wrap=True)
        for rule, rows in file.rules.items():
            console.print(f"  {escape(file.table)}: {rows:,} rows break {escape(rule)}")
    if retried.ingest is not None:
        console.print(f"`recsys lake undo {retried.ingest}` puts the rows back.", soft_wrap=True)
