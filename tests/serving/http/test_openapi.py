"""The documentation: the OpenAPI document, the page that shows it, and answers in the form that it promises."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import jsonschema_rs
import msgspec
import pytest
import schemathesis

from recsys.settings import Redis, Settings
from serving.http.app import create_app
from serving.http.openapi import EXAMPLES, body_types
from serving.http.routes import ROUTES
from serving.intake.events import MAX_BODY_BYTES
from tests.browser import CHROMIUM, browser_tab
from tests.serving.conftest import Publish, Talk, application
from tests.serving.processes import serving

KEYLESS = {"/live", "/ready"}
PUBLIC_KEYLESS = {*KEYLESS, "/metrics"}
OPERATIONS = {
    ("get", "/v1/recommendations/{user_id}"),
    ("get", "/v1/recommendations"),
    ("post", "/v1/recommendations/batch"),
    ("get", "/v1/similar/{item_id}"),
    ("get", "/v1/trending"),
    ("get", "/v1/popular"),
    ("post", "/v1/rank"),
    *((method, "/v1/users/{user_id}") for method in ("get", "delete")),
    *((method, "/v1/consent/{user_id}") for method in ("get", "put")),
    ("get", "/v1/anomalies"),
    *((method, "/v1/anomalies/{user_id}") for method in ("get", "put", "delete")),
    ("post", "/v1/events"),
    ("put", "/v1/items/{item_id}"),
    *(("get", path) for path in PUBLIC_KEYLESS),
}
LIST = {"n", "offset", "category", "brand", "price_min", "price_max", "attribute", "exclude"}
OF_USER = LIST | {"cursor", "context", "list", "session_id", "debug"}
PARAMETERS = {
    "recommendations": OF_USER | {"user_id"},
    "guest_recommendations": OF_USER,
    "similar": LIST | {"item_id"},
    "trending": LIST,
    "popular": LIST,
    "erase": {"user_id", "pseudonym"},
    "consent": {"user_id", "pseudonym"},
    "give_consent": {"user_id", "pseudonym"},
    "user": {"user_id", "pseudonym"},
    "anomalies": {"n", "offset"},
    "anomaly": {"user_id", "pseudonym"},
    "release": {"user_id", "pseudonym"},
    "label": {"user_id", "pseudonym"},
    "item": {"item_id"},
}
TAKES = {
    "batch": {"BatchRequest"},
    "rank": {"RankRequest"},
    "events": {"Event"},
    "item": {"ItemChange"},
    "label": {"LabelRequest"},
    "give_consent": {"ConsentRequest"},
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """As the application makes it."""
    app = create_app(Settings(redis=Redis(url="redis://127.0.0.1:1")))
    return json.loads(msgspec.json.encode(app.litestar.openapi_schema.to_schema()))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and what is said of it."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def named(content: Any) -> set[str]:
    """The schemas that something refers to."""
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(content)))


def test_the_document_is_served_and_valid(talk: Talk, document: dict[str, Any]) -> None:
    (response,) = talk("/schema/openapi.json")
    assert response.headers["content-type"] == "application/vnd.oai.openapi+json"
    assert response.json() == document
    assert document["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)


def test_every_route_is_there(document: dict[str, Any]) -> None:
    assert {(method, path) for method, path, _ in operations(document)} == OPERATIONS
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert sorted(names) == sorted(route.name for route in ROUTES)


def test_each_says_what_it_takes(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        name = operation["operationId"]
        parameters = operation.get("parameters", [])
        assert {parameter["name"] for parameter in parameters} == PARAMETERS.get(name, set()), name
        assert all(parameter["description"] for parameter in parameters), name
        required = {parameter["name"] for parameter in parameters if parameter["required"]}
        assert required == set(re.findall(r"\{(\w+)\}", path)) | (
            {"session_id"} if name == "guest_recommendations" else set()
        )
        assert named(operation.get("requestBody")) == TAKES.get(name, set()), name


def test_each_says_what_it_answers_and_to_whom(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        answers = operation["responses"]
        assert operation["summary"]
        assert operation["description"]
        assert len(operation["tags"]) == 1
        if path in KEYLESS:
            assert operation["security"] == [{}]
            assert not {"401", "403", "429"} & set(answers)
            continue
        assert {"401", "403", "421", "429"} <= set(answers), path
        if path in PUBLIC_KEYLESS:
            assert "Needs the scope admin where other machines" in operation["description"]
            continue
        assert operation.get("security", document["security"]) == [{"bearer": []}, {"header": []}, {}]
        assert "Needs the scope " in operation["description"], path
        assert {"400", "401", "403", "429", "503"} <= set(answers), path
        assert ("413" in answers) == ("415" in answers) == (method in {"post", "put"}), path
        assert "InvalidValue" in named(answers["400"])
        for status in ("401", "403", "429", "503"):
            assert "Failure" in named(answers[status])
    events = document["paths"]["/v1/events"]["post"]["responses"]
    assert named(events["400"]) == {"InvalidValue", "AcceptedEvents"}
    assert named(events["429"]) == {"Failure", "AcceptedEvents"}


def test_nothing_in_it_is_made_up(document: dict[str, Any]) -> None:
    """Examples are of the kind that they stand by, and no other is there."""
    schemas = document["components"]["schemas"]
    kinds = {kind.__name__: kind for kind in body_types(ROUTES)}
    for name, schema in schemas.items():
        assert schema["description"], name
        assert schema.get("examples", []) == ([EXAMPLES[name]] if name in EXAMPLES else []), name
        for example in schema.get("examples", []):
            msgspec.convert(example, kinds[name])
    assert document == json.loads(
        msgspec.json.encode(
            create_app(Settings(redis=Redis(url="redis://127.0.0.1:1"))).litestar.openapi_schema.to_schema()
        )
    )


def sent(settings: Settings, requests: list[tuple[str, str, bytes]]) -> list[httpx.Response]:
    """What the application answers to requests, one after the other."""

    async def send() -> list[httpx.Response]:
        async with application(settings) as http:
            return [
                await http.request(method, path, content=body, headers=JSON_TYPE) for method, path, body in requests
            ]

    return asyncio.run(send())


def test_the_events_of_the_shop_are_named(settings: Settings) -> None:
    sources = replace(settings.sources, weights={"wishlist": 2.0})
    app = create_app(replace(settings, sources=sources))
    events = app.litestar.openapi_schema.to_schema()["components"]["schemas"]["Event"]["properties"]["event"][
        "enum"
    ]
    assert {"wishlist", "purchase", "view"} <= set(events)


JSON_TYPE = {"Content-Type": "application/json"}
LONG = b"[" + b" " * MAX_BODY_BYTES + b"]"


REFUSED: list[tuple[str, str, bytes, int]] = [
    ("GET", "/", b"", 404),
    ("GET", "/v1/nothing", b"", 404),
    ("GET", "/schema/nothing", b"", 404),
    ("GET", "/schema/files/nothing", b"", 404),
    ("GET", "/schema/files/..%2F__init__.py", b"", 404),
    ("GET", "/schema/oauth2-redirect.html", b"", 404),
    ("POST", "/v1/popular", b"{}", 405),
    ("DELETE", "/v1/recommendations/7", b"", 405),
    ("GET", "/v1/events", b"", 405),
    *(("POST", path, LONG, 413) for path in ("/v1/events", "/v1/rank", "/v1/recommendations/batch")),
    ("PUT", "/v1/items/a1", LONG, 413),
    ("TRACE", "/v1/popular", b"", 405),
]


def test_unknown_routes_and_long_bodies_are_refused_as_json(settings: Settings) -> None:
    responses = sent(settings, [(method, path, body) for method, path, body, _ in REFUSED])
    for response, (method, path, _, status) in zip(responses, REFUSED, strict=True):
        assert response.status_code == status, (method, path)
        assert response.headers["content-type"] == "application/json"
        assert set(response.json()) == {"error", "request_id"}
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert ("allow" in response.headers) == (status == 405), (method, path)


@pytest.mark.parametrize(
    ("body", "field", "expected"),
    [
        (b"[" * 100_000, "body", "the JSON object that the schema describes"),
        (b'{"user_ids": ["7"], "n": 0}', "n", "Expected `int` >= 1"),
    ],
)
def test_invalid_bodies_are_refused(settings: Settings, body: bytes, field: str, expected: str) -> None:
    (response,) = sent(settings, [("POST", "/v1/recommendations/batch", body)])
    assert response.status_code == 400
    assert (response.json()["field"], response.json()["expected"]) == (field, expected)


def test_bytes_that_are_no_text_make_one_event_wrong_and_not_the_others(
    settings: Settings, publish_shop: Publish
) -> None:
    publish_shop()
    good = b'{"user_id": "7", "event": "view", "item_id": "a1"}'
    bad = b'{"user_id": "7", "event": "view", "item_id": "\xff"}'
    both, alone = sent(settings, [("POST", "/v1/events", body) for body in (b"[" + bad + b"," + good + b"]", bad)])
    expected = "an event as a JSON object in UTF-8"
    wrong = [{"row": 0, "field": "body", "value": "(not shown)", "expected": expected}]
    assert (both.status_code, both.json()["accepted"], both.json()["errors"]) == (202, 1, wrong)
    assert (alone.status_code, alone.json()["errors"]) == (400, wrong)


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: chromium is not on the PATH")
def test_the_page_shows_every_operation_and_asks_no_other_host(url: str, tmp_path: Path) -> None:
    with serving(tmp_path, "", {"RECSYS_REDIS_URL": url}) as served, browser_tab(tmp_path / "profile") as tab:
        address = str(served.http.base_url)
        for path in ("/schema", "/schema/page"):
            tab.open(f"{address}{path}", 1000, 1400)
            give_up_at = time.monotonic() + 20
            while not tab.evaluate("document.querySelectorAll('.opblock').length"):
                assert time.monotonic() < give_up_at, tab.of("Runtime.exceptionThrown")
                time.sleep(0.05)
            shown = tab.evaluate("[...document.querySelectorAll('.opblock-summary-path')].map(e => e.dataset.path)")
            assert set(shown) == {path for _, path in OPERATIONS}
            assert tab.evaluate("document.querySelectorAll('.opblock').length") == len(OPERATIONS)
            requested = {urlsplit(event["request"]["url"]) for event in tab.of("Network.requestWillBeSent")}
            assert {each.netloc for each in requested if each.scheme != "data"} == {urlsplit(address).netloc}
            assert tab.of("Runtime.exceptionThrown") == []
            assert [entry for entry in tab.of("Log.entryAdded") if entry["entry"]["level"] == "error"] == []
        page = served.http.get("/schema/page").text
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
        assert re.findall(r"https?://[^\s\"'<]*", page) == []
