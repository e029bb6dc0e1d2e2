"""Requests to the server as structs: which fields there are, and what each may be.

The parser, the OpenAPI document, the engine and the error texts use the fields of these structs; a test compares
the client's arguments with them.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from recsys.schema import CATEGORY_SEPARATOR, ITEM_ID, MAX_ID_LENGTH, USER_ID, is_id
from serving.api import DEFAULT_N, MAX_EXCLUDED, MAX_N, MAX_OFFSET, MAX_RANKED, MAX_USERS, Context, ListName

GUEST: Final = "guest:"
"""First part of the user id of a guest; the session id follows."""
MAX_SESSION_ID_LENGTH: Final = MAX_ID_LENGTH - len(GUEST)
MAX_TEXT_LENGTH: Final = 1_000
MAX_SHOWN_LENGTH: Final = 200
"""Characters of an invalid value that an answer repeats."""
REDACTED: Final = "(not shown)"
"""An invalid value that an answer does not repeat."""
MAX_UNIX_MS: Final = 1 << 53
MAX_FILTER_VALUES: Final = 100
"""Values of one condition on items."""
COMPARISON: Final = re.compile(r"(>=|<=|>|<)?\s*(.*)", re.DOTALL)

_ID: Final = "characters in percent-encoded UTF-8, none white space or a control character"
_SESSION_ID: Final = f"1 to {MAX_SESSION_ID_LENGTH} {_ID}"


class InvalidValueError(Exception):
    """A value of the request is not the expected one."""

    def __init__(self, field: str, value: str, expected: str | None = None) -> None:
        self.expected = expected or EXPECTED[field]
        super().__init__(f"{field}: expected {self.expected}")
        self.field, self.value = field, value


class Cursor(Struct, frozen=True):
    """The end of a page; the next page continues in the order of the same version and moment."""

    version: str
    at: int
    """Unix milliseconds of the latest event that counts for the order."""
    place: int
    """Place in that order after the last item of the page."""
    shown: int
    """Number of items on the pages so far."""

    def encode(self) -> str:
        """Return the cursor as text that needs no escaping in a URL."""
        return f"{self.version}.{self.at}.{self.place}.{self.shown}"

    @classmethod
    def decode(cls, encoded: str) -> "Cursor":
        """Read a cursor from its text; raises `InvalidValueError`."""
        version, *numbers = encoded.rsplit(".", 3)
        if len(numbers) != 3 or not all(text.isascii() and text.isdecimal() and len(text) < 17 for text in numbers):
            raise InvalidValueError("cursor", encoded)
        at, place, shown = map(int, numbers)
        if not is_id(version) or place > MAX_OFFSET or shown > MAX_OFFSET or at > MAX_UNIX_MS:
            raise InvalidValueError("cursor", encoded)
        return cls(version, at, place, shown)


class AttributeCondition(Struct, frozen=True):
    """A condition on an attribute of items: a value, or a comparison with a number."""

    name: str
    text: str
    """What stands after the colon."""
    number: float | None = None
    """The number that the text is, or that stands after the comparison; None if there is none."""
    comparison: str | None = None
    """>=, <=, > or <."""

    def __str__(self) -> str:
        """Return the condition as in a request."""
        return f"{self.name}:{self.text}"

    @classmethod
    def decode(cls, encoded: str) -> "AttributeCondition":
        """Read a condition such as color:red or volume:>=0.5; raises `ValueError`."""
        name, _, text = (part.strip() for part in encoded.partition(":"))
        if not name or not text or len(encoded) > MAX_TEXT_LENGTH:
            raise ValueError(encoded)
        comparison, rest = COMPARISON.fullmatch(text).groups()  # type: ignore[union-attr] # matches any text
        number = _read_finite(rest)
        return cls(name, text, number, None if number is None else comparison)


def _read_finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _meta(description: str, expected: str, minimum: float | None = None, maximum: float | None = None) -> Meta:
    return Meta(ge=minimum, le=maximum, description=description, extra={"expected": expected})


def _text_meta(description: str, expected: str, max_length: int = MAX_TEXT_LENGTH) -> Meta:
    return Meta(min_length=1, max_length=max_length, description=description, extra={"expected": expected})


def _list_meta(description: str, expected: str) -> Meta:
    extra = {"expected": f"{expected}; at most {MAX_FILTER_VALUES} of them"}
    return Meta(max_length=MAX_FILTER_VALUES, description=description, extra=extra)


_COUNT: Final = f"a whole number from 1 to {MAX_N}"
_PRICE: Final = "a number not below 0"

Count = Annotated[int, _meta(f"Maximum number of entries: {_COUNT}", _COUNT, 1, MAX_N)]
Offset = Annotated[int, _meta("Number of entries to skip", f"a whole number from 0 to {MAX_OFFSET}", 0, MAX_OFFSET)]
FilterText = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_LENGTH)]
Categories = Annotated[
    tuple[FilterText, ...],
    _list_meta(
        "Only items with a category path that is this one or below it; of several paths, one is enough",
        f"a category path as in GROCERY>CHEESE, of at most {MAX_TEXT_LENGTH} characters",
    ),
]
Brands = Annotated[
    tuple[FilterText, ...],
    _list_meta(
        "Only items of this brand, or of one of these brands", f"a brand of at most {MAX_TEXT_LENGTH} characters"
    ),
]
Attributes = Annotated[
    tuple[FilterText, ...],
    _list_meta(
        "Only items with this value of an attribute, as in color:red or volume:>=0.5; of several values of one "
        "attribute, one is enough, comparisons hold together, and different attributes hold together",
        "name:value, as in color:red or volume:>=0.5",
    ),
]
PriceMin = Annotated[float, _meta("Only items of this price or more", _PRICE, 0)]
PriceMax = Annotated[float, _meta("Only items of this price or less", _PRICE, 0)]
Exclude = Annotated[
    frozenset[str],
    _meta(
        f"Items to leave out: at most {MAX_EXCLUDED} ids, with commas or in several parameters",
        f"at most {MAX_EXCLUDED} item ids, commas between them or the parameter repeated",
    ),
]
SessionId = Annotated[
    str,
    _text_meta(
        f"Session before log-in, whose events count as well; for a guest the session alone: {_SESSION_ID}",
        _SESSION_ID,
        MAX_SESSION_ID_LENGTH,
    ),
]
PageCursor = Annotated[
    Cursor,
    _meta(
        "`cursor` of an answer, for the page after it; not together with `offset`",
        "the cursor of an answer, without offset",
    ),
]
Purpose = Annotated[
    Context,
    _meta(
        "Where the list is shown; in a mail the session does not count", "one of " + ", ".join(get_args(Context))
    ),
]
UserList = Annotated[
    ListName,
    _meta(
        "Which of the user's lists: all items, those that the user has bought, or those that the user never bought",
        "one of " + ", ".join(get_args(ListName)),
    ),
]
IsPseudonym = Annotated[
    int, _meta("1 says that the user is given by the pseudonym, as in the list of flagged users", "0 or 1", 0, 1)
]
Debug = Annotated[int, _meta("1 adds every stage of the request; needs the scope admin", "0 or 1", 0, 1)]


@dataclass(frozen=True)
class ItemFilter:
    """Conditions that all items of an answer meet; None means no condition."""

    categories: tuple[str, ...] = ()
    """Category paths, of which an item has one, or one below it; with none, any item passes."""
    brands: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    attributes: tuple[AttributeCondition, ...] = ()


NO_FILTER: Final = ItemFilter()


class ItemConditions(Struct, frozen=True, kw_only=True):
    """Conditions on the items of a list."""

    category: Categories = ()
    brand: Brands = ()
    price_min: PriceMin | None = None
    price_max: PriceMax | None = None
    attribute: Attributes = ()

    def build_item_filter(self) -> ItemFilter:
        """Return the conditions as a filter; `NO_FILTER` if there are none. Raises `InvalidValueError`."""
        has_prices = self.price_min is not None or self.price_max is not None
        if not (self.category or self.brand or has_prices or self.attribute):
            return NO_FILTER
        categories = tuple(dict.fromkeys(map(_plain_path, self.category)))
        attributes = tuple(map(_read_condition, self.attribute))
        brands = tuple(dict.fromkeys(brand.strip() for brand in self.brand))
        return ItemFilter(categories, brands, self.price_min, self.price_max, attributes)


class ListOptions(ItemConditions, frozen=True, kw_only=True):
    """Options that select the items of a list."""

    n: Count = DEFAULT_N
    offset: Offset = 0
    exclude: Exclude = frozenset()


class ListRequest(ListOptions, frozen=True):
    """A request for a user's list."""

    user_id: str
    session_id: SessionId | None = None
    cursor: PageCursor | None = None
    context: Purpose = "home"
    list: UserList = "blend"
    debug: Debug = 0


