"""The split in time: models learn from the past, are chosen on one window and reported on the next."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from recsys.errors import NotEnoughDataError, SettingsError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Evaluation


@dataclass(frozen=True)
class Windows:
    """Cuts in time: train before `train_end`, validation up to `validation_end`, test up to `as_of`.

    A window holds its first moment and not its last.
    """

    train_end: datetime
    validation_end: datetime
    as_of: datetime


def windows(as_of: datetime, evaluation: Evaluation) -> Windows:
    """The windows that end at `as_of`, as long as `evaluation` says."""
    validation_end = as_of - timedelta(days=evaluation.test_days)
    train_end = validation_end - timedelta(days=evaluation.validation_days)
    return Windows(train_end, validation_end, as_of)


def fold_windows(as_of: datetime, evaluation: Evaluation) -> tuple[tuple[datetime, datetime], ...]:
    """Start and end of each of the `folds` test windows, which follow each other in time; the latest first."""
    length = timedelta(days=evaluation.test_days)
    return tuple((as_of - length * (number + 1), as_of - length * number) for number in range(evaluation.folds))


def in_window(events: pl.LazyFrame, start: datetime | None, end: datetime) -> pl.LazyFrame:
    """The events from `start` (the first there is, when None) up to, not with, `end`."""
    timestamp = pl.col(TIMESTAMP)
    inside = timestamp < pl.lit(end)
    return events.filter(inside if start is None else inside & (timestamp >= pl.lit(start)))


def require_events(events: pl.LazyFrame, cuts: Windows) -> None:
    """Raise `NotEnoughDataError`, with the dates, when one of the three windows holds no event."""
    timestamp = pl.col(TIMESTAMP)
    train = timestamp < pl.lit(cuts.train_end)
    test = timestamp >= pl.lit(cuts.validation_end)
    counts = in_window(events, None, cuts.as_of).select(
        train=train.sum(), validation=(~train & ~test).sum(), test=test.sum()
    )
    first_and_last = events.select(first=timestamp.min(), last=timestamp.max())
    found = pl.concat([counts, first_and_last], how="horizontal").collect().row(0, named=True)
    if found["first"] is None:
        raise NotEnoughDataError("there are no events to split into train, validation and test windows")
    spans = {
        "train": f"before {_day(cuts.train_end)}",
        "validation": f"from {_day(cuts.train_end)} to {_day(cuts.validation_end)}",
        "test": f"from {_day(cuts.validation_end)} to {_day(cuts.as_of)}",
    }
    for name, span in spans.items():
        if not found[name]:
            raise NotEnoughDataError(
                f"the {name} window, {span}, holds no event; "
                f"the events run from {_day(found['first'])} to {_day(found['last'])}"
            )


def require_folds(events: pl.LazyFrame, folds: Sequence[tuple[datetime, datetime]]) -> None:
    """Raise `NotEnoughDataError`, with the dates, when a window, or the time before it, holds no event."""
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
    """What each user wanted in a window: distinct `user_id`, `item_id`, in that order.

    An event counts when `relevant_events` names it; where that is empty, when its weight is above 0.
    Raises `SettingsError` for a name that `weights` does not hold.
    """
    unknown = sorted(set(relevant_events) - set(weights))
    if unknown:
        raise SettingsError(
            f"evaluation.relevant_events = {unknown[0]!r}: expected names among {', '.join(sorted(weights))}"
        )
    counted = relevant_events or [name for name, weight in weights.items() if weight > 0]
    pairs = in_window(events, start, end).filter(pl.col(EVENT).is_in(sorted(counted)))
    return pairs.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID).collect()


def sample_users(pairs: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """The pairs of at most so many users, drawn at random."""
    users = pairs[USER_ID].unique().sort()
    if len(users) <= most:
        return pairs
    drawn = users.sample(most, seed=seed)
    return pairs.join(drawn.to_frame(), on=USER_ID, how="semi", maintain_order="left")


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
