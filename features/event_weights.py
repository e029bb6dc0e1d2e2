"""What an event says: its weight, by its name, quantity and value, and by what the user did before and after."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

import polars as pl

from features.events import UNIT_FACTOR, exact_sum, weight
from features.returns import has_returns, take_back_returns
from recsys.schema import (
    DEFAULT_WEIGHTS,
    EVENT,
    ITEM_ID,
    QUANTITY,
    REFUND,
    TIMESTAMP,
    USER_ID,
    VALUE,
    WEIGHT,
)

PRIOR_RATINGS: Final = 5.0
"""Ratings that the shop's mean counts for in the mean of a user."""
NO_RATINGS: Final = pl.DataFrame(schema={EVENT: pl.String, "mean": pl.Float64, "deviation": pl.Float64})

_TOLERANCE: Final = 1e-9
_PAIR: Final = [USER_ID, ITEM_ID]
_MEAN: Final = "mean"
_DEVIATION: Final = "deviation"
_COUNT: Final = "ratings"
_SUM: Final = "rating_sum"
_SQUARES: Final = "rating_squares"
_SAID_AT: Final = "said_at"
_NEEDED: Final = "needed"
_STANDS: Final = "stands"


@dataclass(frozen=True)
class EventRules:
    """What events say; with the defaults, each has the weight of its name."""

    weights: Mapping[str, float] = field(default_factory=lambda: DEFAULT_WEIGHTS)
    """Event name -> weight."""
    quantity_weight: Literal["none", "log", "linear"] = "none"
    """How the quantity counts: not at all, by log2(1 + quantity), or in proportion."""
    value_weights: Mapping[str, Sequence[tuple[float, float]]] = field(
        default_factory=dict[str, Sequence[tuple[float, float]]]
    )
    """Event name -> pairs of value and weight, the values ascending."""
    rating_events: Collection[str] = ()
    """Events whose value is a rating."""
    negative_events: Collection[str] = ()
    """Events by which a user dislikes an item."""
    matches_returns: bool = False
    """Whether refunds take back purchases, and weigh nothing themselves."""
    shop_ratings: pl.DataFrame = field(default_factory=lambda: NO_RATINGS, compare=False)
    """Mean and standard deviation of the ratings of each of `rating_events`, as of `summarize_ratings`."""

    @property
    def counts_names_only(self) -> bool:
        """Return whether an event's weight, without returns, is that of its name."""
        has_ratings = not self.shop_ratings.is_empty()
        return self.quantity_weight == "none" and not (self.value_weights or self.negative_events or has_ratings)


NAMES_ONLY: Final = EventRules()


def weigh_events(events: pl.LazyFrame, rules: EventRules) -> pl.LazyFrame:
    """Add `WEIGHT` to events of `load_events`, which are all events of their users before a moment.

    Refunds take back purchases, see `take_back_returns`. A rating below the user's mean weighs nothing; one more
    than a standard deviation below is a dislike. Where the latest word of a user on an item is a dislike, it
    weighs less than 0 and nothing else about the item more than 0; a dislike that was taken back weighs nothing.
    Events get `UNIT_FACTOR` if the quantity counts. Nothing is added if the weights are those of the names.
    """
    returns = rules.matches_returns and has_returns(events)
    if rules.counts_names_only and not returns:
        return events
    weighed = (take_back_returns(events) if returns else events).with_columns(_weight(rules).alias(WEIGHT))
    if rules.quantity_weight != "none":
        weighed = weighed.with_columns(_unit_factor(rules.quantity_weight).alias(UNIT_FACTOR))
    if not rules.shop_ratings.is_empty():
        weighed = _weigh_ratings(weighed, rules)
    if rules.rating_events or rules.negative_events:
        weighed = _weigh_last_words(weighed, rules)
    return weighed.collect(engine="streaming").lazy()


def sum_ratings(events: pl.LazyFrame, rating_events: Collection[str]) -> pl.LazyFrame:
    """Sum the ratings of each of `rating_events`: exact sums, which add up over buckets of users."""
    return _ratings(events, rating_events).group_by(EVENT).agg(*_rating_sums())


def summarize_ratings(sums: pl.DataFrame) -> pl.DataFrame:
    """Return the mean and the standard deviation of the ratings of each event, from rows of `sum_ratings`."""
    total = sums.group_by(EVENT).agg(pl.col(_COUNT, _SUM, _SQUARES).sum()).sort(EVENT)
    mean = pl.col(_SUM).cast(pl.Float64) / pl.col(_COUNT)
    variance = pl.col(_SQUARES).cast(pl.Float64) / pl.col(_COUNT) - mean**2
    return total.select(EVENT, mean.alias(_MEAN), variance.clip(lower_bound=0).sqrt().alias(_DEVIATION))


