"""Bodies of requests, and the routes of requests."""

from typing import cast

import pytest

from serving.http.fast_path import find_route
from serving.http.handlers import BatchRequest
from serving.http.routes import ROUTES
from serving.http.routing import Call
from serving.http.worker import Worker
from serving.requests import REDACTED, InvalidValueError


def call(body: bytes) -> Call:
    """Return a call that is decoded without a worker."""
    return Call(cast(Worker, None), b"", b"", [], "r", "127.0.0.1", body=body)


def test_a_body_is_decoded() -> None:
    body = call(b'{"user_ids": ["7", "\\u00fc"], "n": "3"}').decode_body(BatchRequest)
    assert body == BatchRequest(["7", "ü"], n=3, context="home")


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (b"", "body", "the JSON object that the schema describes"),
        (b"[" * 100_000, "body", "the JSON object that the schema describes"),
        (b'{"user_ids": ' + b"[" * 100_000, "body", "the JSON object that the schema describes"),
        (b"{", "body", "the JSON object that the schema describes"),
        (b"[]", "body", "Expected `object`, got `array`"),
        (b"{}", "body", "Object missing required field `user_ids`"),
        (b'{"user_ids": ["7"], "n": 0}', "n", "Expected `int` >= 1"),
        (b'{"user_ids": ["7", 8]}', "user_ids[1]", "Expected `str`, got `int`"),
        (b'{"user_ids": []}', "user_ids", "Expected `array` of length >= 1"),
        (b'{"user_ids": ["\xff"]}', "body", "JSON in UTF-8"),
        (b'{"user_ids": ["\\ud800"]}', "body", "the JSON object that the schema describes"),
    ],
)
def test_invalid_bodies_are_refused(body: bytes, field: str, expected: str) -> None:
    with pytest.raises(InvalidValueError) as error:
        call(body).decode_body(BatchRequest)
    assert (error.value.field, error.value.value, error.value.expected) == (field, REDACTED, expected)


@pytest.mark.parametrize(
    ("method", "path", "name", "encoded_id"),
    [
        ("GET", b"/v1/recommendations/7", "recommendations", b"7"),
        ("GET", b"/v1/recommendations/a%2Fb", "recommendations", b"a%2Fb"),
        ("GET", b"/v1/recommendations/7/", "recommendations", b"7/"),
        ("GET", b"/v1/recommendations", "guest_recommendations", b""),
        ("GET", b"/v1/recommendations//", "guest_recommendations", b""),
        ("POST", b"/v1/events", "events", b""),
    ],
)
def test_a_fast_route_is_found(method: str, path: bytes, name: str, encoded_id: bytes) -> None:
    result = find_route(method, path)
    assert result is not None
    assert (result[0].name, result[1]) == (name, encoded_id)
    assert result[0] in ROUTES


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", b"/v1/recommendations/batch"), ("GET", b"/v1/events"), ("POST", b"/v1/events/"), ("GET", b"/live")],
)
def test_any_other_call_is_left_to_the_framework(method: str, path: bytes) -> None:
    assert find_route(method, path) is None
