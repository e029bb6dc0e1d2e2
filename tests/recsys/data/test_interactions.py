from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.interactions import Interactions, build_interactions
from recsys.errors import NotEnoughDataError
from recsys.schema import TIMESTAMP_DTYPE

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def pairs_of(*rows: tuple[str, str, float]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "confidence": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def sequences_from_events(*rows: tuple[str, str, datetime, float]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "timestamp": TIMESTAMP_DTYPE, "weight": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


PAIRS = pairs_of(("zoe", "tea", 2.5), ("ann", "tea", -3.0), ("ann", "cup", 1.0), ("bob", "jug", 0.0))


def built(*rows: tuple[str, str, datetime, float]) -> Interactions:
    return build_interactions(PAIRS, sequences_from_events(*rows), AS_OF)


def test_rows_are_the_places_of_the_ids_in_order():
    interactions = built()
    assert interactions.users.values.to_list() == ["ann", "bob", "zoe"]
    assert interactions.items.values.to_list() == ["cup", "jug", "tea"]
    assert interactions.shape == interactions.user_items.shape == (3, 3)
    np.testing.assert_array_equal(interactions.user_items.toarray(), [[1, 0, 0], [0, 0, 0], [0, 0, 2.5]])
    assert interactions.user_items.dtype == np.float32


def test_confidence_below_zero_stays_as_an_explicit_zero_that_models_do_not_see():
    interactions = built()
    assert interactions.user_items.nnz == 4
    assert interactions.user_items[[0]].indices.tolist() == [0, 2]
    assert interactions.positives.nnz == 2
    assert interactions.user_items.nnz == 4


def test_events_are_in_order_of_user_then_time_and_keep_their_order_at_the_same_time():
    day = timedelta(days=1)
    interactions = built(
        ("zoe", "tea", AS_OF - day, 1.0),
        ("ann", "tea", AS_OF - day, 5.0),
        ("ann", "cup", AS_OF - day, 1.0),
        ("ann", "tea", AS_OF - 3 * day, 3.0),
        ("ann", "tea", AS_OF - day, -5.0),
    )
    assert interactions.user_rows.tolist() == [0, 0, 0, 0, 2]
    assert interactions.item_rows.tolist() == [2, 2, 0, 2, 2]
    assert interactions.weights.tolist() == [3, 5, 1, -5, 1]
    assert interactions.age_days.tolist() == [3, 1, 1, 1, 1]
    assert interactions.user_rows.dtype == interactions.item_rows.dtype == np.int32


@given(st.integers(0, 24 * 365 * 86_400_000_000))
def test_ages_are_exact_to_the_microsecond(microseconds: int):
    interactions = built(("ann", "tea", AS_OF - microseconds * MICROSECOND, 1.0))
    assert interactions.age_days[0] == microseconds / 86_400e6


def test_a_microsecond_after_midnight_is_the_next_day():
    midnight = AS_OF - timedelta(days=4_000)
    interactions = built(("ann", "tea", midnight, 1.0), ("ann", "tea", midnight + MICROSECOND, 1.0))
    assert np.floor(interactions.age_days).tolist() == [4_000, 3_999]


def test_pairs_without_events_are_accepted():
    interactions = built()
    assert len(interactions.user_rows) == len(interactions.age_days) == len(interactions.weights) == 0


@pytest.mark.parametrize(
    "pairs", [pairs_of(), pairs_of(("ann", "tea", 0.0)), pairs_of(("ann", "tea", -1.0), ("bob", "tea", -2.0))]
)
def test_nothing_wanted_is_not_enough_data(pairs: pl.DataFrame):
    with pytest.raises(NotEnoughDataError, match="no interactions before the cut"):
        build_interactions(pairs, sequences_from_events(), AS_OF)


def test_users_have_the_items_of_owning_events_or_of_all_where_none_are_named():
    day = timedelta(days=1)
    events = sequences_from_events(
        ("ann", "tea", AS_OF - day, 1.0),
        ("ann", "tea", AS_OF, 1.0),
        ("ann", "cup", AS_OF, 1.0),
        ("zoe", "tea", AS_OF, 1.0),
    )
    everything = build_interactions(PAIRS, events, AS_OF)
    np.testing.assert_array_equal(everything.owned.toarray() > 0, [[1, 0, 1], [0, 0, 0], [0, 0, 1]])
    named = events.with_columns(pl.Series("is_owning", [False, True, False, False]))
    some = build_interactions(PAIRS, named, AS_OF)
    np.testing.assert_array_equal(some.owned.toarray() > 0, [[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    assert some.user_items.nnz == everything.user_items.nnz
