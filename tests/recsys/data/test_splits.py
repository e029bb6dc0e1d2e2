from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.splits import (
    count_returning_users,
    fold_windows,
    in_window,
    relevant_pairs,
    require_events,
    require_folds,
    time_split,
)
from recsys.errors import NotEnoughDataError, SettingsError
from recsys.schema import DEFAULT_WEIGHTS, TIMESTAMP_DTYPE
from recsys.settings import Evaluation

AS_OF = datetime(2017, 12, 31, tzinfo=UTC)
EVALUATION = Evaluation(validation_days=10, test_days=5)
CUTS = st.sampled_from([0, 24 * 5, 24 * 15])
HOURS_BACK = st.lists(CUTS | st.integers(min_value=-48, max_value=24 * 40), max_size=60)


def frame(hours_back: list[int]) -> pl.LazyFrame:
    times = [AS_OF - timedelta(hours=hours) for hours in hours_back]
    return pl.LazyFrame(
        {"number": range(len(times)), "timestamp": times},
        schema={"number": pl.Int64, "timestamp": TIMESTAMP_DTYPE},
    )


def test_windows_end_one_where_the_next_begins():
    split = time_split(AS_OF, EVALUATION)
    assert split.train_end == datetime(2017, 12, 16, tzinfo=UTC)
    assert split.validation_end == datetime(2017, 12, 26, tzinfo=UTC)
    assert split.as_of == AS_OF


@given(HOURS_BACK)
def test_every_event_before_as_of_is_in_exactly_one_window(hours_back: list[int]):
    split = time_split(AS_OF, EVALUATION)
    events = frame(hours_back)
    bounds = [
        (None, split.train_end),
        (split.train_end, split.validation_end),
        (split.validation_end, split.as_of),
    ]
    parts = [in_window(events, start, end).collect() for start, end in bounds]
    result = [number for part in parts for number in part["number"]]
    expected = [number for number, hours in enumerate(hours_back) if hours > 0]
    assert sorted(result) == expected


@given(HOURS_BACK)
def test_train_ends_before_validation_and_validation_before_test(hours_back: list[int]):
    split = time_split(AS_OF, EVALUATION)
    events = frame(hours_back)
    train = in_window(events, None, split.train_end).collect()["timestamp"]
    validation = in_window(events, split.train_end, split.validation_end).collect()["timestamp"]
    test = in_window(events, split.validation_end, split.as_of).collect()["timestamp"]
    assert all(moment < split.train_end for moment in train)
    assert all(split.train_end <= moment < split.validation_end for moment in validation)
    assert all(split.validation_end <= moment < AS_OF for moment in test)


@pytest.mark.parametrize(
    ("days_back", "expected"),
    [
        ([12, 2], "the train window, before 2017-12-16 00:00, holds no event; the events run from 2017-12-19"),
        ([20, 2], "the validation window, from 2017-12-16 00:00 to 2017-12-26 00:00, holds no event"),
        ([20, 12], "the test window, from 2017-12-26 00:00 to 2017-12-31 00:00, holds no event"),
        ([20, 12, 0], "the test window, from 2017-12-26 00:00 to 2017-12-31 00:00, holds no event"),
        ([], "there are no events"),
    ],
)
def test_an_empty_window_is_named_with_its_dates(days_back: list[int], expected: str):
    with pytest.raises(NotEnoughDataError, match=expected) as caught:
        require_events(frame([24 * days for days in days_back]), time_split(AS_OF, EVALUATION))
    assert "\n" not in str(caught.value)


def test_three_filled_windows_are_enough():
    require_events(frame([24 * 20, 24 * 12, 24 * 2]), time_split(AS_OF, EVALUATION))


EVENTS = pl.LazyFrame(
    {
        "user_id": ["u2", "u1", "u1", "u1", "u1", "u1", "u3"],
        "item_id": ["a", "a", "a", "b", "c", "d", "a"],
        "event": ["purchase", "view", "purchase", "impression", "refund", "view", "purchase"],
        "timestamp": [AS_OF - timedelta(days=days) for days in (1, 1, 2, 1, 1, 5, 6)],
    },
    schema_overrides={"timestamp": TIMESTAMP_DTYPE},
)
START = AS_OF - timedelta(days=5)


def test_relevant_pairs_are_distinct_and_of_positive_weight():
    pairs = relevant_pairs(EVENTS, START, AS_OF, (), DEFAULT_WEIGHTS)
    assert pairs.rows() == [("u1", "a"), ("u1", "d"), ("u2", "a")]


