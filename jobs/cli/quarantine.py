"""`recsys quarantine`: list and show the rows that broke a rule."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from jobs.checks.quarantine import list_quarantine, read_bad_rows
from jobs.cli.options import AsJson
from jobs.cli.render import console, filled_columns, make_table, print_json, print_rows
from jobs.lake.lake import open_lake

commands = typer.Typer()
quarantine_app = typer.Typer(help="List and show the rows that broke a rule.", no_args_is_help=True)
commands.add_typer(quarantine_app, name="quarantine")

Table = Annotated[str | None, typer.Argument(help="Name of a table (default: all)")]
Rule = Annotated[str | None, typer.Option("--rule", help="Only rows that broke this rule")]
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
