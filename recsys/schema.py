"""Column names, dtypes and rules of events, items and users: the only place that spells them."""

from collections.abc import Collection
from datetime import UTC, datetime
from math import isfinite
from typing import Final

import dataframely as dy
import polars as pl

EVENT_ID: Final = "event_id"
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
EVENT: Final = "event"
TIMESTAMP: Final = "timestamp"
VALUE: Final = "value"
PRICE: Final = "price"
QUANTITY: Final = "quantity"
SESSION_ID: Final = "session_id"
IP: Final = "ip"
USER_AGENT: Final = "user_agent"

TITLE: Final = "title"
CATEGORY: Final = "category"
BRAND: Final = "brand"
TEXT: Final = "text"
AVAILABLE: Final = "available"
CREATED_AT: Final = "created_at"
ATTRIBUTES: Final = "attributes"

REQUEST_ID: Final = "request_id"
RANK: Final = "rank"
SOURCE: Final = "source"
VERSION: Final = "version"
CONTEXT: Final = "context"

SCORE: Final = "score"
REASONS: Final = "reasons"
SHADOW: Final = "shadow"
LABEL: Final = "label"
LABELED_AT: Final = "labelled_at"
BOT: Final = "bot"
FINE: Final = "fine"
FLAGGED: Final = "flagged"

IMPRESSION: Final = "impression"
VIEW: Final = "view"
CLICK: Final = "click"
CART: Final = "cart"
RATING: Final = "rating"
PURCHASE: Final = "purchase"
REFUND: Final = "refund"

# Columns of the features that models and reports read.
CONFIDENCE: Final = "confidence"
WEIGHT: Final = "weight"
EVENTS: Final = "events"
FIRST_AT: Final = "first_at"
LAST_AT: Final = "last_at"
REPEAT_DAYS: Final = "repeat_days"
VECTOR: Final = "vector"
PROPOSED_CATEGORY: Final = "proposed_category"
PROPOSED_CATEGORY_CONFIDENCE: Final = "proposed_category_confidence"

# Weight of one event of each name as evidence that the user wants the item; settings add to and override these.
DEFAULT_WEIGHTS: Final = {
    IMPRESSION: 0.0,
    VIEW: 1.0,
    CLICK: 1.0,
    CART: 3.0,
    RATING: 3.0,
    PURCHASE: 5.0,
    REFUND: -5.0,
}

MAX_ID_LENGTH: Final = 128
ID_PATTERN: Final = rf"^[^\s\p{{C}}]{{1,{MAX_ID_LENGTH}}}$"
CATEGORY_SEPARATOR: Final = ">"
VECTOR_SIZE: Final = 32  # dimensions of the vector of an item
VECTOR_NORM: Final = 127  # Euclidean norm of a vector, whose numbers are int8
MIN_TIMESTAMP: Final = datetime(2000, 1, 1, tzinfo=UTC)
TIMESTAMP_DTYPE: Final = pl.Datetime("us", "UTC")


def is_id(text: str) -> bool:
    """Return whether a text matches `ID_PATTERN`.

    >>> is_id("a/b"), is_id("a b"), is_id("")
    (True, False, False)
    """
    if text.isascii():
        return 0 < len(text) <= MAX_ID_LENGTH and text.isprintable() and " " not in text
    # Beyond ASCII the pattern itself decides: its Unicode tables and Python's are of different versions.
    return len(text) <= MAX_ID_LENGTH and bool(pl.select(pl.lit(text).str.contains(ID_PATTERN)).item())


def _is_id(name: str) -> pl.Expr:
    return pl.col(name).str.contains(ID_PATTERN)


def _is_amount(name: str) -> pl.Expr:
    return pl.col(name).is_finite() & (pl.col(name) >= 0)


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

    @dy.rule()
    def event_id_is_an_id(cls) -> pl.Expr:
        """Require `event_id` to match `ID_PATTERN`."""
        return _is_id(EVENT_ID)

    @dy.rule()
    def user_id_is_an_id(cls) -> pl.Expr:
        """Require `user_id` to match `ID_PATTERN`."""
        return _is_id(USER_ID)

    @dy.rule()
    def item_id_is_an_id(cls) -> pl.Expr:
        """Require `item_id` to match `ID_PATTERN`."""
        return _is_id(ITEM_ID)

    @dy.rule()
    def value_is_finite(cls) -> pl.Expr:
        """Require `value` to be finite."""
        return pl.col(VALUE).is_finite()

    @dy.rule()
    def price_is_an_amount(cls) -> pl.Expr:
        """Require `price` to be finite and not negative."""
        return _is_amount(PRICE)

    @dy.rule()
    def quantity_is_an_amount(cls) -> pl.Expr:
        """Require `quantity` to be finite and not negative."""
        return _is_amount(QUANTITY)