def is_disliked(negative_events: Collection[str], rating_events: Collection[str]) -> pl.Expr:
    """Return whether an event of `weigh_events` is a dislike that the user has not taken back."""
    return (pl.col(WEIGHT) < 0) & pl.col(EVENT).is_in(sorted({*negative_events, *rating_events}))


def value_weight(points: Sequence[tuple[float, float]]) -> pl.Expr:
    """Return the weight at `VALUE`, interpolated between the points; null without a value."""
    value = pl.col(VALUE)
    (first, lowest), (_, highest) = points[0], points[-1]
    between = pl.when(value <= first).then(pl.lit(lowest))
    for (left, low), (right, high) in pairwise(points):
        between = between.when(value < right).then(low + (high - low) * ((value - left) / (right - left)))
    return pl.when(value.is_not_null()).then(between.otherwise(pl.lit(highest)))


def _weight(rules: EventRules) -> pl.Expr:
    weights = {**rules.weights, **({REFUND: 0.0} if rules.matches_returns else {})}
    by_name = weight(weights)
    for name, points in sorted(rules.value_weights.items()):
        valued = (pl.col(EVENT) == name) & pl.col(VALUE).is_not_null()
        by_name = pl.when(valued).then(value_weight(points)).otherwise(by_name)
    return by_name


def _unit_factor(quantity_weight: Literal["log", "linear"]) -> pl.Expr:
    quantity = pl.when(pl.col(QUANTITY) > 0).then(pl.col(QUANTITY)).otherwise(1.0)
    factor = quantity if quantity_weight == "linear" else (quantity + 1).log(2)
    return pl.when(pl.col(WEIGHT) > 0).then(factor).otherwise(1.0)


def _ratings(events: pl.LazyFrame, rating_events: Collection[str]) -> pl.LazyFrame:
    return events.filter(pl.col(EVENT).is_in(sorted(rating_events)) & pl.col(VALUE).is_not_null())


def _rating_sums() -> tuple[pl.Expr, ...]:
    value = pl.col(VALUE)
    return value.count().alias(_COUNT), exact_sum(value).alias(_SUM), exact_sum(value**2).alias(_SQUARES)


def _weigh_ratings(events: pl.LazyFrame, rules: EventRules) -> pl.LazyFrame:
    """Weigh ratings by their distance from the user's mean, which is shrunk towards the shop's."""
    users = _ratings(events, rules.rating_events).group_by(USER_ID, EVENT).agg(*_rating_sums()[:2])
    prior = PRIOR_RATINGS * pl.col(_MEAN)
    mean = (pl.col(_SUM).cast(pl.Float64) + prior) / (pl.col(_COUNT) + PRIOR_RATINGS)
    distance = pl.col(VALUE) - mean
    own = pl.col(WEIGHT)
    rated = (
        pl.when(distance.is_null() | (distance >= -_TOLERANCE))
        .then(own)
        .when((distance < -pl.col(_DEVIATION) - _TOLERANCE) & (pl.col(_DEVIATION) > 0))
        .then(-weight(rules.weights).abs())
        .otherwise(0.0)
    )
    return (
        events.join(rules.shop_ratings.lazy(), on=EVENT, how="left")
        .join(users, on=[USER_ID, EVENT], how="left")
        .with_columns(rated.alias(WEIGHT))
        .drop(_MEAN, _DEVIATION, _COUNT, _SUM)
    )


def _weigh_last_words(events: pl.LazyFrame, rules: EventRules) -> pl.LazyFrame:
    """Let the latest word of each user on each item count: a dislike, or an event that takes it back.

    An event after the dislike takes it back if it weighs as much or more; one weighed by its value does not.
    """
    is_dislike = is_disliked(rules.negative_events, rules.rating_events)
    time, is_last = pl.col(TIMESTAMP), pl.col(TIMESTAMP) == pl.col(TIMESTAMP).max()
    last = (
        events.filter(is_dislike)
        .group_by(_PAIR)
        .agg(time.max().alias(_SAID_AT), (-pl.col(WEIGHT)).filter(is_last).max().alias(_NEEDED))
    )
    takes_back = (time > pl.col(_SAID_AT)) & (pl.col(WEIGHT) >= pl.col(_NEEDED))
    taken_back = (
        events.join(last, on=_PAIR)
        .filter(takes_back & ~pl.col(EVENT).is_in(sorted(rules.value_weights)))
        .select(_PAIR)
        .unique()
    )
    standing = last.join(taken_back, on=_PAIR, how="anti").select(*_PAIR, pl.lit(value=True).alias(_STANDS))
    stands = pl.col(_STANDS).fill_null(value=False)
    counts = (
        pl.when(stands & (pl.col(WEIGHT) > 0))
        .then(0.0)
        .when(~stands & is_dislike)
        .then(0.0)
        .otherwise(pl.col(WEIGHT))
    )
    return events.join(standing, on=_PAIR, how="left").with_columns(counts.alias(WEIGHT)).drop(_STANDS)
