"""`recsys benchmark`: train and measure models on a prepared split."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli.render import console, make_table
from jobs.experiments.benchmark import AUTO, benchmark
from jobs.progress import show_progress
from recsys.files import write_json

commands = typer.Typer()

METRICS = ("recall", "ndcg", "hit_rate", "coverage")
COSTS = (("fit_seconds", "fit s"), ("recommend_seconds", "rank s"), ("peak_memory_mb", "peak MB"))


class ProtocolName(StrEnum):
    """The interpretation of the test rows of a split."""

    HOLDOUT = "holdout"
    LAST_ITEM = "last-item"
    LAST_BASKET = "last-basket"


class Repeat(StrEnum):
    """The policy on items of a user's history."""

    ALLOW = "allow"
    EXCLUDE = "exclude"


class UnknownItemsName(StrEnum):
    """The policy on test items that the training rows lack."""

    DROP = "drop"
    COUNT = "count"


DEFAULT_REPEAT = {ProtocolName.LAST_ITEM: Repeat.EXCLUDE, ProtocolName.LAST_BASKET: Repeat.ALLOW}


@commands.command("benchmark")
def benchmark_command(
    context: typer.Context,
    directory: Annotated[
        Path,
        typer.Argument(help="Directory with train.parquet, test.parquet, and optionally valid and items.parquet"),
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model name; may be repeated (default: auto)")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Length of the lists")] = 20,
    protocol: Annotated[
        ProtocolName,
        typer.Option(
            help="holdout: test rows as they are; last-item: one test item per user; last-basket: the items of "
            "each user's next basket"
        ),
    ] = ProtocolName.HOLDOUT,
    repeat: Annotated[
        Repeat | None,
        typer.Option(
            help="Whether to recommend items of a user's history (default: exclude for last-item, allow for "
            "last-basket, else repeat)"
        ),
    ] = None,
    unknown_items: Annotated[
        UnknownItemsName,
        typer.Option(
            help="Test rows of items without training rows: drop them, or count them as relevant, in no list"
        ),
    ] = UnknownItemsName.DROP,
    out: Annotated[Path | None, typer.Option("--json", help="Also write all results to this file as JSON")] = None,
) -> None:
    """Train and measure models on a prepared split.

    Its files have the columns user_id, item_id and optionally timestamp or position; for last-basket,
    train.parquet has a column basket with the number of the user's basket, in their order.
    """
    repeat = repeat or DEFAULT_REPEAT.get(protocol) or Repeat(context.obj.repeat)
    evaluation = replace(context.obj.evaluation, cutoffs=(k,), metric=f"ndcg@{k}")
    settings = replace(context.obj, repeat=repeat.value, evaluation=evaluation)
    figures: dict[str, Any] = {}
    with show_progress() as progress:
        figures.update(
            benchmark(directory, model or [AUTO], protocol.value, settings, progress, unknown_items.value)
        )
    if out is not None:
        write_json(out, {"unknown_items": unknown_items.value, "models": figures})
    _print_figures(figures, k)
    _print_unknown_items(figures, unknown_items)


def _print_figures(figures: dict[str, dict[str, Any]], k: int) -> None:
    table = make_table(f"Benchmark at {k}", "model", right=(*METRICS, "AUC", *(label for _, label in COSTS)))
    for name, measured in figures.items():
        chosen = f" ({measured['chosen']})" if "chosen" in measured else ""
        costs = [f"{measured[cost]:,.1f}" for cost, _ in COSTS]
        auc = "" if measured["auc"] is None else f"{measured['auc']:.4f}"
        values = [f"{measured[f'{metric}@{k}']:.4f}" for metric in METRICS]
        table.add_row(f"{name}{chosen}", *values, auc, *costs)
    console.print(table)
    for name, measured in figures.items():
        console.print(
            f"  {name}: {measured['users']:,} users measured, {measured['cold_users']:,} without history left out"
        )
        for member, weights in measured.get("weights", {}).items():
            console.print(
                f"    {member}: {', '.join(f'{weight:.2f} {users}' for users, weight in weights.items())}"
            )


def _print_unknown_items(figures: dict[str, dict[str, Any]], policy: UnknownItemsName) -> None:
    """Tell how many test rows have an item without training rows, and what was done with them."""
    measured = next(iter(figures.values()))
    if not measured["unknown_rows"]:
        return
    rows, items = measured["unknown_rows"], measured["unknown_items"]
    done = "dropped" if policy == UnknownItemsName.DROP else "counted as relevant, though no list can hold them"
    console.print(f"  {rows:,} test rows of {items:,} items without training rows: {done}")
