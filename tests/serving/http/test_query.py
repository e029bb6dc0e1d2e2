"""Parameters of requests: how each is parsed, and the errors of invalid values."""

from collections.abc import Callable
from urllib.parse import quote, quote_from_bytes

import pytest

from serving.api import MAX_EXCLUDED
from serving.http.query import (
    parse_guest_request,
    parse_id,
    parse_list_request,
    parse_page_request,
    parse_shared_list_request,
)
from serving.requests import (
    EXPECTED,
    NO_FILTER,
    AttributeCondition,
    Cursor,
    InvalidValueError,
    ItemFilter,
    ListRequest,
    PageRequest,
)

CURSOR = Cursor("20180101T000000Z", 1_514_764_800_000, 20, 20)


def read_error(query: str) -> InvalidValueError:
    """Return what is wrong with a query string."""
    with pytest.raises(InvalidValueError) as error:
        parse_list_request("7", query.encode())
    assert error.value.expected == EXPECTED[error.value.field]
    return error.value


def test_without_parameters_all_have_their_defaults() -> None:
    request = parse_list_request("7", b"")
    assert request == ListRequest("7")
    assert (request.n, request.offset, request.context, request.debug) == (20, 0, "home", 0)
    assert request.build_item_filter() is NO_FILTER


@pytest.mark.parametrize(
    ("parse", "name", "known"),
    [
        (lambda query: parse_list_request("7", query), "user_id", "n, offset, exclude, session_id"),
        (parse_shared_list_request, "context", "attribute, n, offset, exclude"),
        (parse_page_request, "page", "n, offset"),
    ],
    ids=["a user's list", "a shared list", "a page"],
)
def test_an_unknown_parameter_is_refused_with_the_known_ones(
    parse: Callable[[bytes], object], name: str, known: str
) -> None:
    with pytest.raises(InvalidValueError) as error:
        parse(f"n=5&{name}=8".encode())
    assert (error.value.field, error.value.value) == (name, "8")
    assert known in (error.value.expected or "")


def test_a_query_of_too_many_parameters_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="at most 2,000 parameters"):
        parse_list_request("7", b"n=1&" * 2_001)


def test_each_parameter_is_read() -> None:
    query = (
        f"n=5&category=A+%3E+B&category=C&brand=Acme+&price_min=1.5&price_max=1e3&exclude=a,b&exclude=c,,&session_id=s1"
        f"&cursor={CURSOR.encode()}&context=cart&debug=1&attribute=color:red&attribute=volume:%3E%3D0.5"
    )
    request = parse_list_request("7", query.encode())
    assert request == ListRequest(
        "7",
        n=5,
        category=("A > B", "C"),
        brand=("Acme ",),
        price_min=1.5,
        price_max=1000.0,
        exclude=frozenset("abc"),
        session_id="s1",
        cursor=CURSOR,
        context="cart",
        debug=1,
        attribute=("color:red", "volume:>=0.5"),
    )
    attributes = (AttributeCondition("color", "red"), AttributeCondition("volume", ">=0.5", 0.5, ">="))
    assert request.build_item_filter() == ItemFilter(("A>B", "C"), ("Acme",), 1.5, 1000.0, attributes)


@pytest.mark.parametrize("value", ["color", ":red", "color:", " : "])
def test_a_condition_on_an_attribute_has_a_name_and_a_value(value: str) -> None:
    request = parse_list_request("7", f"attribute=a:1&attribute={quote(value)}".encode())
    with pytest.raises(InvalidValueError) as error:
        request.build_item_filter()
    assert (error.value.field, error.value.value) == ("attribute", value)


def test_the_value_that_is_to_blame_is_named_in_a_list() -> None:
    error = read_error("brand=x&brand=&brand=y")
    assert (error.field, error.value) == ("brand", "")
    error = read_error("&".join(f"brand={number}" for number in range(101)))
    assert (error.field, error.expected.endswith("at most 100 of them")) == ("brand", True)


@pytest.mark.parametrize(
    ("query", "n"), [("n=1", 1), ("n=1000", 1000), ("n=007", 7), ("n=3&n=2", 2), ("n=%32", 2), ("n=2&n=&n=9", 9)]
)
def test_a_number_is_read(query: str, n: int) -> None:
    assert parse_list_request("7", query.encode()).n == n


def test_an_empty_context_is_the_default() -> None:
    assert parse_list_request("7", b"context=").context == "home"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", value) for value in ("0", "1001", "-1", "x", "", "1.5", "1e2", " 5", "1_0", "５", "9" * 400, "\0")),
        *(("offset", value) for value in ("-1", "10001")),
        *(("price_min", value) for value in ("-1", "nan", "inf", "x")),
        *(("price_max", value) for value in ("-0.5", "")),
        *(("context", value) for value in ("shelf", "Home")),
        *(("cursor", value) for value in ("!", "AAAA", "", "v.1.2", "v.1.2.99999", "a b.1.2.3")),
        ("exclude", "a b"),
        ("category", ""),
        ("category", "x" * 1001),
        ("brand", "x" * 1001),
        *(("session_id", value) for value in ("", "a b", "x" * 123)),
        *(("debug", value) for value in ("2", "true")),
    ],
)
def test_invalid_values_are_refused(name: str, value: str) -> None:
    error = read_error(f"{name}={quote(value)}")
    assert (error.field, error.value) == (name, value)


def test_too_many_excluded_items_are_counted() -> None:
    error = read_error("exclude=" + ",".join(f"i{number}" for number in range(MAX_EXCLUDED + 1)))
    assert (error.field, error.value) == ("exclude", f"{MAX_EXCLUDED + 1} ids")


def test_a_cursor_goes_without_an_offset() -> None:
    error = read_error(f"cursor={CURSOR.encode()}&offset=0")
    assert (error.field, error.value) == ("cursor", CURSOR.encode())


def test_a_guest_is_named_by_the_session() -> None:
    request = parse_guest_request(b"session_id=s1&n=3")
    assert (request.user_id, request.session_id, request.n) == ("guest:s1", None, 3)
    with pytest.raises(InvalidValueError) as error:
        parse_guest_request(b"n=3")
    assert (error.value.field, error.value.value) == ("user_id", "")


def test_a_page_of_a_long_list() -> None:
    assert parse_page_request(b"") == PageRequest(100, 0)
    assert parse_page_request(b"n=3&offset=6") == PageRequest(3, 6)


@pytest.mark.parametrize("query", ["n=0", "n=1001", "n=x", "offset=-1", "offset=100000000"])
def test_invalid_pages_are_refused(query: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        parse_page_request(query.encode())
    assert (error.value.field, error.value.value) == tuple(query.split("="))


@pytest.mark.parametrize("value", ["", "a b", "tab\t", "\0", "x" * 129, "\u2028", "x" * 5000])
def test_invalid_ids_are_refused(value: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        parse_id(quote(value, safe="").encode(), "user_id")
    assert (error.value.field, error.value.value) == ("user_id", value)
    assert error.value.expected.startswith("1 to 128 characters")


def test_an_id_is_utf_8() -> None:
    assert parse_id(b"%C3%BC", "user_id") == parse_id("ü".encode(), "user_id") == "ü"
    for encoded in (b"\xff", quote_from_bytes(b"\xff").encode()):
        with pytest.raises(InvalidValueError):
            parse_id(encoded, "user_id")
