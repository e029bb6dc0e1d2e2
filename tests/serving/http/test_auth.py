"""Access by API key: scopes, expiry, networks, failed attempts, and the audit log."""

import asyncio
import fcntl
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.api_key_file import API_KEYS_FILE, KeyFile
from recsys.api_keys import SCOPES, Scope
from recsys.audit.log import AUDIT_FILE, AuditLog
from recsys.settings import Settings
from serving.api import MAX_EVENTS, MAX_EXCLUDED, MAX_RANKED, MAX_USERS
from tests.serving.conftest import Publish, Shop, application
from tests.serving.keys import EVENT, USER, ask, keep

REQUESTS: tuple[tuple[Scope, str, str, Any], ...] = (
    ("recommend", "GET", f"/v1/recommendations/{USER}", None),
    ("recommend", "GET", "/v1/recommendations?session_id=s1", None),
    ("recommend", "POST", "/v1/recommendations/batch", {"user_ids": [USER]}),
    ("recommend", "GET", "/v1/similar/a1", None),
    ("recommend", "GET", "/v1/trending", None),
    ("recommend", "GET", "/v1/popular", None),
    ("recommend", "POST", "/v1/rank", {"user_id": USER, "item_ids": ["a1"]}),
    ("events", "POST", "/v1/events", EVENT),
    ("catalogue", "PUT", "/v1/items/a1", {"price": 1.0}),
    ("admin", "GET", f"/v1/users/{USER}", None),
    ("admin", "DELETE", f"/v1/users/{USER}", None),
    ("admin", "GET", f"/v1/consent/{USER}", None),
    ("admin", "PUT", f"/v1/consent/{USER}", {"personal_lists": True}),
    ("admin", "GET", "/v1/anomalies", None),
    ("admin", "GET", f"/v1/anomalies/{USER}", None),
    ("admin", "DELETE", f"/v1/anomalies/{USER}", None),
    ("admin", "PUT", f"/v1/anomalies/{USER}", {"label": "bot"}),
    ("admin", "GET", f"/v1/recommendations/{USER}?debug=1", None),
    ("admin", "GET", "/v1/recommendations?session_id=s1&debug=1", None),
)
ADMIN_PAGES = ("/metrics", "/schema", "/schema/page", "/schema/openapi.json", "/schema/files/swagger-ui.css")


