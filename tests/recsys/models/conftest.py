"""Small shops for the tests of single models."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import polars as pl
import pytest

from recsys.data.interactions import Interactions, build_interactions
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)
MICROSECONDS_PER_DAY = 86_400_000_000

Event = tuple[str, str, float, float]


@pytest.fixture(scope="session")
def shop_of() -> Callable[[Sequence[Event]], Interactions]:
    """Interactions of events (user, item, days ago, weight); a pair's confidence is the sum of its weights."""

    def build(events: Sequence[Event]) -> Interactions:
        frame = pl.DataFrame(events, schema=[USER_ID, ITEM_ID, "days_ago", WEIGHT], orient="row")
        age = pl.duration(microseconds=(pl.col("days_ago") * MICROSECONDS_PER_DAY).cast(pl.Int64))
        sequences = frame.with_columns((pl.lit(AS_OF) - age).alias(TIMESTAMP))
        pairs = frame.group_by(USER_ID, ITEM_ID).agg(pl.col(WEIGHT).sum().alias(CONFIDENCE))
        return build_interactions(pairs, sequences, AS_OF)

    return build
