"""Parameters of a request: one struct says which there are and what each may be.

The parser, the OpenAPI document and the texts of errors are made from the fields of these structs; a test holds the
client's arguments to them.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from types import UnionType
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Meta, Struct

from recsys.schema import ITEM_ID, MAX_ID_LENGTH, SESSION_ID, USER_ID, is_id
from serving.api import DEFAULT_N, MAX_EXCLUDED, MAX_N, MAX_OFFSET, MAX_RANKED, MAX_USERS, Context
from serving.engine.catalogue import NO_FILTER, ItemFilter

GUEST: Final = "guest:"
"""First part of the user id of a guest; the session id follows."""
MAX_SESSION_ID_LENGTH: Final = MAX_ID_LENGTH - len(GUEST)
MAX_TEXT_LENGTH: Final = 1_000
MAX_DIGITS: Final = 9
MAX_UNIX_MS: Final = 1 << 53
MAX_QUERY_FIELDS: Final = 2_000

_ID: Final = "characters in percent-encoded UTF-8, none white space or a control character"
_SESSION_ID: Final = f"1 to {MAX_SESSION_ID_LENGTH} {_ID}"

RequestType = TypeVar("RequestType", bound=Struct)


class InvalidValueError(Exception):
    """A value of the request is not what was expected."""

    def __init__(self, field: str, value: str, expected: str | None = None) -> None:
        self.expected = expected or EXPECTED[field]
        super().__init__(f"{field}: expected {self.expected}")
        self.field, self.value = field, value


class Cursor(Struct, frozen=True):
    """The end of a page: the next one continues in the order made for this version and moment."""

    version: str
    at: int
    """Unix milliseconds of the latest event that counts for the order."""
    place: int
    shown: int
    """Items on the pages before."""

    def encode(self) -> str:
        """Return the cursor as text that needs no escaping in a URL."""
        return f"{self.version}.{self.at}.{self.place}.{self.shown}"

    @classmethod
    def decode(cls, encoded: str) -> "Cursor":
        """Read a cursor from its text; raises `InvalidValueError`."""
        version, *numbers = encoded.rsplit(".", 3)
        if len(numbers) != 3 or not all(each.isascii() and each.isdecimal() and len(each) < 17 for each in numbers):
            raise InvalidValueError("cursor", encoded)
        at, place, shown = map(int, numbers)
        if not is_id(version) or place > MAX_OFFSET or shown > MAX_OFFSET or at > MAX_UNIX_MS:
            raise InvalidValueError("cursor", encoded)
        return cls(version, at, place, shown)


def _meta(description: str, expected: str, minimum: float | None = None, maximum: float | None = None) -> Meta:
    return Meta(ge=minimum, le=maximum, description=description, extra={"expected": expected})


def _text_meta(description: str, expected: str, max_length: int = MAX_TEXT_LENGTH) -> Meta:
    return Meta(min_length=1, max_length=max_length, description=description, extra={"expected": expected})


_COUNT: Final = f"a whole number from 1 to {MAX_N}"
_PRICE: Final = "a number not below 0"

Count = Annotated[int, _meta(f"Maximum number of entries: {_COUNT}", _COUNT, 1, MAX_N)]
Offset = Annotated[int, _meta("Number of entries to skip", f"a whole number from 0 to {MAX_OFFSET}", 0, MAX_OFFSET)]
Category = Annotated[
    str,
    _text_meta(
        "Only items of this category path, or of a path below it",
        f"a category path as in GROCERY>CHEESE, of at most {MAX_TEXT_LENGTH} characters",
    ),
]
Brand = Annotated[str, _text_meta("Only items of this brand", f"a brand of at most {MAX_TEXT_LENGTH} characters")]
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
Debug = Annotated[int, _meta("1 adds every stage of the request; needs the scope admin", "0 or 1", 0, 1)]


class ListOptions(Struct, frozen=True, kw_only=True):
    """Which items of a list are returned."""

    n: Count = DEFAULT_N
    offset: Offset = 0
    category: Category | None = None
    brand: Brand | None = None
    price_min: PriceMin | None = None
    price_max: PriceMax | None = None
    exclude: Exclude = frozenset()

    @property
    def item_filter(self) -> ItemFilter:
        """The conditions on category, brand and price."""
        if self.category is None and self.brand is None and self.price_min is None and self.price_max is None:
            return NO_FILTER
        return ItemFilter(self.category, self.brand, self.price_min, self.price_max)


class ListRequest(ListOptions, frozen=True):
    """A request for a user's list."""

    user_id: str
    session_id: SessionId | None = None
    cursor: PageCursor | None = None
    context: Purpose = "home"
    debug: Debug = 0


class PageRequest(Struct, frozen=True):
    """A page of a long list."""

    n: Count = 100
    offset: Offset = 0


class Field(Struct, frozen=True):
    """A field of a request, as a parameter of the query string."""

    name: str
    type: Any
    """Without `None` and without `Meta`."""
    meta: Meta
    default: Any
    reader: Callable[[Sequence[str]], Any]

    @property
    def expected(self) -> str:
        """What an error says is expected."""
        return (self.meta.extra or {})["expected"]

    def read(self, texts: Sequence[str]) -> Any:
        """Return the value of the parameter, which may be given several times: the last one counts.

        `msgspec.convert` checks the bounds later. Raises `InvalidValueError`.
        """
        try:
            return self.reader(texts)
        except ValueError:
            raise InvalidValueError(self.name, texts[-1]) from None


