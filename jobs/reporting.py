"""The report step: what the run saw, chose and published, gathered for `recsys.evaluation.report`."""

from pathlib import Path

import polars as pl

from features.events import before
from jobs.evaluating import TEST, VALIDATION, measurements
from jobs.ingest import ingest_history
from jobs.lake import Lake
from jobs.run import Run
from recsys.data.splits import windows
from recsys.evaluation.report import write_report
from recsys.evaluation.report_data import DataSummary, Example, ListedItem, Report, SourceCounts, Step
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, TITLE, USER_ID
from recsys.settings import Settings
from recsys.store.blocks import ITEMS, USER_ITEMS_FILE

REPORT = "report"
REPORT_FILE = "report.html"
EXAMPLES = 6
EXAMPLE_ITEMS = 10
MOST_EVENTS = 0.8


def report(run: Run, lake: Lake, settings: Settings, winner: str) -> Path:
    """Write report.html, as one step; returns its path."""

    def write(directory: Path) -> None:
        write_report(directory / REPORT_FILE, _gather(run, lake, settings, winner))

    return run.step(REPORT, write) / REPORT_FILE


def _gather(run: Run, lake: Lake, settings: Settings, winner: str) -> Report:
    return Report(
        title="Recommendations report",
        windows=windows(run.as_of, settings.evaluation),
        evaluation=settings.evaluation,
        repeat=settings.repeat,
        winner=winner,
        validation=measurements(run, settings, VALIDATION),
        test=measurements(run, settings, TEST),
        data=_summarize(before(lake.events(), run.as_of)),
        sources=_sources(lake),
        steps=tuple(
            Step(name, step["seconds"], step["peak_memory_bytes"]) for name, step in run.manifest()["steps"].items()
        ),
        examples=find_examples(run, lake, EXAMPLES),
        settings=_shown_settings(settings),
    )


def _summarize(events: pl.LazyFrame) -> DataSummary:
    day = pl.col(TIMESTAMP).dt.date().alias("day")
    per_day = events.group_by(day).len().sort("day").collect()
    per_type = events.group_by(EVENT).len().sort("len", EVENT, descending=[True, False]).collect()
    per_user = events.group_by(USER_ID).len().collect()["len"]
    per_item = events.group_by(ITEM_ID).len().collect()["len"].sort(descending=True)
    total = int(per_user.sum())
    most = int((per_item.cum_sum() < MOST_EVENTS * total).sum()) + 1
    median = per_user.median()
    assert isinstance(median, float)
    return DataSummary(
        users=len(per_user),
        items=len(per_item),
        events=total,
        first_day=per_day["day"][0],
        last_day=per_day["day"][-1],
        events_per_day=tuple(per_day.rows()),
        events_per_type=dict(per_type.rows()),
        median_events_per_user=median,
        items_for_most_events=most / len(per_item),
    )


def _sources(lake: Lake) -> tuple[SourceCounts, ...]:
    return tuple(
        SourceCounts(
            name=f"{count.table} ({count.file})",
            rows_read=count.rows,
            accepted=count.accepted,
            duplicates=count.duplicates,
            quarantined=count.quarantined,
            rules=count.rules,
        )
        for count in ingest_history(lake)
    )


def find_examples(run: Run, lake: Lake, count: int) -> tuple[Example, ...]:
    """Users spread evenly over the order of ids, with what they had last and what they get."""
    lists = pl.scan_parquet(run.directory / "lists" / USER_ITEMS_FILE)
    users = lists.select(pl.len()).collect().item()
    chosen = lists.gather_every(max(1, users // count)).head(count).collect()
    recent = (
        pl.scan_parquet(run.directory / "features" / "sequences" / "*.parquet", hive_partitioning=False)
        .filter(pl.col(USER_ID).is_in(chosen[USER_ID].implode()))
        .sort(TIMESTAMP, ITEM_ID, descending=[True, False])
        .unique([USER_ID, ITEM_ID], keep="first", maintain_order=True)
        .group_by(USER_ID)
        .agg(pl.col(ITEM_ID).head(EXAMPLE_ITEMS))
        .collect()
    )
    latest = dict(recent.rows())
    titles = dict(lake.items().select(ITEM_ID, TITLE).collect().rows())
    return tuple(
        Example(user, _listed(latest.get(user, []), titles), _listed(items[:EXAMPLE_ITEMS], titles))
        for user, items in chosen.select(USER_ID, ITEMS).rows()
    )


def _listed(item_ids: list[str], titles: dict[str, str | None]) -> tuple[ListedItem, ...]:
    return tuple(ListedItem(item_id, titles.get(item_id)) for item_id in item_ids)


def _shown_settings(settings: Settings) -> dict[str, str]:
    return {
        "repeat": settings.repeat,
        "half_life_days": f"{settings.sources.half_life_days:g}",
        "weights": ", ".join(f"{name} {weight:g}" for name, weight in settings.sources.event_weights.items()),
        "candidates": ", ".join(settings.candidates),
        "seed": str(settings.seed),
    }
