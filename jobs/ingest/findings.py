"""What may be wrong with the rows of a source although they keep all rules, for people to check."""

import polars as pl

from jobs.ingest.ids import frequent_users, unmatched_items
from recsys.schema import USER_ID


def event_findings(events: pl.LazyFrame, items: pl.LazyFrame) -> tuple[str, ...]:
    """Return a line for each user with more than 1 % of the events, and one on purchased items in no catalogue.

    Lines may name users, and must not be logged.
    """
    users = [
        f"user {row[USER_ID]} has {row['share']:.0%} of the events ({row['events']:,}): one id for many people? "
        "(sources.null_ids)"
        for row in frequent_users(events).iter_rows(named=True)
    ]
    has_catalogue = items.limit(1).collect().height > 0
    unmatched = unmatched_items(events, items).message() if has_catalogue else ""
    return (*users, *([unmatched] if unmatched else []))
