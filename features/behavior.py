"""How a user behaves, in figures that tell shoppers from bots, click farms and shills: one row a user.

Rates, how regular the gaps between events are, times of the day, how looking turns into buying, what items, from
what addresses, what ratings. Impressions are not the user's doing and count for nothing. A figure is null where it
cannot be told, as the gaps of one event. Nothing depends on how users are split into buckets: what has to be known
of the whole shop comes in as `item_counts` and `ip_counts` added up over all buckets.
"""

from datetime import datetime
from typing import Final

import polars as pl

from features.behavior_partials import (
    GREATEST_RATING,
    MIN_RATING,
    RATING_SUM,
    RATINGS,
    USERS,
    exclude_impressions,
    rating_value,
)
from features.events import days_since, exact_sum, load_events, packed
from features.feature import Feature, columns
from recsys.schema import (
    CART,
    EVENT,
    EVENTS,
    IP,
    ITEM_ID,
    PRICE,
    PURCHASE,
    REFUND,
    TIMESTAMP,
    USER_ID,
    VALUE,
    VIEW,
)

NIGHT_HOURS: Final = 6  # of the day, from midnight on, in UTC

_SECOND: Final = 1_000_000  # microseconds
_MINUTE: Final = 60 * _SECOND
_HOUR: Final = 60 * _MINUTE
_TIME_BITS: Final = 63  # of microseconds since 1970

_COUNT: Final = "count"
_AT: Final = "at"
_GAP: Final = "gap"
_LOG: Final = "log"
_IN_MINUTE: Final = "in_minute"
_IN_HOUR: Final = "in_hour"
_AGE: Final = "age_days"
_DAY: Final = "day"
_CLOCK_HOUR: Final = "hour"
_OF_OTHERS: Final = "of_others"


def _mean(total: pl.Expr, count: pl.Expr) -> pl.Expr:
    return pl.when(count > 0).then(total.cast(pl.Float64) / count)


def _deviation(total: pl.Expr, squares: pl.Expr, count: pl.Expr) -> pl.Expr:
    """Sample standard deviation from exact sums; null for fewer than two."""
    sum_of = total.cast(pl.Float64)
    variance = (squares.cast(pl.Float64) - sum_of * sum_of / count) / (count - 1)
    return pl.when(count > 1).then(variance.clip(lower_bound=0).sqrt())


def _mean_of(value: pl.Expr) -> pl.Expr:
    return _mean(exact_sum(value), value.count())


def _deviation_of(value: pl.Expr) -> pl.Expr:
    return _deviation(exact_sum(value), exact_sum(value * value), value.count().cast(pl.Int64))


def _events(name: str) -> pl.Expr:
    return (pl.col(EVENT) == name).sum()


def _ratio(part: str, whole: str) -> pl.Expr:
    return (_events(part) + 1) / (_events(whole) + 1)


def _share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    return pl.when(whole > 0).then(part / whole)


def _entropy(count: pl.Expr) -> pl.Expr:
    """Of the distribution whose counts are given, in nats."""
    total = count.sum()
    return (total.log() - exact_sum(count * count.log()).cast(pl.Float64) / total).clip(lower_bound=0)


def _total(name: str, unit: str, meaning: str, expression: pl.Expr) -> Feature:
    return Feature(name, pl.UInt32(), unit, meaning, expression)


def _figure(name: str, unit: str, meaning: str, expression: pl.Expr) -> Feature:
    return Feature(name, pl.Float64(), unit, meaning, expression)


