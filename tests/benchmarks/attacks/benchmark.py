"""Attacks on four data sets: who is found, and what is left of the damage.

The kinds are those of `recsys attack`, and others that the detectors were not built on.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import polars as pl

from jobs.cli.data.ingest import ingest_sources
from jobs.demo.complete_journey import AS_OF, demo_directory, demo_settings
from jobs.experiments.attack_dataset import AttackDataset, read_lake_dataset, read_split_dataset
from jobs.experiments.attack_simulation import AttackResult, screen_dataset, simulate_attacks
from jobs.lake.lake import open_lake
from jobs.progress import LogProgress
from recsys.anomaly.attacks import KINDS, draw_attack
from recsys.schema import FLAGGED, USER_ID
from recsys.settings import Settings, load_settings
from tests.benchmarks.attacks.held_out import HELD_OUT_KINDS, draw_held_out_attack

REPOSITORY = Path(__file__).parents[3]
DATA = REPOSITORY.parent / "shared" / "data"
EXAMPLES = REPOSITORY / "jobs" / "examples"
ENDS = {"online_retail": datetime(2011, 12, 10, tzinfo=UTC), "rees46": datetime(2019, 10, 2, tzinfo=UTC)}
SHARES = (0.01, 0.03, 0.05)
SEEDS = range(5)
MODEL = "item_knn"
Figures = dict[str, float]


def attacks(work: Path) -> Iterator[tuple[str, Figures]]:
    """Every kind of attack, in three sizes, five times: a day on two cores."""
    for name, dataset, settings in _datasets(work):
        clean = float(screen_dataset(dataset, settings)[FLAGGED].sum()) / dataset.events[USER_ID].n_unique()
        for family, kinds, draw in (
            (name, KINDS, draw_attack),
            (f"{name}, held out", HELD_OUT_KINDS, draw_held_out_attack),
        ):
            outcomes: list[AttackResult] = []
            for outcome in simulate_attacks(dataset, kinds, SHARES, SEEDS, MODEL, settings, LogProgress(), draw):
                outcomes.append(outcome)
                with (Path(".benchmarks") / f"attacks-{name}.jsonl").open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            yield family, show(family, outcomes) | {"flagged without an attack": clean}
        print(f"flagged without an attack: {clean:.3%} (asked: at most 0.5 %)")


def show(name: str, outcomes: Sequence[AttackResult]) -> Figures:
    """A table of all kinds, and of what is asked of their means; what is missed is marked."""
    kinds = {kind: [one for one in outcomes if one.kind == kind] for kind in (*KINDS, *HELD_OUT_KINDS)}
    print(f"\n{name}, {len(outcomes)} attacks\n")
    print("| attack | precision | recall | AUC | hits of the target | defended |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, result in kinds.items():
        if result:
            means = _means(result)
            cells = (
                means["precision"],
                means["recall"],
                means["auc"],
                means["hits_attacked"],
                means["hits_defended"],
            )
            print(f"| {kind} | {' | '.join(f'{cell:.4f}' for cell in cells)} |")
    figures = summary(outcomes)
    bars = {
        "precision": (figures["precision"] >= 0.95, "≥ .95"),
        "recall": (figures["recall"] >= 0.90, "≥ .90"),
        "least recall of a kind": (figures["least recall of a kind"] >= 0.70, "≥ .70"),
        "clean users flagged": (figures["clean users flagged"] <= 0.005, "≤ .005"),
        "damage undone": (figures["damage undone"] >= 0.90, "≥ .90"),
        "NDCG lost by clean users": (figures["NDCG lost by clean users"] < 0.01, "< .01"),
    }
    print("\n| of all | target | measured |\n| --- | --- | --- |")
    for what, (reached, limit) in bars.items():
        print(f"| {what} | {limit} | {'' if reached else '**missed:** '}{figures[what]:.4f} |")
    return figures


def summary(outcomes: Sequence[AttackResult]) -> Figures:
    """Means over attacks; the damage is the rise of the target's hits, added up over all attacks that had one."""
    by_kind = [_means([one for one in outcomes if one.kind == kind]) for kind in {one.kind for one in outcomes}]
    rises = [(one.hits_attacked - one.hits_before, one.hits_defended - one.hits_before) for one in outcomes]
    damage = sum(rise for rise, _ in rises if rise > 0)
    left = sum(max(0.0, rest) for rise, rest in rises if rise > 0)
    lost = fmean(1 - one.ndcg_defended / one.ndcg_before for one in outcomes)
    return {
        "precision": fmean(means["precision"] for means in by_kind),
        "recall": fmean(means["recall"] for means in by_kind),
        "least recall of a kind": min(means["recall"] for means in by_kind),
        "clean users flagged": fmean(one.clean_flagged for one in outcomes),
        "most clean users flagged": max(one.clean_flagged for one in outcomes),
        "damage": damage,
        "damage undone": 1 - left / damage if damage else 1.0,
        "NDCG lost by clean users": lost,
    }


def _means(outcomes: Sequence[AttackResult]) -> Mapping[str, float]:
    frame = pl.DataFrame([asdict(one) for one in outcomes]).drop("kind")
    return {name: float(frame[name].mean() or 0.0) for name in frame.columns}  # pyright: ignore[reportArgumentType]


def _datasets(work: Path) -> Iterator[tuple[str, AttackDataset, Settings]]:
    settings = demo_settings(Settings(directory=work))
    ingest_sources(settings, (str(demo_directory()),), LogProgress())
    yield "complete_journey", read_lake_dataset(open_lake(settings), settings, AS_OF), settings
    for name, end in ENDS.items():
        if (DATA / name).is_dir():
            example = replace(load_settings(EXAMPLES / f"{name}.toml", {}), directory=work / name)
            ingest_sources(example, (f"{DATA / name}/",), LogProgress())
            yield name, read_lake_dataset(open_lake(example), example, end), example
    if (DATA / "gowalla").is_dir():
        exclude = replace(Settings(directory=work), repeat="exclude")
        yield "gowalla", read_split_dataset(DATA / "gowalla", exclude), exclude
    else:
        print(f"\nno public data sets at {DATA}: Online Retail, REES46 and Gowalla are left out")
