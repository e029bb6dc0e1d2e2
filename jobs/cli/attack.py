"""`recsys attack`: how the screening holds against fake accounts put into real data."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.table import Table

from jobs.cli import render
from jobs.cli.actions import parse_as_of
from jobs.experiments.attack_dataset import read_lake_dataset, read_split_dataset
from jobs.experiments.attack_simulation import AttackResult, simulate_attacks
from jobs.lake import open_lake
from jobs.progress import show_progress
from recsys.anomaly.attacks import KINDS
from recsys.errors import SettingsError
from recsys.files import write_json
from recsys.settings import Settings

DEFAULT_SHARES = (0.01, 0.03, 0.05)
DEFAULT_MODEL = "item_knn"


def attack_command(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(help="Holds train.parquet and test.parquet (default: the lake)")
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option("--kind", help=f"May be repeated (default: all): {', '.join(KINDS)}")
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option("--share", help="Fake accounts a user; may be repeated (default: .01, .03, .05)"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Attacks of each kind and share")] = 1,
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first of them")] = 0,
    model: Annotated[str, typer.Option("--model", "-m", help="Model whose lists are attacked")] = DEFAULT_MODEL,
    as_of: Annotated[str | None, typer.Option(help="Of the lake: moment up to which events count")] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write every attack to this file")] = None,
) -> None:
    """Put fake accounts into real data: who is found, and what the attack changes with and without the screening.

    Nothing is written to the lake, no list is published.
    """
    settings: Settings = context.obj
    unknown = sorted(set(kind or ()) - set(KINDS))
    if unknown:
        raise SettingsError(f"--kind = {unknown[0]!r}: expected one of {', '.join(KINDS)}")
    field = (
        read_lake_dataset(open_lake(settings), settings, parse_as_of(as_of))
        if directory is None
        else read_split_dataset(directory, settings)
    )
    wanted = range(first_seed, first_seed + seeds)
    with show_progress() as progress:
        outcomes = list(
            simulate_attacks(field, kind or KINDS, share or DEFAULT_SHARES, wanted, model, settings, progress)
        )
    if out is not None:
        write_json(out, {"attacks": [asdict(outcome) for outcome in outcomes]})
    show_attacks(outcomes)


def show_attacks(outcomes: Sequence[AttackResult]) -> None:
    """A row a kind and share, means over seeds."""
    table = Table(title="Attacks, means over seeds", caption="hits: clean users in whose first 10 the target is")
    for name in ("attack", "share"):
        table.add_column(name)
    for name in ("precision", "recall", "AUC", "clean flagged", "hits before", "attacked", "defended", "NDCG kept"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, float], list[AttackResult]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.kind, outcome.share), []).append(outcome)
    for (name, share), found in groups.items():
        table.add_row(
            name,
            f"{share:.1%}",
            f"{fmean(one.precision for one in found):.3f}",
            f"{fmean(one.recall for one in found):.3f}",
            f"{fmean(one.auc for one in found):.3f}",
            f"{fmean(one.clean_flagged for one in found):.3%}",
            f"{fmean(one.hits_before for one in found):.2%}",
            f"{fmean(one.hits_attacked for one in found):.2%}",
            f"{fmean(one.hits_defended for one in found):.2%}",
            f"{fmean(one.ndcg_defended / one.ndcg_before for one in found if one.ndcg_before):.1%}",
        )
    render.console.print(table)
