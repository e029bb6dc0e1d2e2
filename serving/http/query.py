"""Parse the query string and the id in the path of a request."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from typing import Any, Final, Literal, TypeVar, get_origin
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Meta, Struct

from recsys.schema import SESSION_ID, USER_ID, is_id
from serving.api import MAX_EXCLUDED
from serving.requests import (
    MAX_SHOWN_LENGTH,
    MAX_TEXT_LENGTH,
    Cursor,
    InvalidValueError,
    ListOptions,
    ListRequest,
    PageRequest,
    UserReference,
    annotated_fields,
    guest_user_id,
)

MAX_DIGITS: Final = 9
MAX_QUERY_FIELDS: Final = 2_000

RequestType = TypeVar("RequestType", bound=Struct)


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
        """Return the description of the expected value for error messages."""
        return (self.meta.extra or {})["expected"]

    def read(self, texts: Sequence[str]) -> Any:
        """Return the value of the parameter. If it is given several times, the last one counts, or all of a list.

        `msgspec.convert` checks the bounds later. Raises `InvalidValueError`.
        """
        try:
            return self.reader(texts)
        except ValueError:
            raise InvalidValueError(self.name, texts[-1]) from None

    def find_invalid(self, texts: Sequence[str]) -> str:
        """Return the text that is to blame for an invalid value: of a list, the first that is too short or long."""
        lengths = ((text, 1 <= len(text) <= MAX_TEXT_LENGTH) for text in texts)
        return next((text for text, fits in lengths if get_origin(self.type) is tuple and not fits), texts[-1])


def _read_text(texts: Sequence[str]) -> str:
    return texts[-1]


def _read_texts(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


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
    tuple: _read_texts,
}
"""Type of a field -> function that reads its texts; stricter than msgspec, which reads 1e1 as a whole number."""


def query_fields(request: type[Struct]) -> dict[str, Field]:
    """Return the fields of a request that are parameters of the query string: those that have a `Meta`."""
    defaults = {field.name: field.default for field in msgspec.structs.fields(request)}
    return {
        name: Field(name, kind, meta, defaults[name], READERS[get_origin(kind) or kind])
        for name, kind, meta in annotated_fields(request)
    }


_FIELDS: Final[Mapping[type[Struct], Mapping[str, Field]]] = {
    request: query_fields(request) for request in (ListRequest, ListOptions, PageRequest, UserReference)
}


def parse_list_request(user_id: str, query: bytes) -> ListRequest:
    """Read a request for a list from its query string; raises `InvalidValueError`."""
    if not query:
        return ListRequest(user_id)
    texts = parse_query(query)
    check_names(texts, ListRequest)
    if "cursor" in texts and "offset" in texts:
        raise InvalidValueError("cursor", texts["cursor"][-1])
    request = _convert(ListRequest, texts, user_id=user_id)
    if request.session_id is not None and not is_id(request.session_id):
        raise InvalidValueError(SESSION_ID, request.session_id)
    return request


def parse_shared_list_request(query: bytes) -> ListRequest:
    """Read a request for a list that is the same for all users; raises `InvalidValueError`."""
    texts = parse_query(query)
    check_names(texts, ListOptions)
    return _convert(ListRequest, texts, user_id="")


def parse_guest_request(query: bytes) -> ListRequest:
    """Read a guest's request, whose query string has the session id; raises `InvalidValueError`."""
    request = parse_list_request("", query)
    if request.session_id is None:
        raise InvalidValueError(USER_ID, "")
    return msgspec.structs.replace(request, user_id=guest_user_id(request.session_id), session_id=None)


def parse_page_request(query: bytes) -> PageRequest:
    """Read a request for a page from its query string; raises `InvalidValueError`."""
    texts = parse_query(query)
    check_names(texts, PageRequest)
    return _convert(PageRequest, texts)


def parse_user_reference(query: bytes) -> UserReference:
    """Read from the query string how a user is given; raises `InvalidValueError`."""
    texts = parse_query(query)
    check_names(texts, UserReference)
    return _convert(UserReference, texts)


def check_names(texts: Mapping[str, Sequence[str]], request: type[Struct] | None) -> None:
    """Raise `InvalidValueError` for a parameter that a request, or a route without parameters, does not have."""
    fields: Mapping[str, Field] = {} if request is None else _FIELDS[request]
    for name in texts:
        if name not in fields:
            expected = f"one of the parameters {', '.join(fields)}" if fields else "no parameters"
            raise InvalidValueError(name[:MAX_SHOWN_LENGTH], texts[name][-1], expected)


def _convert(request: type[RequestType], texts: Mapping[str, Sequence[str]], **values: Any) -> RequestType:
    for name, field in _FIELDS[request].items():
        if name in texts and (value := field.read(texts[name])) is not msgspec.UNSET:
            values[name] = value
    try:
        return msgspec.convert(values, request)
    except msgspec.ValidationError as error:
        # As in "Expected `int` >= 1 - at `$.n`", or "… at `$.brand[...]`".
        name = str(error).rpartition("`$.")[2].rstrip("`").partition("[")[0]
        raise InvalidValueError(name, _FIELDS[request][name].find_invalid(texts[name])) from None


def parse_query(query: bytes) -> dict[str, list[str]]:
    """Split a query string into its parameters; bytes that are not UTF-8 become replacement characters.

    Raises `InvalidValueError` if there are too many.
    """
    text = query.decode("latin-1")
    try:
        return parse_qs(text, keep_blank_values=True, errors="replace", max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise InvalidValueError("query", "", f"at most {MAX_QUERY_FIELDS:,} parameters") from None


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
