"""Access by API key: scopes, expiry, networks, failed attempts, and the audit log."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from recsys.api_key_file import API_KEYS_FILE, KeyFile
from recsys.api_keys import SCOPES, Scope, create_key
from recsys.settings import Settings
from serving.api import MAX_EVENTS, MAX_EXCLUDED, MAX_RANKED, MAX_USERS
from serving.http.auth import AUDIT_FILE, AuditLog
from tests.serving.conftest import Publish, Shop
from tests.serving.keys import EVENT, NOW, USER, ask, keep

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


def test_what_administrators_look_at_is_noted(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    tokens = keep(settings.directory / API_KEYS_FILE, ("boss", SCOPES, 0), ("shop", ["recommend"], 0))
    file = settings.directory / AUDIT_FILE
    shown = {"X-API-Key": tokens["boss"]}
    looks = [(method, path, body, shown) for scope, method, path, body in REQUESTS if scope == "admin"]
    others = [(method, path, body, shown) for scope, method, path, body in REQUESTS if scope != "admin"]
    refused = [(method, path, body, {"X-API-Key": tokens["shop"]}) for method, path, body, _ in looks]
    ask(settings, *others, *refused)
    assert not file.exists()
    ask(settings, *looks)
    before = file.read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in before.splitlines()]
    assert [(line["key"], line["action"]) for line in lines] == [
        ("boss", "user"),
        ("boss", "anomalies"),
        ("boss", "anomaly"),
        ("boss", "release"),
        ("boss", "label"),
        ("boss", "debug"),
        ("boss", "debug"),
    ]
    subjects = [line["subject"] for line in lines]
    assert len({subjects[0], *subjects[2:6]}) == 1
    assert len(set(subjects)) == 3
    assert USER not in before.decode()
    assert tokens["boss"] not in before.decode()
    ask(settings, looks[0])
    assert file.read_bytes().startswith(before)
    assert len(file.read_bytes().splitlines()) == len(looks) + 1


def test_a_note_is_a_whole_line_for_its_owner_alone(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "new" / AUDIT_FILE)
    key, _ = create_key("boss", ["admin"], 0, NOW)
    for user_id in ("7", "line\nbreak"):
        audit.add(key, "user", user_id)
    audit.add(None, "user", "7")
    lines = [json.loads(line) for line in (tmp_path / "new" / AUDIT_FILE).read_text().splitlines()]
    assert [line["key"] for line in lines] == ["boss", "boss", None]
    assert lines[0]["subject"] == lines[2]["subject"] == hashlib.sha256(b"7").hexdigest()[:16]
    assert datetime.fromisoformat(lines[0]["time"]).tzinfo is not None


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
