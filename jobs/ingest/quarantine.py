"""What lies in quarantine, by day and rule."""

from datetime import date

import polars as pl

from jobs.lake import Lake
from recsys.data.quality import QuarantineCounts
from recsys.schema import EVENT, TIMESTAMP

RULES = "rules"  # the column of quarantine files that names the rules a row broke, one after the other
DAY_LENGTH = len("2017-12-30")


def read_quarantine(lake: Lake, first_day: date, last_day: date) -> QuarantineCounts:
    """Rows of events that were set aside, by the day their own time tells, from `first_day` to `last_day`."""
    files = sorted((lake.directory / "quarantine").glob("*.parquet"))
    frames = [pl.scan_parquet(file, glob=False, hive_partitioning=False) for file in files]
    of_events = [frame for frame in frames if EVENT in frame.collect_schema().names()]
    if not of_events:
        return QuarantineCounts((), 0)
    day = pl.col(TIMESTAMP).str.head(DAY_LENGTH).str.to_date("%Y-%m-%d", strict=False)
    known = pl.when(day.is_between(first_day, last_day)).then(day)
    rule = pl.col(RULES).str.split(", ").list.first()
    rows = pl.concat([frame.select(known.alias("day"), rule.alias("rule")) for frame in of_events])
    counted = rows.group_by("day", "rule").len().sort("day", "rule").collect()
    dated = counted.filter(pl.col("day").is_not_null())
    undated = counted.filter(pl.col("day").is_null())
    return QuarantineCounts(tuple(dated.rows()), int(undated["len"].sum()))
