"""Column types and row rules of the tables of the lake: events, facts, impressions, flags, labels."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import dataframely as dy
import polars as pl

from recsys.schema import (
    BOT,
    EVENT,
    EVENT_ID,
    FINE,
    GROUP_ID,
    GUEST_ID,
    ID_PATTERN,
    ITEM_ID,
    LABEL,
    MIN_TIMESTAMP,
    PRICE,
    QUANTITY,
    REFUND,
    STOCK,
    TIMESTAMP,
    USER_ID,
    VALID_FROM,
    VALID_UNTIL,
    VALUE,
)


def _id_rule(name: str) -> Any:
    """Make the rule that a column matches `ID_PATTERN`."""
    return dy.rule()(lambda _: pl.col(name).str.contains(ID_PATTERN))


def _amount_rule(name: str) -> Any:
    """Make the rule that a column is finite and not negative."""
    return dy.rule()(lambda _: pl.col(name).is_finite() & (pl.col(name) >= 0))


def _time_rule(latest: datetime) -> Any:
    """Make the rule that `timestamp` is from 2000 up to `latest`."""
    return dy.rule()(lambda _: pl.col(TIMESTAMP).is_between(pl.lit(MIN_TIMESTAMP), pl.lit(latest)))


# NaN passes the columns and fails the rules below, so that one mistake has one name.
class Events(dy.Schema):
    """Events of users, one row per event: `timestamp` in UTC, `price` of one unit in the currency of the shop."""

    event_id = dy.String()
    user_id = dy.String()
    item_id = dy.String()
    event = dy.String()
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")
    value = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    price = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    quantity = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    session_id = dy.String(nullable=True)
    ip = dy.String(nullable=True)
    user_agent = dy.String(nullable=True)

    event_id_is_an_id = _id_rule(EVENT_ID)
    user_id_is_an_id = _id_rule(USER_ID)
    item_id_is_an_id = _id_rule(ITEM_ID)

    @dy.rule()
    def value_is_finite(cls) -> pl.Expr:
        """Require `value` to be finite."""
        return pl.col(VALUE).is_finite()

    price_is_an_amount = _amount_rule(PRICE)
    quantity_is_an_amount = _amount_rule(QUANTITY)

    @dy.rule()
    def refund_has_units(cls) -> pl.Expr:
        """Require `quantity` of a refund to be above 0 where it is given."""
        return (pl.col(EVENT) != REFUND) | (pl.col(QUANTITY) != 0)


class Items(dy.Schema):
    """The catalogue, one row per item: `category` is a path, root first; `attributes` a JSON object.

    `categories` are all paths of the item, of which `category` is the first.
    Items with the same `group_id` are variants of one product.

    `recsys.availability` decides by `available` and `stock` whether an item can be sold. It is offered from
    `valid_from` on and before `valid_until`, both in UTC.
    """

    item_id = dy.String()
    group_id = dy.String(nullable=True)
    title = dy.String(nullable=True)
    category = dy.List(dy.String(), nullable=True)
    categories = dy.List(dy.List(dy.String()), nullable=True)
    brand = dy.String(nullable=True)
    price = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    text = dy.String(nullable=True)
    available = dy.Bool(nullable=True)
    stock = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    valid_from = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    valid_until = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    created_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    attributes = dy.String(nullable=True)

    item_id_is_an_id = _id_rule(ITEM_ID)
    group_id_is_an_id = _id_rule(GROUP_ID)
    price_is_an_amount = _amount_rule(PRICE)
    stock_is_an_amount = _amount_rule(STOCK)

    @dy.rule()
    def valid_until_is_after_valid_from(cls) -> pl.Expr:
        """Require `valid_until` to be after `valid_from` where both are given."""
        return pl.col(VALID_UNTIL) > pl.col(VALID_FROM)


class Users(dy.Schema):
    """User data of the shop, one row per user: `attributes` is a JSON object."""

    user_id = dy.String()
    attributes = dy.String(nullable=True)

    user_id_is_an_id = _id_rule(USER_ID)


class Identities(dy.Schema):
    """Guests who turned out to be users, one row per guest: `timestamp` is the log-in, in UTC."""

    guest_id = dy.String()
    user_id = dy.String()
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")

    guest_id_is_an_id = _id_rule(GUEST_ID)
    user_id_is_an_id = _id_rule(USER_ID)


class Impressions(dy.Schema):
    """Items shown online, one row per item of an answer: `rank` from 1, `source` the list it came from."""

    request_id = dy.String()
    user_id = dy.String(nullable=True)
    item_id = dy.String()
    rank = dy.Int32(min=1)
    source = dy.String()
    version = dy.String(nullable=True)
    context = dy.String(nullable=True)
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")

    user_id_is_an_id = _id_rule(USER_ID)
    item_id_is_an_id = _id_rule(ITEM_ID)


class Flags(dy.Schema):
    """Users flagged online, one row per flag: `score` from 0 to 100, `shadow` true if it was only recorded."""

    user_id = dy.String()
    score = dy.Float64(min=0, max=100)
    reasons = dy.List(dy.String())
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")
    shadow = dy.Bool()

    user_id_is_an_id = _id_rule(USER_ID)


class Labels(dy.Schema):
    """Labels of analysts, one row per user: `label` is bot or fine."""

    user_id = dy.String()
    label = dy.String()
    labelled_at = dy.Datetime(time_unit="us", time_zone="UTC")

    user_id_is_an_id = _id_rule(USER_ID)

    @dy.rule()
    def label_is_known(cls) -> pl.Expr:
        """Require `label` to be bot or fine."""
        return pl.col(LABEL).is_in([BOT, FINE])


def flags_schema(latest: datetime) -> type[Flags]:
    """Return `Flags` with a rule that times are from 2000 up to `latest`."""

    class KnownFlags(Flags):
        timestamp_is_in_range = _time_rule(latest)

    return KnownFlags


def impressions_schema(latest: datetime) -> type[Impressions]:
    """Return `Impressions` with a rule that times are from 2000 up to `latest`."""

    class KnownImpressions(Impressions):
        timestamp_is_in_range = _time_rule(latest)

    return KnownImpressions


def events_schema(names: Collection[str], latest: datetime) -> type[Events]:
    """Return `Events` with rules that event names are in `names` and times are from 2000 up to `latest`."""

    class KnownEvents(Events):
        @dy.rule()
        def event_is_known(cls) -> pl.Expr:
            """Require `event` to be in `names`."""
            return pl.col(EVENT).is_in(sorted(names))

        timestamp_is_in_range = _time_rule(latest)

    return KnownEvents