# Over all events of a user, with their values as `rating_value`.
_DOINGS: Final = (
    _total(EVENTS, "events", "All events but impressions", pl.len()),
    _figure("days_since_first", "days", "Days since the first event", pl.col(_AGE).max()),
    _figure(
        "night_share",
        "share",
        f"Share of the events between midnight and {NIGHT_HOURS} o'clock, UTC",
        _share((pl.col(TIMESTAMP).dt.hour() < NIGHT_HOURS).sum(), pl.len()),
    ),
    _figure("carts_per_view", "ratio", "(Carts + 1) / (views + 1)", _ratio(CART, VIEW)),
    _figure("purchases_per_cart", "ratio", "(Purchases + 1) / (carts + 1)", _ratio(PURCHASE, CART)),
    _figure("purchases_per_view", "ratio", "(Purchases + 1) / (views + 1)", _ratio(PURCHASE, VIEW)),
    _figure(
        "refund_share",
        "share",
        "Refunds among purchases and refunds; null without any",
        _share(_events(REFUND), _events(REFUND) + _events(PURCHASE)),
    ),
    _figure(
        "unpriced_share",
        "share",
        "Purchases without a price among purchases; null without any",
        _share(((pl.col(EVENT) == PURCHASE) & pl.col(PRICE).is_null()).sum(), _events(PURCHASE)),
    ),
    _figure("rating_mean", "stars", "Mean of the ratings; null without any", _mean_of(pl.col(VALUE))),
    _figure(
        "rating_deviation",
        "stars",
        "Standard deviation of the ratings; null for fewer than two",
        _deviation_of(pl.col(VALUE)),
    ),
    _figure(
        "greatest_rating_share",
        "share",
        "Share of the ratings that are the greatest of the shop; null without any",
        _share((pl.col(VALUE) == pl.col(GREATEST_RATING)).sum(), pl.col(VALUE).count()),
    ),
    _figure(
        "least_rating_share",
        "share",
        "Share of the ratings that are the least of the shop; null without any",
        _share((pl.col(VALUE) == pl.col(MIN_RATING)).sum(), pl.col(VALUE).count()),
    ),
)

# Over the events of all users in order, with the gap before each and how many lie in the time up to it.
_PACE: Final = (
    _total(
        "most_in_minute",
        "events",
        "Most events within any one minute",
        pl.col(_IN_MINUTE).max(),
    ),
    _total("most_in_hour", "events", "Most events within any one hour", pl.col(_IN_HOUR).max()),
    _figure(
        "log_gap_mean",
        "log s",
        "Mean logarithm of the seconds between successive events at different moments; null for one moment",
        _mean(exact_sum(pl.col(_LOG)), pl.col(_LOG).count()),
    ),
    _figure(
        "log_gap_deviation",
        "log s",
        "Standard deviation of the same, 0 for a clock; null for fewer than two gaps",
        _deviation_of(pl.col(_LOG)),
    ),
)

# Over the lengths of a user's gaps, rounded to the second, and how often each comes.
_GAPS: Final = (
    _figure(
        "same_gap_share",
        "share",
        "Share of the gaps that last as many seconds as the commonest; null for one moment",
        pl.col(_COUNT).max() / pl.col(_COUNT).sum(),
    ),
)

# Over the hours of the calendar in which a user did something, the hours of the day, and the days.
_HOURS: Final = (
    _figure(
        "events_per_active_hour",
        "events",
        "Mean number of events in the hours of the calendar that have any",
        pl.col(_COUNT).sum() / pl.len(),
    ),
)
_DAY_HOURS: Final = (
    _figure("hour_entropy", "nats", "Entropy of the hours of the day, UTC: 0 for one", _entropy(pl.col(_COUNT))),
)
_DAYS: Final = (
    _total("active_days", "days", "Days, UTC, with an event", pl.len()),
    _figure("events_per_active_day", "events", "Mean number of events on such a day", pl.col(_COUNT).mean()),
    _figure(
        "busiest_day_share",
        "share",
        "Share of the events that the busiest day has",
        pl.col(_COUNT).max() / pl.col(_COUNT).sum(),
    ),
)

# Over the minutes of the clock, with the different items of each.
_MINUTES: Final = (
    _total(
        "most_items_in_minute",
        "items",
        "Most different items within one minute of the clock",
        pl.col(_COUNT).max(),
    ),
)

