"""How varied the lists of a run are: what a person who looks at many of them would see first."""

from typing import Final

import polars as pl

from jobs.pipeline.run import Run
from jobs.pipeline.step_names import LISTS
from recsys.evaluation.report.variety_text import ListedShare, VarietySummary
from recsys.product_types import LIMITED_PLACES, normalized_title
from recsys.schema import ITEM_ID, PRODUCT_TYPE, TITLE, USER_ID
from recsys.store.catalogue import CATALOGUE_FILE
from recsys.store.publish.list_files import ITEMS, USER_ITEMS_FILE

MOST_LISTED: Final = 5


def read_variety(run: Run, max_per_type: int = 2) -> VarietySummary | None:
    """Read the lists of a run, and count what repeats in their first ten places; None if no user has a list.

    Users have more than `max_per_type` items of a type where their own purchases show more.
    """
    directory = run.directory / LISTS
    facts = pl.scan_parquet(directory / CATALOGUE_FILE, glob=False).select(
        ITEM_ID, PRODUCT_TYPE, pl.col(TITLE).alias("name"), normalized_title(pl.col(TITLE)).alias(TITLE)
    )
    places = (
        pl.scan_parquet(directory / USER_ITEMS_FILE, glob=False)
        .filter(pl.col(ITEMS).list.len() > 0)
        .select(USER_ID, pl.col(ITEMS).list.head(LIMITED_PLACES).alias(ITEM_ID))
        .explode(ITEM_ID)
        .join(facts, on=ITEM_ID, how="left")
    )
    per_user = places.group_by(USER_ID).agg(
        _most_frequent(PRODUCT_TYPE).alias("of_type"), _most_frequent(TITLE).alias("of_title")
    )
    totals = per_user.select(
        pl.len().alias("lists"),
        (pl.col("of_type") > 1).mean().alias("two_of_type"),
        (pl.col("of_type") > max(max_per_type, 1)).mean().alias("more_of_type"),
        (pl.col("of_title") > 1).mean().alias("same_title"),
    )
    counted, most = pl.collect_all(
        [totals, places.group_by(ITEM_ID).agg(pl.len().alias("lists"), pl.col("name").first())], engine="streaming"
    )
    lists, two_of_type, more_of_type, same_title = counted.row(0)
    if not lists:
        return None
    first = most.sort("lists", ITEM_ID, descending=[True, False]).head(MOST_LISTED)
    shown = tuple(ListedShare(item, name, count / lists) for item, count, name in first.rows())
    return VarietySummary(lists, LIMITED_PLACES, two_of_type, max_per_type, more_of_type, same_title, shown)


def _most_frequent(column: str) -> pl.Expr:
    """Return how often the most frequent value of a column occurs, nulls not counted."""
    known = pl.col(column).drop_nulls()
    return known.unique_counts().max().fill_null(0)