class UserReference(Struct, frozen=True):
    """How the user at the end of a path is given."""

    pseudonym: IsPseudonym = 0


class PageRequest(Struct, frozen=True):
    """A page of a long list."""

    n: Count = 100
    offset: Offset = 0


def annotated_fields(request: type[Struct]) -> Iterator[tuple[str, Any, Meta]]:
    """Iterate over the fields that have a `Meta`: name, type without None, and `Meta`."""
    for name, hint in get_type_hints(request, include_extras=True).items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if get_origin(kinds[0]) is Annotated:
            kind, meta = get_args(kinds[0])
            yield name, kind, meta


EXPECTED: Final = {name: (meta.extra or {})["expected"] for name, _, meta in annotated_fields(ListRequest)} | {
    "pseudonym": "0 or 1",
    USER_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    ITEM_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    "user_ids": f"1 to {MAX_USERS} user ids",
    "item_ids": f"1 to {MAX_RANKED} item ids",
    "body": "the JSON object that the schema describes",
}
"""Field -> the value that an error message says is expected."""


def _plain_path(path: str) -> str:
    """Return a category path without white space around its levels, as the catalogue has it."""
    return CATEGORY_SEPARATOR.join(level.strip() for level in path.split(CATEGORY_SEPARATOR))


def split_paths(texts: Sequence[str], names: Collection[str]) -> list[str]:
    """Return the paths that texts name; `names` are those of the catalogue.

    A text that is no path of the catalogue is split at commas, into the longest parts that are one.
    """
    if not any("," in text for text in texts):
        return list(texts)
    known = {level for name in names for level in _paths_down_to(name)}
    span = 1 + max((path.count(",") for path in known), default=0)
    return list(dict.fromkeys(path for text in texts for path in _split_at_commas(text, known, span)))


def _paths_down_to(name: str) -> Iterator[str]:
    """Yield a path and all paths above it."""
    return accumulate(name.split(CATEGORY_SEPARATOR), lambda path, level: path + CATEGORY_SEPARATOR + level)


def _split_at_commas(text: str, known: Collection[str], span: int) -> Iterator[str]:
    """Yield the known paths of a text, each of which has at most `span` parts between commas."""
    parts = text.split(",")
    start = 0
    while start < len(parts):
        ends = range(min(start + span, len(parts)), start, -1)
        joined = ((end, ",".join(parts[start:end]).strip()) for end in ends)
        start, path = next(((end, path) for end, path in joined if path in known), (start + 1, None))
        if path is not None:
            yield path


def _read_condition(encoded: str) -> AttributeCondition:
    try:
        return AttributeCondition.decode(encoded)
    except ValueError:
        raise InvalidValueError("attribute", encoded) from None


def guest_user_id(session_id: str) -> str:
    """Return the user id under which a guest's session is stored."""
    return GUEST + session_id