# Over the different items of a user, with the events of each and its users in the whole shop.
_ITEMS: Final = (
    _total("items", "items", "Different items", pl.len()),
    _figure("distinct_share", "share", "Different items among events", pl.len() / pl.col(_COUNT).sum()),
    _figure("item_entropy", "nats", "Entropy of the items over events: 0 for one", _entropy(pl.col(_COUNT))),
    _figure(
        "log_popularity_mean",
        "log users",
        "Mean logarithm of the number of users of the items, over the different items",
        _mean_of(pl.col(USERS).log()),
    ),
    _figure(
        "log_popularity_deviation",
        "log users",
        "Standard deviation of the same; null for one item",
        _deviation_of(pl.col(USERS).log()),
    ),
)

# Over the ratings of a user, with the mean that others gave the item.
_DISSENT: Final = (
    _figure(
        "rating_dissent",
        "stars",
        "Mean absolute difference of a rating from the mean of the item's others; null where there are none",
        _mean_of((pl.col(VALUE) - pl.col(_OF_OTHERS)).abs()),
    ),
)

# Over the IP addresses of a user, with the users of each in the whole shop.
_ADDRESSES: Final = (
    _total("ips", "addresses", "Different IP addresses; null where no event names one", pl.len()),
    _figure("users_per_ip", "users", "Mean number of users of these addresses", pl.col(USERS).mean()),
    _total("most_users_of_ip", "users", "Most users of one of them", pl.col(USERS).max()),
)

BEHAVIOR: Final = (
    Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),
    *_DOINGS,
    *_PACE,
    *_GAPS,
    *_HOURS,
    *_DAY_HOURS,
    *_DAYS,
    *_MINUTES,
    *_ITEMS,
    *_DISSENT,
    *_ADDRESSES,
)

_READ: Final = (USER_ID, ITEM_ID, EVENT, TIMESTAMP, VALUE, PRICE, IP)


def behavior(events: pl.LazyFrame, as_of: datetime, items: pl.LazyFrame, ips: pl.LazyFrame) -> pl.LazyFrame:
    """One row a user of `events` before `as_of`, by id, with the columns of `BEHAVIOR`.

    `items` are the `item_counts` of the whole shop, `ips` its `ip_counts`; addresses that are not among these count
    for nothing. Takes the events into memory.
    """
    known = exclude_impressions(load_events(events.select(_READ), as_of, _READ)).with_columns(
        rating_value().alias(VALUE)
    )
    shop = items.select(pl.col(MIN_RATING).min(), pl.col(GREATEST_RATING).max())
    ordered = _in_order(known)
    hours = _counted(known, pl.col(TIMESTAMP).dt.truncate("1h").alias(_CLOCK_HOUR))
    days = _summed(hours, pl.col(_CLOCK_HOUR).dt.truncate("1d").alias(_DAY))
    aged = known.with_columns(days_since(pl.col(TIMESTAMP), as_of).alias(_AGE))
    tables = [
        _per_user(aged.join(shop, how="cross"), _DOINGS),
        _per_user(ordered, _PACE),
        _per_user(_counted(ordered.drop_nulls(_GAP), _whole_seconds()), _GAPS),
        _per_user(hours, _HOURS),
        _per_user(_summed(hours, pl.col(_CLOCK_HOUR).dt.hour().alias(_DAY)), _DAY_HOURS),
        _per_user(days, _DAYS),
        _per_user(_items_per_minute(known), _MINUTES),
        _per_user(_with_users(known, items), _ITEMS),
        _per_user(_with_others(known, items), _DISSENT),
        _per_user(_addresses(known, ips), _ADDRESSES),
    ]
    joined, *others = pl.collect_all(tables, engine="streaming")
    for other in others:
        joined = joined.join(other, on=USER_ID, how="left")
    ordered_names = [feature.name for feature in BEHAVIOR]
    return joined.lazy().sort(USER_ID).with_columns(pl.col(USER_ID).cast(pl.String)).select(ordered_names)


