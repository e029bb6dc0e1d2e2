"""Names of columns and events, and rules of ids: the only place that spells them."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from math import isfinite
from typing import Final

import polars as pl

EVENT_ID: Final = "event_id"
USER_ID: Final = "user_id"
GUEST_ID: Final = "guest_id"
ITEM_ID: Final = "item_id"
EVENT: Final = "event"
TIMESTAMP: Final = "timestamp"
VALUE: Final = "value"
PRICE: Final = "price"
QUANTITY: Final = "quantity"
SESSION_ID: Final = "session_id"
IP: Final = "ip"
USER_AGENT: Final = "user_agent"

GROUP_ID: Final = "group_id"
TITLE: Final = "title"
CATEGORY: Final = "category"
CATEGORIES: Final = "categories"
BRAND: Final = "brand"
TEXT: Final = "text"
AVAILABLE: Final = "available"
STOCK: Final = "stock"
VALID_FROM: Final = "valid_from"
VALID_UNTIL: Final = "valid_until"
CREATED_AT: Final = "created_at"
CHANGED_ONLINE_AT: Final = "changed_online_at"
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
RETURNED_PURCHASE: Final = "returned purchase"  # of which no unit is left; not a name that settings give

# Columns of the features that models and reports read.
CONFIDENCE: Final = "confidence"
WEIGHT: Final = "weight"
EVENTS: Final = "events"
FIRST_AT: Final = "first_at"
LAST_AT: Final = "last_at"
REPEAT_DAYS: Final = "repeat_days"
PRODUCT_TYPE: Final = "product_type"
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

DEFAULT_DISLIKE_WEIGHT: Final = -3.0
"""Weight of an event by which a user dislikes an item, where settings give none."""

MAX_ID_LENGTH: Final = 128
ID_PATTERN: Final = rf"^[^\s\p{{C}}]{{1,{MAX_ID_LENGTH}}}$"
CHARACTERS_PER_BLOCK: Final = 256
SURROGATES: Final = range(0xD800, 0xE000)  # code points that are no characters, in whole blocks
CATEGORY_SEPARATOR: Final = ">"
VECTOR_SIZE: Final = 32  # dimensions of the vector of an item
VECTOR_NORM: Final = 127  # Euclidean norm of a vector, whose numbers are int8
MIN_TIMESTAMP: Final = datetime(2000, 1, 1, tzinfo=UTC)
TIMESTAMP_DTYPE: Final = pl.Datetime("us", "UTC")
EVENT_DTYPES: Final[Mapping[str, pl.DataType]] = {
    EVENT_ID: pl.String(),
    USER_ID: pl.String(),
    ITEM_ID: pl.String(),
    EVENT: pl.String(),
    TIMESTAMP: TIMESTAMP_DTYPE,
    VALUE: pl.Float64(),
    PRICE: pl.Float64(),
    QUANTITY: pl.Float64(),
    SESSION_ID: pl.String(),
    IP: pl.String(),
    USER_AGENT: pl.String(),
}
"""Columns of events and their types; `recsys.contract` adds the rules of rows to these tables."""
ITEM_DTYPES: Final[Mapping[str, pl.DataType]] = {
    ITEM_ID: pl.String(),
    GROUP_ID: pl.String(),
    TITLE: pl.String(),
    CATEGORY: pl.List(pl.String()),
    CATEGORIES: pl.List(pl.List(pl.String())),
    BRAND: pl.String(),
    PRICE: pl.Float64(),
    TEXT: pl.String(),
    AVAILABLE: pl.Boolean(),
    STOCK: pl.Float64(),
    VALID_FROM: TIMESTAMP_DTYPE,
    VALID_UNTIL: TIMESTAMP_DTYPE,
    CREATED_AT: TIMESTAMP_DTYPE,
    ATTRIBUTES: pl.String(),
}
ONLINE_CHANGE_DTYPES: Final[Mapping[str, pl.DataType]] = {
    ITEM_ID: pl.String(),
    CHANGED_ONLINE_AT: TIMESTAMP_DTYPE,
}
"""The time of the last change of each item that was made online and archived."""
USER_DTYPES: Final[Mapping[str, pl.DataType]] = {USER_ID: pl.String(), ATTRIBUTES: pl.String()}
IDENTITY_DTYPES: Final[Mapping[str, pl.DataType]] = {
    GUEST_ID: pl.String(),
    USER_ID: pl.String(),
    TIMESTAMP: TIMESTAMP_DTYPE,
}
"""The user whom each guest turned out to be, and when."""
IMPRESSION_DTYPES: Final[Mapping[str, pl.DataType]] = {
    REQUEST_ID: pl.String(),
    USER_ID: pl.String(),
    ITEM_ID: pl.String(),
    RANK: pl.Int32(),
    SOURCE: pl.String(),
    VERSION: pl.String(),
    CONTEXT: pl.String(),
    TIMESTAMP: TIMESTAMP_DTYPE,
}
FLAG_DTYPES: Final[Mapping[str, pl.DataType]] = {
    USER_ID: pl.String(),
    SCORE: pl.Float64(),
    REASONS: pl.List(pl.String()),
    TIMESTAMP: TIMESTAMP_DTYPE,
    SHADOW: pl.Boolean(),
}
LABEL_DTYPES: Final[Mapping[str, pl.DataType]] = {
    USER_ID: pl.String(),
    LABEL: pl.String(),
    LABELED_AT: TIMESTAMP_DTYPE,
}


def is_id(text: str) -> bool:
    """Return whether a text matches `ID_PATTERN`.

    >>> is_id("a/b"), is_id("a b"), is_id("")
    (True, False, False)
    """
    if text.isascii():
        return 0 < len(text) <= MAX_ID_LENGTH and text.isprintable() and " " not in text
    return len(text) <= MAX_ID_LENGTH and all(map(_is_id_character, text))


@lru_cache(4096)
def _is_id_character(character: str) -> bool:
    code = ord(character)
    return bool(_id_characters(code // CHARACTERS_PER_BLOCK) >> code % CHARACTERS_PER_BLOCK & 1)


@cache
def _id_characters(block: int) -> int:
    """Return which of `CHARACTERS_PER_BLOCK` characters may be in an id, as bits, the lowest for the first.

    The pattern itself decides: its Unicode tables and Python's are of different versions. One expression for a
    block of characters instead of one for each id: an expression takes a millisecond.
    """
    codes = range(block * CHARACTERS_PER_BLOCK, (block + 1) * CHARACTERS_PER_BLOCK)
    if SURROGATES.start <= codes.start < SURROGATES.stop:
        return 0
    matches = pl.Series([chr(code) for code in codes]).str.contains(ID_PATTERN)
    return sum(1 << place for place in matches.arg_true())


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
    """Return the first rule of `recsys.contract.events_schema` that one event breaks, None if it breaks none.

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
        ("refund_has_units", event != REFUND or quantity != 0),
        ("event_is_known", event in names),
        ("timestamp_is_in_range", MIN_TIMESTAMP <= timestamp <= latest),
    )
    return next((rule for rule, passed in checks if not passed), None)