def test_a_key_does_what_its_scope_says_and_no_more(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    given: list[tuple[str, Sequence[Scope], int]] = [(scope, [scope], 0) for scope in SCOPES]
    tokens = keep(settings.directory / API_KEYS_FILE, *given)
    asked = [(shown, *request) for shown in SCOPES for request in REQUESTS]
    headers = {scope: {"Authorization": f"Bearer {tokens[scope]}"} for scope in SCOPES}
    answers = ask(settings, *((method, path, body, headers[shown]) for shown, _, method, path, body in asked))
    for (shown, needed, _, path, _), response in zip(asked, answers, strict=True):
        assert response.is_success == (shown == needed), (shown, path, response.text)
        if shown != needed:
            assert response.status_code == 403
            assert response.json()["error"].startswith("the API key lacks the scope ")


def test_requests_without_a_key_learn_nothing_else(settings: Settings, publish_shop: Publish) -> None:
    """Not even what is wrong with the request."""
    publish_shop()
    tokens = keep(settings.directory / API_KEYS_FILE, ("shop", ["admin"], 0))
    wrong = (
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {tokens['shop']}"},
        {"Authorization": f"Bearer {tokens['shop']}x"},
        {"Authorization": "Bearer rk_shop_" + "A" * 43},
        {"X-API-Key": "rk_nobody_" + "A" * 43},
    )
    bad = ("POST", "/v1/rank", {"nothing": "right"})
    requests = [(*request[1:], headers) for headers in wrong[:2] for request in REQUESTS]
    requests += [("GET", "/v1/popular", None, headers) for headers in wrong] + [(*bad, wrong[0])]
    for response in ask(settings, *requests):
        assert response.status_code == 401, response.text
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["error"] == "a valid API key is needed"


def test_a_key_is_shown_in_either_header(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    token = keep(settings.directory / API_KEYS_FILE, ("shop", ["recommend"], 0))["shop"]
    shown = ({"Authorization": f"bearer {token}"}, {"X-API-Key": token}, {"authorization": f"Bearer  {token} "})
    answers = ask(settings, *(("GET", "/v1/popular", None, headers) for headers in shown))
    assert [response.status_code for response in answers] == [200, 200, 200]


def test_what_watches_a_local_server_needs_no_key(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    keep(settings.directory / API_KEYS_FILE, ("shop", ["recommend"], 0))
    answers = ask(settings, *(("GET", path, None, {}) for path in ("/live", "/ready", *ADMIN_PAGES)))
    assert [response.status_code for response in answers] == [200] * len(answers)
    assert "customer" not in answers[2].text


def test_metrics_and_schema_of_a_public_server_are_the_administrator_s(
    settings: Settings, publish_shop: Publish
) -> None:
    publish_shop()
    public = replace(settings, serving=replace(settings.serving, host="0.0.0.0", hosts=("*",)))
    tokens = keep(settings.directory / API_KEYS_FILE, ("boss", ["admin"], 0), ("shop", SCOPES[:-1], 0))
    for token, status in (("", 401), (tokens["shop"], 403), (tokens["boss"], 200)):
        answers = ask(public, *(("GET", path, None, {"X-API-Key": token}) for path in ADMIN_PAGES))
        assert [response.status_code for response in answers] == [status] * len(ADMIN_PAGES)
    assert [response.status_code for response in ask(public, ("GET", "/live", None, {}))] == [200]
    monitored = replace(public, serving=replace(public.serving, metrics_networks=("127.0.0.0/8",)))
    answers = ask(monitored, *(("GET", path, None, {}) for path in ADMIN_PAGES))
    assert [response.status_code for response in answers] == [200, *[401] * (len(ADMIN_PAGES) - 1)]


def test_a_worker_that_starts_after_the_keys_are_gone_answers_nobody(
    settings: Settings, publish_shop: Publish
) -> None:
    publish_shop(Shop(users=(USER,)))
    file = settings.directory / API_KEYS_FILE
    token = keep(file, ("boss", SCOPES, 0))["boss"]
    file.unlink()
    requests = [request[1:] for request in REQUESTS]
    for headers in ({}, {"X-API-Key": token}):
        answers = ask(settings, *((method, path, body, headers) for method, path, body in requests))
        assert {answer.status_code for answer in answers} == {401}


def test_failed_attempts_are_in_the_metrics(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    keep(settings.directory / API_KEYS_FILE, ("shop", ["recommend"], 0))
    *_, metrics = ask(settings, ("GET", "/v1/popular", None, {}), ("GET", "/metrics", None, {}))
    assert 'recsys_failed_keys_total{reason="missing"} 1.0' in metrics.text


def test_the_last_use_of_a_key_is_written_down(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    file = KeyFile.of(settings.directory)
    tokens = keep(file.path, ("shop", ["recommend"], 0), ("idle", ["recommend"], 0))
    assert file.last_use("shop") is None
    ask(settings, ("GET", "/v1/popular", None, {"X-API-Key": tokens["shop"]}))
    used = file.last_use("shop")
    assert used is not None
    assert abs(datetime.now(UTC) - used) < timedelta(minutes=2)
    assert file.last_use("idle") is None


def test_what_administrators_look_at_and_change_is_noted(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    tokens = keep(settings.directory / API_KEYS_FILE, ("boss", SCOPES, 0), ("shop", ["recommend"], 0))
    shown = {"X-API-Key": tokens["boss"]}
    noted = [request for request in REQUESTS if request[0] == "admin" or request[1] == "PUT"]
    acts = [(method, path, body, shown) for _, method, path, body in noted]
    others = [
        (method, path, body, shown) for _, method, path, body in REQUESTS if (_, method, path, body) not in noted
    ]
    refused = [(method, path, body, {"X-API-Key": tokens["shop"]}) for method, path, body, _ in acts]
    invalid = [("PUT", "/v1/items/a1", {"price": -1}, shown)]
    ask(settings, *others, *refused, *invalid)
    log = AuditLog(settings.directory)
    assert not log.file.exists()
    answers = ask(settings, *acts)
    lines = list(log.lines())
    assert [(line.via, line.actor, line.origin) for line in lines] == [("http", "boss", "127.0.0.1")] * len(acts)
    assert [line.request_id for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    user = log.user_hash(USER)
    assert [(line.action, line.user, line.subject, line.detail) for line in lines] == [
        ("item", None, "a1", "price"),
        ("user", user, None, None),
        ("erase", user, None, None),
        ("consent", user, None, None),
        ("opt_in", user, None, None),
        ("anomalies", None, None, None),
        ("anomaly", user, None, None),
        ("release", user, None, "fine"),
        ("label", user, None, "bot"),
        ("debug", user, None, None),
        ("debug", log.user_hash("guest:s1"), None, None),
    ]
    assert log.verify().lines == len(acts)
    assert USER not in log.file.read_text()
    assert tokens["boss"] not in log.file.read_text()


def test_nothing_is_done_that_cannot_be_noted(
    settings: Settings, publish_shop: Publish, capfd: pytest.CaptureFixture[str]
) -> None:
    publish_shop(Shop(users=(USER,)))
    (settings.directory / AUDIT_FILE).mkdir(parents=True)
    change, lists = ("PUT", "/v1/items/a1", {"available": False}, {}), f"/v1/recommendations/{USER}?n=1"
    refused, listed = ask(settings, change, ("GET", lists, None, {}))
    assert (refused.status_code, refused.json()["error"]) == (503, "the audit log cannot be written")
    assert [item["item_id"] for item in listed.json()["items"]] == ["a1"]
    assert "Is a directory" in capfd.readouterr().err


def test_requests_are_answered_while_another_process_has_the_audit_log(
    settings: Settings, publish_shop: Publish
) -> None:
    publish_shop()
    settings.directory.mkdir(parents=True)

    async def send() -> tuple[bool, int]:
        async with application(settings) as http:
            with (settings.directory / AUDIT_FILE).open("a") as locked:
                fcntl.flock(locked, fcntl.LOCK_EX)
                change = asyncio.create_task(http.put("/v1/items/a1", json={"price": 1.0}))
                await asyncio.sleep(0.05)
                listed = await http.get("/v1/popular")
                waits = listed.is_success and not change.done()
            return waits, (await change).status_code

    assert asyncio.run(send()) == (True, 200)


LIMITS: list[tuple[str, str, Any, str]] = [
    ("POST", "/v1/recommendations/batch", {"user_ids": ["7"] * (MAX_USERS + 1)}, "user_ids"),
    ("POST", "/v1/recommendations/batch", {"user_ids": ["7"], "n": 1001}, "n"),
    ("POST", "/v1/recommendations/batch", {"user_ids": ["x" * 129]}, "user_ids[0]"),
    ("POST", "/v1/rank", {"user_id": "7", "item_ids": ["a"] * (MAX_RANKED + 1)}, "item_ids"),
    ("POST", "/v1/events", [EVENT] * (MAX_EVENTS + 1), "body"),
    ("GET", f"/v1/popular?exclude={','.join(map(str, range(MAX_EXCLUDED + 1)))}", None, "exclude"),
    ("GET", "/v1/popular?n=1001", None, "n"),
    ("GET", "/v1/popular?offset=10001", None, "offset"),
    ("GET", "/v1/similar/" + "x" * 129, None, "item_id"),
    ("GET", "/v1/users/a%20b", None, "user_id"),
    ("PUT", "/v1/items/" + "x" * 129, {"price": 1}, "item_id"),
    ("PUT", "/v1/items/a1", {"title": "x" * 1001}, "title"),
    ("PUT", "/v1/items/a1", {"price": -1}, "price"),
]


def test_nothing_is_without_a_limit(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    responses = ask(settings, *((method, path, body, {}) for method, path, body, _ in LIMITS))
    for response, (method, path, _, field) in zip(responses, LIMITS, strict=True):
        assert (response.status_code, response.json()["field"]) == (400, field), (method, path[:50])