def _per_user(rows: pl.LazyFrame, features: tuple[Feature, ...]) -> pl.LazyFrame:
    return rows.group_by(USER_ID).agg(columns(features))


def _counted(events: pl.LazyFrame, key: pl.Expr) -> pl.LazyFrame:
    return events.group_by(USER_ID, key).agg(pl.len().alias(_COUNT))


def _summed(counts: pl.LazyFrame, key: pl.Expr) -> pl.LazyFrame:
    return counts.group_by(USER_ID, key).agg(pl.col(_COUNT).sum())


def _in_order(known: pl.LazyFrame) -> pl.LazyFrame:
    """The events by user and time on one line of time, on which no gap is longer than an hour, nor the one between
    two users shorter: how many lie within the minute and the hour up to each is then a search in the line.
    """
    ordered = known.select(USER_ID, TIMESTAMP).sort(packed(pl.col(USER_ID), pl.col(TIMESTAMP), _TIME_BITS))
    of_same = pl.col(USER_ID).to_physical() == pl.col(USER_ID).to_physical().shift()
    gap = pl.when(of_same).then(pl.col(TIMESTAMP).diff().dt.total_microseconds())
    line = pl.min_horizontal(gap.fill_null(_HOUR), _HOUR).cum_sum()
    found = ordered.with_columns(gap.alias(_GAP), line.alias(_AT)).collect().lazy()

    def within(span: int) -> pl.Expr:
        return pl.int_range(1, pl.len() + 1) - pl.col(_AT).search_sorted(pl.col(_AT) - span, side="right")

    moved = pl.when(pl.col(_GAP) > 0).then(pl.col(_GAP))
    return found.select(
        USER_ID,
        within(_MINUTE).alias(_IN_MINUTE),
        within(_HOUR).alias(_IN_HOUR),
        moved.alias(_GAP),
        # Polars divides one row and many by a number with different rounding; a product is the same to the bit.
        (moved * (1 / _SECOND)).log().alias(_LOG),
    )


def _whole_seconds() -> pl.Expr:
    return ((pl.col(_GAP) + _SECOND // 2) // _SECOND).alias(_GAP)


def _items_per_minute(known: pl.LazyFrame) -> pl.LazyFrame:
    minute = pl.col(TIMESTAMP).dt.truncate("1m").alias(_AT)
    return _counted(known.select(USER_ID, minute, ITEM_ID).unique(), pl.col(_AT))


def _with_users(known: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    pairs = known.group_by(USER_ID, ITEM_ID).agg(pl.len().alias(_COUNT))
    return pairs.join(_coded(items, known).select(ITEM_ID, USERS), on=ITEM_ID)


def _with_others(known: pl.LazyFrame, items: pl.LazyFrame) -> pl.LazyFrame:
    ratings = known.select(USER_ID, ITEM_ID, VALUE).drop_nulls()
    others = pl.when(pl.col(RATINGS) > 1).then(
        (pl.col(RATING_SUM).cast(pl.Float64) - pl.col(VALUE)) / (pl.col(RATINGS).cast(pl.Float64) - 1)
    )
    return ratings.join(_coded(items, known), on=ITEM_ID).with_columns(others.alias(_OF_OTHERS))


def _coded(items: pl.LazyFrame, known: pl.LazyFrame) -> pl.LazyFrame:
    """The items that the events know, by the same number."""
    ids = known.collect_schema()[ITEM_ID]
    return items.with_columns(pl.col(ITEM_ID).cast(ids, strict=False)).drop_nulls(ITEM_ID)


def _addresses(known: pl.LazyFrame, ips: pl.LazyFrame) -> pl.LazyFrame:
    return known.select(USER_ID, IP).drop_nulls().unique().join(ips, on=IP)