def _read_text(texts: Sequence[str]) -> str:
    return texts[-1]


def _read_whole_number(texts: Sequence[str]) -> int:
    text = texts[-1]
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS):
        raise ValueError(text)
    return int(text)


def _read_number(texts: Sequence[str]) -> float:
    number = float(texts[-1])
    if not isfinite(number):
        raise ValueError(number)
    return number


def _read_cursor(texts: Sequence[str]) -> Cursor:
    return Cursor.decode(texts[-1])


def _read_word(texts: Sequence[str]) -> str | msgspec.UnsetType:
    return texts[-1] or msgspec.UNSET


def _read_item_ids(texts: Sequence[str]) -> frozenset[str]:
    item_ids = frozenset(item_id for text in texts for item_id in text.split(",") if item_id)
    if len(item_ids) > MAX_EXCLUDED:
        raise InvalidValueError("exclude", f"{len(item_ids)} ids")
    for item_id in item_ids:
        if not is_id(item_id):
            raise InvalidValueError("exclude", item_id)
    return item_ids


READERS: Final[Mapping[Any, Callable[[Sequence[str]], Any]]] = {
    str: _read_text,
    int: _read_whole_number,
    float: _read_number,
    Cursor: _read_cursor,
    Literal: _read_word,
    frozenset: _read_item_ids,
}
"""Type of a field -> function that reads its texts; stricter than msgspec, which reads 1e1 as a whole number."""


def query_fields(request: type[Struct]) -> dict[str, Field]:
    """Return the fields of a request that are parameters of the query string: those that have a `Meta`."""
    hints = get_type_hints(request, include_extras=True)
    defaults = {field.name: field.default for field in msgspec.structs.fields(request)}
    fields: dict[str, Field] = {}
    for name, hint in hints.items():
        kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        if get_origin(kinds[0]) is Annotated:
            kind, meta = get_args(kinds[0])
            reader = READERS[get_origin(kind) or kind]
            fields[name] = Field(name, kind, meta, defaults[name], reader)
    return fields


_FIELDS: Final[Mapping[type[Struct], Mapping[str, Field]]] = {
    request: query_fields(request) for request in (ListRequest, PageRequest)
}

EXPECTED: Final = {name: field.expected for name, field in _FIELDS[ListRequest].items()} | {
    USER_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    ITEM_ID: f"1 to {MAX_ID_LENGTH} {_ID}",
    "user_ids": f"1 to {MAX_USERS} user ids",
    "item_ids": f"1 to {MAX_RANKED} item ids",
    "body": "the JSON object that the schema describes",
}
"""Field -> what an error says is expected of it."""


def parse_list_request(user_id: str, query: bytes) -> ListRequest:
    """Read a request for a list from its query string; raises `InvalidValueError`."""
    if not query:
        return ListRequest(user_id)
    texts = parse_query(query)
    if "cursor" in texts and "offset" in texts:
        raise InvalidValueError("cursor", texts["cursor"][-1])
    request = _convert(ListRequest, texts, user_id=user_id)
    if request.session_id is not None and not is_id(request.session_id):
        raise InvalidValueError(SESSION_ID, request.session_id)
    return request


def parse_guest_request(query: bytes) -> ListRequest:
    """Read the request of a guest, whose session the query string names; raises `InvalidValueError`."""
    request = parse_list_request("", query)
    if request.session_id is None:
        raise InvalidValueError(USER_ID, "")
    return msgspec.structs.replace(request, user_id=guest_user_id(request.session_id), session_id=None)


def parse_page_request(query: bytes) -> PageRequest:
    """Read the page that a query string names; raises `InvalidValueError`."""
    return _convert(PageRequest, parse_query(query))


def _convert(request: type[RequestType], texts: Mapping[str, Sequence[str]], **values: Any) -> RequestType:
    for name, field in _FIELDS[request].items():
        if name in texts and (value := field.read(texts[name])) is not msgspec.UNSET:
            values[name] = value
    try:
        return msgspec.convert(values, request)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`")  # as in "Expected `int` >= 1 - at `$.n`"
        raise InvalidValueError(name, texts[name][-1]) from None


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Split a query string into its parameters; bytes that are not UTF-8 become replacement characters."""
    text = query.decode("latin-1")
    return parse_qs(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_QUERY_FIELDS)


def parse_id(encoded: bytes, field: str) -> str:
    """Decode an id that stands percent-encoded at the end of a path; raises `InvalidValueError`.

    >>> parse_id(b"a%2Fb", "user_id")
    'a/b'
    """
    text = encoded.decode("latin-1")
    try:
        value = unquote(text, errors="strict") if "%" in text else encoded.decode()
    except UnicodeDecodeError:
        raise InvalidValueError(field, text) from None
    return check_id(value, field)


def check_id(value: str, field: str) -> str:
    """Return the value if it is an id; raises `InvalidValueError` if it is not."""
    if not is_id(value):
        raise InvalidValueError(field, value)
    return value


def guest_user_id(session_id: str) -> str:
    """Return the user id under which a guest's session is stored."""
    return GUEST + session_id
