"""`recsys lake`: describe the data, list and undo ingests, and show who gave the facts on an item."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.markup import escape

from jobs.audit import audit
from jobs.cli.data.description import print_description
from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json, print_path
from jobs.description.description import describe_lake
from jobs.description.findings import find_unusual
from jobs.ingest.source_records import read_ingests
from jobs.ingest.undo import undo
from jobs.lake.facts import GIVEN_BY_SUFFIX
from jobs.lake.lake import open_lake
from jobs.lake.prices import SINCE
from recsys.errors import SettingsError, SourceError
from recsys.schema import ITEM_DTYPES, ITEM_ID, PRICE
from recsys.settings import Settings

MAX_INGESTS = 20

commands = typer.Typer()
lake_app = typer.Typer(
    help="Describe the data, list and undo ingests, and show who gave the facts on an item.", no_args_is_help=True
)
commands.add_typer(lake_app, name="lake")


@lake_app.command("describe")
def describe(
    context: typer.Context,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write an HTML page with plots")] = None,
) -> None:
    """Describe the data: events by day and type, joins, prices, sources, and what is unusual."""
    settings: Settings = context.obj
    if html is not None and html.is_dir():
        raise SettingsError(f"--html = {str(html)!r}: expected a file, not a directory")
    described = describe_lake(open_lake(settings), settings.sources)
    if html is not None:
        from jobs.description.page import write_page  # matplotlib takes a second to import

        write_page(html, described)
    if as_json:
        print_json(asdict(described) | {"findings": find_unusual(described)})
        return
    print_description(described)
    if html is not None:
        print_path("Page", html)


@lake_app.command("ingests")
def list_ingests(context: typer.Context, as_json: AsJson = False) -> None:
    """List the last ingests with the sources that each read."""
    ingests = read_ingests(open_lake(context.obj))[-MAX_INGESTS:]
    if as_json:
        print_json(ingests)
        return
    table = make_table("Ingests", "number", "when", "source", right=("rows", "quarantined"))
    for ingest in ingests:
        for record in ingest["sources"]:
            numbers = (f"{record['rows']:,}", f"{record['quarantined']:,}")
            table.add_row(str(ingest["number"]), ingest["when"][:16], escape(record["source"]), *numbers)
    console.print(table)


@lake_app.command("undo")
def undo_ingest(
    context: typer.Context,
    number: Annotated[
        int, typer.Argument(metavar="INGEST", help="Number of the ingest, see `recsys lake ingests`")
    ],
    as_json: AsJson = False,
) -> None:
    """Take back the rows that an ingest gave, and restore those that it replaced."""
    lake = open_lake(context.obj)
    audit(context.obj, "ingest_undo", subject=str(number))
    undone = undo(lake, number)
    if as_json:
        print_json(asdict(undone))
        return
    what_follows = (
        "Its rows are in quarantine again." if undone.is_retry else "The next ingest reads its sources again."
    )
    console.print(
        f"Ingest {undone.number} is undone: {undone.events:+,} events, {undone.partitions:,} partitions changed. "
        f"{what_follows}",
        soft_wrap=True,
    )
    if undone.kept_watermarks:
        console.print(
            f"A later ingest moved the watermark of {escape(', '.join(undone.kept_watermarks))}: "
            "`recsys ingest --full` reads the rows below it again.",
            soft_wrap=True,
        )


@lake_app.command("item")
def show_item(context: typer.Context, item_id: str, as_json: AsJson = False) -> None:
    """Show the facts on an item, which table gave each value, and what it cost since when."""
    lake = open_lake(context.obj)
    facts = lake.facts("items").filter(pl.col(ITEM_ID) == item_id)
    if facts.is_empty():
        raise SourceError(f"item {item_id!r} is in no catalogue")
    row = facts.row(0, named=True)
    known = [(name, row[name], row[f"{name}{GIVEN_BY_SUFFIX}"]) for name in ITEM_DTYPES if name != ITEM_ID]
    prices = lake.prices().filter(pl.col(ITEM_ID) == item_id).select(PRICE, SINCE)
    if as_json:
        given = [{"column": name, "value": value, "given_by": table} for name, value, table in known if table]
        print_json({"facts": given, "prices": prices.to_dicts()})
        return
    shown = make_table(f"Item {escape(item_id)}", "column", "value", "given by")
    for name, value, table in known:
        if table is not None:
            shown.add_row(name, escape(str(value)), escape(table))
    console.print(shown)
    if prices.height > 1:
        history = make_table("Prices", "price", "since")
        for price, since in prices.sort(SINCE, maintain_order=True).iter_rows():
            history.add_row(f"{price:,.2f}", f"{since:%Y-%m-%dT%H:%M}")
        console.print(history)
