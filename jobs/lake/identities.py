"""Guests who turned out to be users: their events are those of the users, as they are read.

The events stay in the bucket of the guest, as they came. So an identity that is corrected, or undone with its
ingest, changes the next reading of the events and no file of them.
"""

from datetime import datetime
from typing import Final

import polars as pl

from recsys.schema import GUEST_ID, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID

MAX_STEPS: Final = 8
"""Longest chain of guests who turned out to be another guest."""


def resolve_identities(identities: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Return guest and user, one row for each guest known as a user before `moment`, sorted by guest.

    A user who is a guest in another row is followed to the last one. A guest in a circle stays a guest.
    """
    before = identities.filter(
        pl.col(TIMESTAMP) < pl.lit(moment, TIMESTAMP_DTYPE), pl.col(GUEST_ID) != pl.col(USER_ID)
    ).select(GUEST_ID, USER_ID)
    known = before
    for _ in range(MAX_STEPS):
        following = known.join(before.rename({GUEST_ID: USER_ID, USER_ID: "next"}), on=USER_ID, how="left")
        if following["next"].null_count() == following.height:
            break
        known = following.select(GUEST_ID, pl.coalesce("next", USER_ID).alias(USER_ID))
    return known.join(before, left_on=USER_ID, right_on=GUEST_ID, how="anti").sort(GUEST_ID)


def without_guests(events: pl.LazyFrame, identities: pl.DataFrame) -> pl.LazyFrame:
    """Return the events of users who are not among the guests."""
    guests = identities.select(pl.col(GUEST_ID).alias(USER_ID)).lazy()
    return events.join(guests, on=USER_ID, how="anti", maintain_order="left")


def of_guests(events: pl.LazyFrame, identities: pl.DataFrame) -> pl.LazyFrame:
    """Return the events of the guests as events of the users that they turned out to be."""
    users = identities.rename({GUEST_ID: USER_ID, USER_ID: "user"}).lazy()
    columns = events.collect_schema().names()
    joined = events.join(users, on=USER_ID, how="inner", maintain_order="left")
    return joined.with_columns(pl.col("user").alias(USER_ID)).select(columns)
