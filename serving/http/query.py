"""What a request asks for: read once at the edge, checked, and with what was expected where it is not."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Final, Literal, cast, get_args
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from recsys.schema import ITEM_ID, MAX_ID_LENGTH, SESSION_ID, USER_ID, is_id
from serving.engine.catalogue import NO_FILTER, ItemFilter

Context = Literal["home", "product", "cart", "mail"]

DEFAULT_N: Final = 20
MAX_N: Final = 1_000
MAX_OFFSET: Final = 10_000
LATEST_MS: Final = 1 << 53
MAX_EXCLUDED: Final = 1_000
MAX_USERS: Final = 500
MAX_RANKED: Final = 1_000
MAX_TEXT_LENGTH: Final = 1_000
GUEST: Final = "guest:"
"""Begins the user id of a guest, whose session id follows."""
MAX_SESSION_ID_LENGTH: Final = MAX_ID_LENGTH - len(GUEST)
N: Final = "n"

_ID: Final = "characters in percent-encoded UTF-8, none white space or a control character"
EXPECTED: Final = {
    USER_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    ITEM_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    SESSION_ID: f"1 to {MAX_SESSION_ID_LENGTH} {_ID}",
    N: f"a whole number from 1 to {MAX_N}",
    "offset": f"a whole number from 0 to {MAX_OFFSET}",
    "cursor": "the cursor of an answer, without offset",
    "category": f"a category path as in GROCERY>CHEESE, of at most {MAX_TEXT_LENGTH} characters",
    "brand": f"a brand of at most {MAX_TEXT_LENGTH} characters",
    "price_min": "a number not below 0",
    "price_max": "a number not below 0",
    "exclude": f"at most {MAX_EXCLUDED} item ids, commas between them or the parameter repeated",
    "context": "one of " + ", ".join(get_args(Context)),
    "debug": "0 or 1",
    "user_ids": f"1 to {MAX_USERS} user ids",
    "item_ids": f"1 to {MAX_RANKED} item ids",
    "body": "the JSON object that the schema describes",
}


class InvalidValueError(Exception):
    """A value of the request is not what was expected."""

    def __init__(self, field: str, value: str, expected: str | None = None) -> None:
        self.expected = expected or EXPECTED[field]
        super().__init__(f"{field}: expected {self.expected}")
        self.field, self.value = field, value


class Cursor(Struct, frozen=True):
    """Where the page before ended: in the order made for this version of what was known at this moment."""

    version: str
    at: int
    """Unix milliseconds of the latest event that counts for the order."""
    place: int
    shown: int
    """Items on the pages before."""

    def encode(self) -> str:
        """As text that goes into an address as it is."""
        return f"{self.version}.{self.at}.{self.place}.{self.shown}"

    @classmethod
    def decode(cls, encoded: str) -> "Cursor":
        """Raises `InvalidValueError` when it is none."""
        version, *numbers = encoded.rsplit(".", 3)
        if len(numbers) != 3 or not all(each.isascii() and each.isdecimal() and len(each) < 17 for each in numbers):
            raise InvalidValueError("cursor", encoded)
        at, place, shown = map(int, numbers)
        if not is_id(version) or place > MAX_OFFSET or shown > MAX_OFFSET or at > LATEST_MS:
            raise InvalidValueError("cursor", encoded)
        return cls(version, at, place, shown)


class ListRequest(Struct, frozen=True):
    """What a list is wanted for."""

    user_id: str
    session_id: str | None = None
    n: int = DEFAULT_N
    offset: int = 0
    cursor: Cursor | None = None
    item_filter: ItemFilter = NO_FILTER
    exclude: frozenset[str] = frozenset()
    context: Context = "home"
    debug: bool = False


def parse_list_request(user_id: str, query: bytes) -> ListRequest:
    """What the query string of a request for recommendations asks; raises `InvalidValueError`."""
    if not query:
        return ListRequest(user_id)
    given = parsed(query)
    session_id = _one(given, SESSION_ID)
    if session_id is not None and not (is_id(session_id) and len(session_id) <= MAX_SESSION_ID_LENGTH):
        raise InvalidValueError(SESSION_ID, session_id)
    cursor = _one(given, "cursor")
    if cursor is not None and "offset" in given:
        raise InvalidValueError("cursor", cursor)
    context = _one(given, "context") or "home"
    if context not in get_args(Context):
        raise InvalidValueError("context", context)
    return ListRequest(
        user_id,
        session_id,
        number(given, N, DEFAULT_N, 1, MAX_N),
        number(given, "offset", 0, 0, MAX_OFFSET),
        None if cursor is None else Cursor.decode(cursor),
        wanted_of(given),
        _excluded(given),
        cast(Context, context),
        number(given, "debug", 0, 0, 1) == 1,
    )


def wanted_of(given: Mapping[str, Sequence[str]]) -> ItemFilter:
    """Which items the parameters want."""
    category, brand = _text(given, "category"), _text(given, "brand")
    price_min, price_max = _price(given, "price_min"), _price(given, "price_max")
    if category is None and brand is None and price_min is None and price_max is None:
        return NO_FILTER
    return ItemFilter(category, brand, price_min, price_max)


def parsed(query: bytes) -> dict[str, list[str]]:
    """The parameters of a query string; what is no UTF-8 stands there as a replacement character."""
    return parse_qs(query.decode("latin-1"), keep_blank_values=True, errors="replace", max_num_fields=2_000)


def number(given: Mapping[str, Sequence[str]], name: str, default: int, least: int, most: int) -> int:
    """A whole number within a range."""
    value = _one(given, name)
    if value is None:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and least <= int(value) <= most):
        raise InvalidValueError(name, value)
    return int(value)


def parse_id(raw_path: bytes, prefix: bytes, field: str = USER_ID) -> str:
    """The id that stands percent-encoded behind the prefix of a path, slashes and all.

    >>> parse_id(b"/v1/recommendations/a%2Fb", b"/v1/recommendations/")
    'a/b'

    Raises `InvalidValueError` when it is no id.
    """
    encoded = raw_path.partition(prefix)[2].decode("latin-1")
    try:
        found = unquote(encoded, errors="strict") if "%" in encoded else encoded.encode("latin-1").decode()
    except UnicodeDecodeError:
        raise InvalidValueError(field, encoded) from None
    return check_id(found, field)


def check_id(value: str, field: str) -> str:
    """The value, if it is an id; raises `InvalidValueError` when it is none."""
    if not is_id(value):
        raise InvalidValueError(field, value)
    return value


def guest_user_id(session_id: str) -> str:
    """The user id that a guest's session is kept under."""
    return GUEST + session_id


def _one(given: Mapping[str, Sequence[str]], name: str) -> str | None:
    values = given.get(name)
    return values[-1] if values else None


def _text(given: Mapping[str, Sequence[str]], name: str) -> str | None:
    value = _one(given, name)
    if value is not None and not 0 < len(value) <= MAX_TEXT_LENGTH:
        raise InvalidValueError(name, value)
    return value


def _price(given: Mapping[str, Sequence[str]], name: str) -> float | None:
    value = _one(given, name)
    if value is None:
        return None
    try:
        price = float(value)
    except ValueError:
        raise InvalidValueError(name, value) from None
    if not (isfinite(price) and price >= 0):
        raise InvalidValueError(name, value)
    return price


def _excluded(given: Mapping[str, Sequence[str]]) -> frozenset[str]:
    values = given.get("exclude")
    if not values:
        return frozenset()
    found = frozenset(item_id for value in values for item_id in value.split(",") if item_id)
    if len(found) > MAX_EXCLUDED:
        raise InvalidValueError("exclude", f"{len(found)} ids")
    for item_id in found:
        if not is_id(item_id):
            raise InvalidValueError("exclude", item_id)
    return found
