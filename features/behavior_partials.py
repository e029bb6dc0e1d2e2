"""Counts and sums of each item and each IP address over a bucket of users, which add up over buckets."""

from datetime import datetime
from typing import Final

import polars as pl

from features.events import events_before, exact_sum, exclude_impressions
from recsys.schema import EVENT, IP, ITEM_ID, RATING, USER_ID, VALUE

USERS: Final = "users"
RATINGS: Final = "ratings"
RATING_SUM: Final = "rating_sum"
MIN_RATING: Final = "least_rating"
MAX_RATING: Final = "greatest_rating"


def rating_value() -> pl.Expr:
    """Return the value of a rating, and null for any other event."""
    return pl.when(pl.col(EVENT) == RATING).then(pl.col(VALUE))


def item_counts(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Count users and ratings: one row per item of the events before `as_of`, of one bucket of users.

    Columns: number of `users`, number of `ratings`, their exact sum, the lowest and the highest rating.
    """
    return (
        exclude_impressions(events_before(events, as_of))
        .with_columns(rating_value().alias(VALUE))
        .group_by(ITEM_ID)
        .agg(
            pl.col(USER_ID).n_unique().alias(USERS),
            pl.col(VALUE).count().alias(RATINGS),
            exact_sum(pl.col(VALUE)).alias(RATING_SUM),
            pl.col(VALUE).min().alias(MIN_RATING),
            pl.col(VALUE).max().alias(MAX_RATING),
        )
    )


def add_item_counts(partials: pl.LazyFrame) -> pl.LazyFrame:
    """Add up the rows of `item_counts` of any number of buckets, with the same result to the bit in any order."""
    return partials.group_by(ITEM_ID).agg(
        pl.col(USERS, RATINGS, RATING_SUM).sum(), pl.col(MIN_RATING).min(), pl.col(MAX_RATING).max()
    )


def ip_counts(events: pl.LazyFrame, as_of: datetime) -> pl.LazyFrame:
    """Count users: one row per IP address of the events before `as_of`, of one bucket of users."""
    addressed = exclude_impressions(events_before(events, as_of)).filter(pl.col(IP).is_not_null())
    return addressed.group_by(IP).agg(pl.col(USER_ID).n_unique().alias(USERS))


def add_ip_counts(partials: pl.LazyFrame) -> pl.LazyFrame:
    """Add up the rows of `ip_counts` of any number of buckets."""
    return partials.group_by(IP).agg(pl.col(USERS).sum())
