"""All that a run computed of each user, one bucket of users at a time: for published profiles and for exports."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from features.feature import Feature
from features.registry import OTHER_TABLES, TABLES
from features.repurchase.due_items import DUE_AT, PROBABILITY
from jobs.lake.event_writer import scan_files
from jobs.pipeline.step_names import FEATURES
from recsys.schema import ITEM_ID, RANK, TIMESTAMP_DTYPE, USER_ID

PROFILES: Final = "user_profile"
SEGMENTS: Final = "user_segments"
FORECASTS: Final = "user_forecasts"
DUE_ITEMS: Final = "due_items"
FORECASTS_FILE: Final = Path("forecasts") / f"{FORECASTS}.parquet"

_DUE_COLUMNS: Final = (ITEM_ID, DUE_AT, PROBABILITY)
_DUE: Final = Feature(
    DUE_ITEMS,
    pl.List(pl.Struct({ITEM_ID: pl.String(), DUE_AT: TIMESTAMP_DTYPE, PROBABILITY: pl.Float64()})),
    "items",
    "Items that the user is due to buy again, the most probable first, with the times and probabilities of "
    "`due_items`",
    pl.struct(_DUE_COLUMNS),
)


def bucket_files(run: Path) -> list[Path]:
    """Return the files of user profiles of a run, one for each bucket."""
    return sorted((run / FEATURES / PROFILES).glob("*.parquet"))


def user_rows(run: Path, bucket: Path) -> pl.LazyFrame:
    """Return one row per user of a bucket: profile, segments and, where the run has them, forecasts and due items.

    `bucket` is one of `bucket_files`. Sorted by user.
    """
    rows = scan_files([bucket])
    for file in (run / FEATURES / f"{SEGMENTS}.parquet", run / FORECASTS_FILE):
        if file.is_file():
            rows = rows.join(scan_files([file]), on=USER_ID, how="left", maintain_order="left")
    due_items = run / FEATURES / DUE_ITEMS / bucket.name
    if due_items.is_file():
        due = (
            scan_files([due_items])
            .sort(USER_ID, RANK)
            .group_by(USER_ID, maintain_order=True)
            .agg(pl.struct(_DUE_COLUMNS).alias(DUE_ITEMS))
        )
        rows = rows.join(due, on=USER_ID, how="left", maintain_order="left")
    return rows


def describe_user_rows(names: list[str]) -> Iterator[tuple[str, Feature]]:
    """Yield the table and the feature of each column of `user_rows`, in the order of `names`."""
    tables = {**TABLES, **OTHER_TABLES}
    features = {
        feature.name: (table, feature)
        for table in (FORECASTS, SEGMENTS, PROFILES)
        for feature in tables.get(table, ())
    }
    features[DUE_ITEMS] = (DUE_ITEMS, _DUE)
    yield from (features[name] for name in names)
