"""Split by time: models are trained on the past, selected on one window and reported on the next."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from recsys.errors import NotEnoughDataError, SettingsError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID, WEIGHT
from recsys.settings import Evaluation


@dataclass(frozen=True)
class TimeSplit:
    """The ends of three windows: train before `train_end`, validation before `validation_end`, test before `as_of`.

    A window includes its start and excludes its end.
    """

    train_end: datetime
    validation_end: datetime
    as_of: datetime


def time_split(as_of: datetime, evaluation: Evaluation) -> TimeSplit:
    """Return the three windows up to `as_of`, with the lengths in `evaluation`."""
    validation_end = as_of - timedelta(days=evaluation.test_days)
    train_end = validation_end - timedelta(days=evaluation.validation_days)
    return TimeSplit(train_end, validation_end, as_of)


def fold_windows(as_of: datetime, evaluation: Evaluation) -> tuple[tuple[datetime, datetime], ...]:
    """Return start and end of each of the `folds` consecutive test windows, the latest first."""
    length = timedelta(days=evaluation.test_days)
    return tuple((as_of - length * (number + 1), as_of - length * number) for number in range(evaluation.folds))


def in_window(events: pl.LazyFrame, start: datetime | None, end: datetime) -> pl.LazyFrame:
    """Select the events from `start` (None: from the first event), inclusive, to `end`, exclusive."""
    timestamp = pl.col(TIMESTAMP)
    inside = timestamp < pl.lit(end)
    return events.filter(inside if start is None else inside & (timestamp >= pl.lit(start)))


def require_events(events: pl.LazyFrame, split: TimeSplit) -> None:
    """Raise `NotEnoughDataError`, with the dates, when one of the three windows has no event."""
    timestamp = pl.col(TIMESTAMP)
    train = timestamp < pl.lit(split.train_end)
    test = timestamp >= pl.lit(split.validation_end)
    counts = in_window(events, None, split.as_of).select(
        train=train.sum(), validation=(~train & ~test).sum(), test=test.sum()
    )
    first_and_last = events.select(first=timestamp.min(), last=timestamp.max())
    row = pl.concat([counts, first_and_last], how="horizontal").collect().row(0, named=True)
    if row["first"] is None:
        raise NotEnoughDataError("there are no events to split into train, validation and test windows")
    spans = {
        "train": f"before {_day(split.train_end)}",
        "validation": f"from {_day(split.train_end)} to {_day(split.validation_end)}",
        "test": f"from {_day(split.validation_end)} to {_day(split.as_of)}",
    }
    for name, span in spans.items():
        if not row[name]:
            raise NotEnoughDataError(
                f"the {name} window, {span}, holds no event; "
                f"the events run from {_day(row['first'])} to {_day(row['last'])}"
            )


def require_folds(events: pl.LazyFrame, folds: Sequence[tuple[datetime, datetime]]) -> None:
    """Raise `NotEnoughDataError`, with the dates, when a window, or the time before it, has no event."""
    timestamp = pl.col(TIMESTAMP)
    first, last, *counts = (
        events.select(
            timestamp.min().alias("first"),
            timestamp.max().alias("last"),
            *(
                timestamp.is_between(pl.lit(start), pl.lit(end), closed="left").sum().alias(f"{number}")
                for number, (start, end) in enumerate(folds)
            ),
        )
        .collect()
        .row(0)
    )
    if first is None:
        raise NotEnoughDataError("there are no events to split into test windows")
    for (start, end), within in zip(folds, counts, strict=True):
        if first < start and within:
            continue
        missing = "it holds no event" if first < start else "no event is before it"
        raise NotEnoughDataError(
            f"evaluation.folds = {len(folds)}: of the test window from {_day(start)} to {_day(end)}, {missing}; "
            f"the events run from {_day(first)} to {_day(last)}"
        )


def relevant_pairs(
    events: pl.LazyFrame,
    start: datetime | None,
    end: datetime,
    relevant_events: Collection[str],
    weights: Mapping[str, float],
) -> pl.DataFrame:
    """Return the relevant items of each user in a window: distinct `user_id`, `item_id`, sorted by both.

    An event counts when `relevant_events` names it; when that is empty, if its weight is above 0. Where `events`
    have a column `WEIGHT`, it is above 0 as well.
    Raises `SettingsError` for a name that is not in `weights`.
    """
    pairs = _relevant_rows(events, start, end, relevant_events, weights)
    return pairs.unique().sort(USER_ID, ITEM_ID).collect()


def count_returning_users(
    events: pl.LazyFrame,
    start: datetime,
    end: datetime,
    relevant_events: Collection[str],
    weights: Mapping[str, float],
    exclude_events: Collection[str] | None,
    window: pl.LazyFrame | None = None,
) -> int:
    """Count the users with events before `start` who have a relevant item from then to `end`.

    An item that the user has after one of `exclude_events` is not relevant; none are named for every event of a
    weight other than 0, and with None no item is excluded. `window` are the events of the window, if they are not
    to be taken from `events`. Raises as `relevant_pairs`.
    """
    weighed = sorted(name for name, weight in weights.items() if weight)
    pairs = _relevant_rows(events if window is None else window, start, end, relevant_events, weights).unique()
    history = (
        in_window(events, None, start)
        .filter(pl.col(EVENT).is_in(weighed))
        .select(USER_ID, ITEM_ID, EVENT)
        .join(pairs.select(USER_ID).unique(), on=USER_ID, how="semi")
        .unique()
    )
    pairs = pairs.join(history, on=USER_ID, how="semi")
    if exclude_events is not None:
        owned = history.filter(pl.col(EVENT).is_in(sorted(exclude_events or weighed)))
        pairs = pairs.join(owned, on=[USER_ID, ITEM_ID], how="anti")
    return int(pairs.select(pl.col(USER_ID).n_unique()).collect(engine="streaming").item())


def _relevant_rows(
    events: pl.LazyFrame,
    start: datetime | None,
    end: datetime,
    relevant_events: Collection[str],
    weights: Mapping[str, float],
) -> pl.LazyFrame:
    unknown = sorted(set(relevant_events) - set(weights))
    if unknown:
        raise SettingsError(
            f"evaluation.relevant_events = {unknown[0]!r}: expected names among {', '.join(sorted(weights))}"
        )
    counted = relevant_events or [name for name, weight in weights.items() if weight > 0]
    relevant = in_window(events, start, end).filter(pl.col(EVENT).is_in(sorted(counted)))
    if WEIGHT in events.collect_schema().names():
        relevant = relevant.filter(pl.col(WEIGHT) > 0)
    return relevant.select(USER_ID, ITEM_ID)


def sample_users(pairs: pl.DataFrame, max_users: int, seed: int) -> pl.DataFrame:
    """Return the pairs of at most `max_users` users, sampled at random."""
    users = pairs[USER_ID].unique().sort()
    if len(users) <= max_users:
        return pairs
    drawn = users.sample(max_users, seed=seed)
    return pairs.join(drawn.to_frame(), on=USER_ID, how="semi", maintain_order="left")


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
