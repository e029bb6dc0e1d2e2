"""`recsys attack`: simulate attacks by fake accounts in real data, and measure how well screening stops them."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer
from rich.table import Table

from jobs.cli.options import parse_as_of
from jobs.cli.render import console
from jobs.experiments.attack_dataset import read_lake_dataset, read_split_dataset
from jobs.experiments.attack_simulation import AttackResult, simulate_attacks
from jobs.lake.not_recommendable import open_recommendable_lake
from jobs.progress import show_progress
from recsys.anomaly.attacks import KINDS
from recsys.errors import SettingsError
from recsys.files import write_json
from recsys.settings import Settings

commands = typer.Typer()

DEFAULT_SHARES = (0.01, 0.03, 0.05)
DEFAULT_MODEL = "item_knn"


@commands.command("attack")
def attack_command(
    context: typer.Context,
    directory: Annotated[
        Path | None, typer.Argument(help="Directory with train.parquet and test.parquet (default: the lake)")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help=f"Kind of attack; may be repeated (default: all): {', '.join(KINDS)}"),
    ] = None,
    share: Annotated[
        list[float] | None,
        typer.Option("--share", help="Fake accounts per user; may be repeated (default: 0.01, 0.03, 0.05)"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Number of attacks of each kind and share")] = 1,
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the first attack")] = 0,
    model: Annotated[str, typer.Option("--model", "-m", help="Model whose lists are attacked")] = DEFAULT_MODEL,
    as_of: Annotated[
        str | None, typer.Option(help="With the lake: use events before this moment (default: last midnight)")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Also write all results to this file as JSON")] = None,
) -> None:
    """Simulate attacks by fake accounts, and measure how well screening stops them.

    Nothing is written to the lake, and no list is published.
    """
    settings: Settings = context.obj
    unknown = sorted(set(kind or ()) - set(KINDS))
    if unknown:
        raise SettingsError(f"--kind = {unknown[0]!r}: expected one of {', '.join(KINDS)}")
    moment = parse_as_of(as_of)
    dataset = (
        read_lake_dataset(open_recommendable_lake(settings, moment), settings, moment)
        if directory is None
        else read_split_dataset(directory, settings)
    )
    attack_seeds = range(first_seed, first_seed + seeds)
    with show_progress() as progress:
        results = list(
            simulate_attacks(
                dataset, kind or KINDS, share or DEFAULT_SHARES, attack_seeds, model, settings, progress
            )
        )
    if out is not None:
        write_json(out, {"attacks": [asdict(result) for result in results]})
    _print_results(results)


def _print_results(results: Sequence[AttackResult]) -> None:
    """Print a row for each kind and share, means over seeds."""
    table = Table(title="Attacks, means over seeds", caption="hits: clean users in whose first 10 the target is")
    for name in ("attack", "share"):
        table.add_column(name)
    for name in ("precision", "recall", "AUC", "clean flagged", "hits before", "attacked", "defended", "NDCG kept"):
        table.add_column(name, justify="right")
    groups: dict[tuple[str, float], list[AttackResult]] = {}
    for result in results:
        groups.setdefault((result.kind, result.share), []).append(result)
    for (name, share), group in groups.items():
        table.add_row(
            name,
            f"{share:.1%}",
            f"{fmean(result.precision for result in group):.3f}",
            f"{fmean(result.recall for result in group):.3f}",
            f"{fmean(result.auc for result in group):.3f}",
            f"{fmean(result.clean_flagged for result in group):.3%}",
            f"{fmean(result.hits_before for result in group):.2%}",
            f"{fmean(result.hits_attacked for result in group):.2%}",
            f"{fmean(result.hits_defended for result in group):.2%}",
            f"{fmean(result.ndcg_defended / result.ndcg_before for result in group if result.ndcg_before):.1%}",
        )
    console.print(table)
