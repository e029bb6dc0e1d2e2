"""`recsys demo`: everything on a year of a grocer's purchases, and one customer who buys something."""

import sys
from itertools import zip_longest
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from jobs.cli.data.ingest import ingest_sources, print_counts
from jobs.cli.nightly.run import print_result
from jobs.cli.render import console, make_table
from jobs.demo.complete_journey import AS_OF, demo_directory, demo_settings
from jobs.demo.live import LiveComparison, compare_before_and_after_purchase
from jobs.lookup import ListLookup, LookupResult
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.step_names import Until
from jobs.pipeline.steps.example_lists import find_examples
from jobs.progress import show_progress
from recsys.evaluation.report.contents import Example

commands = typer.Typer()

LIST_LENGTH = 10
LIVE_LENGTH = 8


@commands.command()
def demo(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="Directory with the Complete Journey files (default: the installed package's)"),
    ] = None,
    shoppers: Annotated[int, typer.Option(min=1, max=20, help="Number of customers whose lists are shown")] = 3,
) -> None:
    """Run everything on a year of a grocer's purchases, and show one customer buying something.

    It ingests, computes features, trains models, writes a report, and publishes lists to its own Redis server.
    """
    paths = (str(data or demo_directory()),)
    settings = demo_settings(context.obj)
    with show_progress() as progress:
        counts = ingest_sources(settings, paths, progress)
        result = advance_run(settings, AS_OF, Until.PUBLISH, progress)
    print_counts(counts)
    print_result(settings, result)
    lookup = ListLookup.connect(settings)
    examples = find_examples(result.run, lookup.lake, settings, shoppers)
    for example in examples:
        _print_example(
            example, lookup.user_list(example.user_id, lookup.lake.stored_id(example.user_id), LIST_LENGTH)
        )
    customer = examples[0].user_id
    _print_comparison(compare_before_and_after_purchase(settings, lookup, customer, LIVE_LENGTH))
    _print_next_steps(settings.directory, lookup.address, customer)


def _print_example(example: Example, recommended: LookupResult) -> None:
    """Print a customer's latest purchases beside the list that Redis has for the customer."""
    table = make_table(
        f"Customer {example.user_id}: {recommended.source} list", "#", "bought last", "recommended now"
    )
    for rank, (recent, item) in enumerate(zip_longest(example.recent, recommended.items), 1):
        bought = f"{recent.title or recent.item_id}" if recent else ""
        described = f"{item.title or ''} ({item.item_id})" if item else ""
        table.add_row(str(rank), escape(bought), escape(described))
    console.print(table)


def _print_comparison(comparison: LiveComparison) -> None:
    """Print a customer's list over HTTP before and after a purchase, each item with its reason."""
    for title, items in (
        (f"Over HTTP, customer {comparison.user_id} gets beside the cart", comparison.before),
        (f"… and right after buying {comparison.bought}", comparison.after),
    ):
        table = make_table(title, "#", "item", "why")
        for rank, (item, reason) in enumerate(items, 1):
            table.add_row(str(rank), escape(item), escape(reason))
        console.print(table)


def _print_next_steps(directory: Path, address: str, user_id: str) -> None:
    host, _, port = address.rpartition(":")
    program = sys.argv[0]
    console.print("The Redis server keeps running. Try:")
    for line in (
        f"  RECSYS_DIRECTORY={directory} {program} recommend {user_id}",
        f"  RECSYS_DIRECTORY={directory} {program} serve",
        f"  RECSYS_DIRECTORY={directory} {program} status",
        f"  redis-cli -h {host} -p {port} GET recsys:live",
        f"  RECSYS_DIRECTORY={directory} {program} stop",
    ):
        console.print(Text(line), soft_wrap=True)
