"""User segments: scores of recency, frequency and monetary value, and the stage in the life of a customer.

A score is 1 plus the number of fifths of all customers that lie wholly below: 5 if at least 80 % of the customers
have a lower value. Equal values have equal scores. (RFM: Hughes, Strategic Database Marketing, 1994.)

Stages compare the time since a customer's last order with the gap that is usual for the customer: the mean gap
between the own orders, with the mean over the shop's customers counted as `PRIOR_GAPS` gaps. The wait is the ratio
of the two. What is late follows from the shop's customers who came back: the last of their waits was the time
between their last two orders over the usual gap, and nine of ten such waits were shorter than the `LATE_SHARE`
quantile.

    prospect   no order that was kept
    new        one order, and not late
    active     two orders or more, and not late
    loyal      active, and of frequency score 4 or 5
    at_risk    late: waits longer than nine of ten did who came back
    lapsed     waits longer than 99 of 100 did who came back
"""

from typing import Final

import polars as pl

from features.events import exact_sum
from features.feature import Feature, columns
from features.pairs import ACTS
from features.users.orders import LAST_GAP_DAYS, ORDER_GAP_DAYS_MEAN, ORDERS, RECENCY_DAYS, SPENT
from recsys.schema import USER_ID

SCORES: Final = 5
PRIOR_GAPS: Final = 2.0
LATE_SHARE: Final = 0.9
LAPSED_SHARE: Final = 0.99
LOYAL_SCORE: Final = 4

PROSPECT: Final = "prospect"
NEW: Final = "new"
ACTIVE: Final = "active"
LOYAL: Final = "loyal"
AT_RISK: Final = "at_risk"
LAPSED: Final = "lapsed"

_FACTS: Final = (ORDERS, RECENCY_DAYS, SPENT, ORDER_GAP_DAYS_MEAN, LAST_GAP_DAYS)
_USUAL: Final = "usual_gap_days"
_WAIT: Final = "wait"
_FREQUENCY: Final = "frequency_score"

_IS_CUSTOMER: Final = pl.col(ORDERS) > 0
_GAPS: Final = pl.col(ORDERS) - 1
_OWN: Final = pl.col(ORDER_GAP_DAYS_MEAN)
_SHOP_GAP: Final = pl.when(_OWN.count() > 0).then(exact_sum(_OWN).cast(pl.Float64) / _OWN.count())
_USUAL_GAP: Final = (
    pl.when(_OWN.is_not_null())
    .then((_GAPS * _OWN + PRIOR_GAPS * _SHOP_GAP) / (_GAPS + PRIOR_GAPS))
    .otherwise(_SHOP_GAP)
)


def _score(value: pl.Expr) -> pl.Expr:
    """Return the score of a value among those that are not null; the greater, the better."""
    lower = value.rank("min").cast(pl.Int64) - 1
    return 1 + lower * SCORES // value.count()


def _wait(time: str) -> pl.Expr:
    return pl.when(pl.col(_USUAL) > 0).then(pl.col(time) / pl.col(_USUAL))


def _is_longer_than(share: float) -> pl.Expr:
    """Return whether the wait is longer than this share of the waits of customers who came back."""
    return pl.col(_WAIT) > _wait(LAST_GAP_DAYS).quantile(share, "higher")


_USER: Final = (Feature(USER_ID, pl.String(), "id", "User", pl.col(USER_ID)),)

_SCORES: Final = (
    Feature(
        "recency_score",
        pl.UInt8(),
        "1..5",
        "Recency: 5 if at least 80 % of the customers have not ordered for longer, 1 if fewer than 20 % have; null "
        "without orders",
        _score(-pl.col(RECENCY_DAYS)),
    ),
    Feature(
        _FREQUENCY,
        pl.UInt8(),
        "1..5",
        "Frequency: 5 if at least 80 % of the customers have fewer orders, 1 if fewer than 20 % have; null without "
        "orders",
        _score(pl.when(_IS_CUSTOMER).then(pl.col(ORDERS))),
    ),
    Feature(
        "monetary_score",
        pl.UInt8(),
        "1..5",
        "Monetary value: 5 if at least 80 % of the customers have spent less, 1 if fewer than 20 % have; null if "
        "no purchase has a price",
        _score(pl.when(_IS_CUSTOMER).then(pl.col(SPENT))),
    ),
)

_GAP: Final = (
    Feature(
        _USUAL,
        pl.Float64(),
        "days",
        "Gap between orders that is usual for the user: the own mean, with the mean over the shop's customers "
        f"counted as {PRIOR_GAPS:.0f} gaps; null without orders, or if no customer has two orders",
        pl.when(_IS_CUSTOMER).then(_USUAL_GAP),
    ),
)

_WAITS: Final = (
    Feature(
        _WAIT,
        pl.Float64(),
        "ratio",
        "Time since the last order in usual gaps: 2 if it is twice as long as usual; null without a usual gap",
        _wait(RECENCY_DAYS),
    ),
)

_STAGE: Final = (
    Feature(
        "lifecycle_stage",
        pl.String(),
        "name",
        f"{PROSPECT}: no order; {NEW}: one order; {ACTIVE}: more; {LOYAL}: active, with frequency score "
        f"{LOYAL_SCORE} or {SCORES}; {AT_RISK}: waits longer than {LATE_SHARE:.0%} of the customers did who came "
        f"back, in usual gaps; {LAPSED}: longer than {LAPSED_SHARE:.0%}",
        pl.when(~_IS_CUSTOMER)
        .then(pl.lit(PROSPECT))
        .when(_is_longer_than(LAPSED_SHARE))
        .then(pl.lit(LAPSED))
        .when(_is_longer_than(LATE_SHARE))
        .then(pl.lit(AT_RISK))
        .when(pl.col(ORDERS) == 1)
        .then(pl.lit(NEW))
        .when(pl.col(_FREQUENCY) >= LOYAL_SCORE)
        .then(pl.lit(LOYAL))
        .otherwise(pl.lit(ACTIVE)),
    ),
)

USER_SEGMENTS: Final = _USER + _SCORES + _GAP + _WAITS + _STAGE


def order_facts(pairs: pl.LazyFrame, orders: pl.LazyFrame) -> pl.LazyFrame:
    """Select what segments need of each user of a bucket who did something, from pairs and `user_orders`."""
    users = pairs.filter(pl.col(ACTS) > 0).select(pl.col(USER_ID).unique())
    return (
        users.join(orders.select(USER_ID, *_FACTS), on=USER_ID, how="left")
        .with_columns(pl.col(USER_ID).cast(pl.String), pl.col(ORDERS).fill_null(0))
        .sort(USER_ID)
    )


def user_segments(facts: pl.LazyFrame) -> pl.LazyFrame:
    """Compute one row per user with an event other than an impression, in the columns of `USER_SEGMENTS`.

    `facts` are the rows of `order_facts` of all buckets of users. Sorted by user.
    """
    return (
        facts.sort(USER_ID)
        .with_columns(columns(_SCORES + _GAP))
        .with_columns(columns(_WAITS))
        .with_columns(columns(_STAGE))
        .select(feature.name for feature in USER_SEGMENTS)
    )