def test_relevant_events_can_be_named():
    pairs = relevant_pairs(EVENTS, START, AS_OF, ("purchase",), DEFAULT_WEIGHTS)
    assert pairs.rows() == [("u1", "a"), ("u2", "a")]


def test_an_unknown_relevant_event_is_refused():
    with pytest.raises(SettingsError, match=r"evaluation\.relevant_events = 'buy': expected names among cart"):
        relevant_pairs(EVENTS, START, AS_OF, ("purchase", "buy"), DEFAULT_WEIGHTS)


def test_folds_follow_each_other_back_in_time():
    assert fold_windows(AS_OF, Evaluation(test_days=5, folds=3)) == (
        (datetime(2017, 12, 26, tzinfo=UTC), AS_OF),
        (datetime(2017, 12, 21, tzinfo=UTC), datetime(2017, 12, 26, tzinfo=UTC)),
        (datetime(2017, 12, 16, tzinfo=UTC), datetime(2017, 12, 21, tzinfo=UTC)),
    )
    assert fold_windows(AS_OF, EVALUATION)[0] == (time_split(AS_OF, EVALUATION).validation_end, AS_OF)


@pytest.mark.parametrize(
    ("hours_back", "problem"),
    [
        ([1, 24 * 7, 24 * 11], None),
        ([1, 24 * 7, 24 * 10], "from 2017-12-21 00:00 to 2017-12-26 00:00, no event is before it"),
        ([1, 24 * 10 + 1], "from 2017-12-21 00:00 to 2017-12-26 00:00, it holds no event"),
        ([24 * 5 + 1, 24 * 11], "from 2017-12-26 00:00 to 2017-12-31 00:00, it holds no event"),
    ],
)
def test_every_fold_needs_events_in_it_and_before_it(hours_back: list[int], problem: str | None):
    folds = fold_windows(AS_OF, Evaluation(test_days=5, folds=2))
    if problem is None:
        require_folds(frame(hours_back), folds)
        return
    with pytest.raises(NotEnoughDataError) as error:
        require_folds(frame(hours_back), folds)
    first, last = (AS_OF - timedelta(hours=end(hours_back)) for end in (max, min))
    assert str(error.value) == (
        f"evaluation.folds = 2: of the test window {problem}; "
        f"the events run from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}"
    )


def test_folds_of_no_events_are_refused():
    with pytest.raises(NotEnoughDataError, match="there are no events to split into test windows"):
        require_folds(frame([]), fold_windows(AS_OF, Evaluation(folds=2)))


@pytest.mark.parametrize(
    ("relevant", "excluded", "expected"),
    [
        ((), None, {"same item", "other item", "viewer"}),
        ((), (), {"other item"}),
        ((), ("purchase",), {"other item", "viewer"}),
        (("purchase",), None, {"other item"}),
    ],
)
def test_users_who_return_for_a_relevant_item(
    relevant: tuple[str, ...], excluded: tuple[str, ...] | None, expected: set[str]
):
    start = AS_OF - timedelta(days=5)
    rows = [
        ("same item", "a", "purchase", -1),
        ("same item", "a", "view", 1),
        ("other item", "a", "view", -1),
        ("other item", "b", "purchase", 0),
        ("viewer", "a", "view", -9),
        ("viewer", "a", "view", 4),
        ("new", "a", "purchase", 1),
        ("new", "b", "purchase", 2),
        ("gone", "a", "purchase", -1),
        ("too late", "a", "purchase", -1),
        ("too late", "b", "purchase", 5),
        ("only seen", "a", "ignored", -1),
        ("only seen", "b", "purchase", 1),
    ]
    events = pl.LazyFrame(
        [(user, item, event, start + timedelta(days=days)) for user, item, event, days in rows],
        schema={"user_id": pl.String, "item_id": pl.String, "event": pl.String, "timestamp": TIMESTAMP_DTYPE},
        orient="row",
    )
    weights = {"view": 1.0, "purchase": 5.0, "ignored": 0.0}
    for user in set(events.collect()["user_id"]):
        alone = events.filter(pl.col("user_id") == user)
        users = count_returning_users(alone, start, AS_OF, relevant, weights, excluded)
        assert users == (user in expected), user
    assert count_returning_users(events, start, AS_OF, relevant, weights, excluded) == len(expected)
