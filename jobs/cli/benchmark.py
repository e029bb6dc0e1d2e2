"""`recsys benchmark`: models measured on a ready split."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.cli import render
from jobs.experiments.benchmark import AUTO, benchmark
from jobs.progress import show_progress
from recsys.files import write_json


class ProtocolName(StrEnum):
    """How the test rows of a split are read."""

    HOLDOUT = "holdout"
    LAST_ITEM = "last-item"


class Repeat(StrEnum):
    """Whether items of a user's history may be recommended."""

    ALLOW = "allow"
    EXCLUDE = "exclude"


def benchmark_command(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(help="Holds train.parquet, test.parquet, perhaps valid.parquet")],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model name; may be repeated (default: auto)")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, max=1000, help="Length of the lists")] = 20,
    protocol: Annotated[
        ProtocolName, typer.Option(help="holdout: test rows as they are; last-item: one test item a user")
    ] = ProtocolName.HOLDOUT,
    repeat: Annotated[
        Repeat | None, typer.Option(help="(default: exclude for last-item, the setting otherwise)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file")] = None,
) -> None:
    """Train and measure models on a ready split of user_id, item_id, perhaps timestamp or position."""
    if repeat is None:
        repeat = Repeat.EXCLUDE if protocol == ProtocolName.LAST_ITEM else Repeat(context.obj.repeat)
    evaluation = replace(context.obj.evaluation, cutoffs=(k,), metric=f"ndcg@{k}")
    settings = replace(context.obj, repeat=repeat.value, evaluation=evaluation)
    figures: dict[str, Any] = {}
    with show_progress() as progress:
        figures.update(benchmark(directory, model or [AUTO], protocol.value, settings, progress))
    if out is not None:
        write_json(out, {"models": figures})
    render.show_benchmark(figures, k)