class Items(dy.Schema):
    """The catalogue, one row per item: `category` is a path, root first; `attributes` a JSON object."""

    item_id = dy.String()
    title = dy.String(nullable=True)
    category = dy.List(dy.String(), nullable=True)
    brand = dy.String(nullable=True)
    price = dy.Float64(nullable=True, allow_nan=True, allow_inf=True)
    text = dy.String(nullable=True)
    available = dy.Bool(nullable=True)
    created_at = dy.Datetime(nullable=True, time_unit="us", time_zone="UTC")
    attributes = dy.String(nullable=True)

    @dy.rule()
    def item_id_is_an_id(cls) -> pl.Expr:
        """Require `item_id` to match `ID_PATTERN`."""
        return _is_id(ITEM_ID)

    @dy.rule()
    def price_is_an_amount(cls) -> pl.Expr:
        """Require `price` to be finite and not negative."""
        return _is_amount(PRICE)


class Users(dy.Schema):
    """User data of the shop, one row per user: `attributes` is a JSON object."""

    user_id = dy.String()
    attributes = dy.String(nullable=True)

    @dy.rule()
    def user_id_is_an_id(cls) -> pl.Expr:
        """Require `user_id` to match `ID_PATTERN`."""
        return _is_id(USER_ID)


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

    @dy.rule()
    def user_id_is_an_id(cls) -> pl.Expr:
        """Require `user_id` to match `ID_PATTERN`."""
        return _is_id(USER_ID)

    @dy.rule()
    def item_id_is_an_id(cls) -> pl.Expr:
        """Require `item_id` to match `ID_PATTERN`."""
        return _is_id(ITEM_ID)


class Flags(dy.Schema):
    """Users flagged online, one row per flag: `score` from 0 to 100, `shadow` true if it was only recorded."""

    user_id = dy.String()
    score = dy.Float64(min=0, max=100)
    reasons = dy.List(dy.String())
    timestamp = dy.Datetime(time_unit="us", time_zone="UTC")
    shadow = dy.Bool()

    @dy.rule()
    def user_id_is_an_id(cls) -> pl.Expr:
        """Require `user_id` to match `ID_PATTERN`."""
        return _is_id(USER_ID)


class Labels(dy.Schema):
    """Labels of analysts, one row per user: `label` is bot or fine."""

    user_id = dy.String()
    label = dy.String()
    labelled_at = dy.Datetime(time_unit="us", time_zone="UTC")

    @dy.rule()
    def user_id_is_an_id(cls) -> pl.Expr:
        """Require `user_id` to match `ID_PATTERN`."""
        return _is_id(USER_ID)

    @dy.rule()
    def label_is_known(cls) -> pl.Expr:
        """Require `label` to be bot or fine."""
        return pl.col(LABEL).is_in([BOT, FINE])


def flags_schema(latest: datetime) -> type[Flags]:
    """Return `Flags` with a rule that times are from 2000 up to `latest`."""

    class KnownFlags(Flags):
        @dy.rule()
        def timestamp_is_in_range(cls) -> pl.Expr:
            """Require `timestamp` to be from 2000 up to `latest`."""
            return pl.col(TIMESTAMP).is_between(pl.lit(MIN_TIMESTAMP), pl.lit(latest))

    return KnownFlags


def impressions_schema(latest: datetime) -> type[Impressions]:
    """Return `Impressions` with a rule that times are from 2000 up to `latest`."""

    class KnownImpressions(Impressions):
        @dy.rule()
        def timestamp_is_in_range(cls) -> pl.Expr:
            """Require `timestamp` to be from 2000 up to `latest`."""
            return pl.col(TIMESTAMP).is_between(pl.lit(MIN_TIMESTAMP), pl.lit(latest))

    return KnownImpressions


def events_schema(names: Collection[str], latest: datetime) -> type[Events]:
    """Return `Events` with rules that event names are in `names` and times are from 2000 up to `latest`."""

    class KnownEvents(Events):
        @dy.rule()
        def event_is_known(cls) -> pl.Expr:
            """Require `event` to be in `names`."""
            return pl.col(EVENT).is_in(sorted(names))

        @dy.rule()
        def timestamp_is_in_range(cls) -> pl.Expr:
            """Require `timestamp` to be from 2000 up to `latest`."""
            return pl.col(TIMESTAMP).is_between(pl.lit(MIN_TIMESTAMP), pl.lit(latest))

    return KnownEvents


def find_broken_event_rule(
    event_id: str,
    user_id: str,
    item_id: str,
    event: str,
    timestamp: datetime,
    amounts: tuple[float | None, float | None, float | None],
    names: Collection[str],
    latest: datetime,
) -> str | None:
    """Return the first rule of `events_schema` that one event breaks, None if it breaks none.

    `amounts` are its value, price and quantity. For single events: checking a table takes milliseconds.
    """
    value, price, quantity = amounts
    checks = (
        ("event_id_is_an_id", is_id(event_id)),
        ("user_id_is_an_id", is_id(user_id)),
        ("item_id_is_an_id", is_id(item_id)),
        ("value_is_finite", value is None or isfinite(value)),
        ("price_is_an_amount", price is None or (isfinite(price) and price >= 0)),
        ("quantity_is_an_amount", quantity is None or (isfinite(quantity) and quantity >= 0)),
        ("event_is_known", event in names),
        ("timestamp_is_in_range", MIN_TIMESTAMP <= timestamp <= latest),
    )
    return next((rule for rule, passed in checks if not passed), None)
