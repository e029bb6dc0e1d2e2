"""Access by API key: scopes, limits of requests, the audit log, and secrets that are logged nowhere."""

import asyncio
import fcntl
import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from recsys.api_keys import API_KEYS_FILE, UNMATCHED_HASH, ApiKeys, Scope, create_key, save_keys
from recsys.audit.log import AUDIT_FILE, AuditLog
from recsys.settings import Settings
from serving.api import MAX_EVENTS, MAX_EXCLUDED, MAX_RANKED, MAX_USERS
from serving.http.auth import BURST_SECONDS, RELOAD_SECONDS, Access, AccessError
from tests.serving.conftest import Publish, Shop, application
from tests.serving.keys import EVENT, NOW, USER, ask, keep

REQUESTS: tuple[tuple[Scope, str, str, Any], ...] = (
    ("read", "GET", f"/v1/recommendations/{USER}", None),
    ("read", "GET", "/v1/recommendations?session_id=s1", None),
    ("read", "POST", "/v1/recommendations/batch", {"user_ids": [USER]}),
    ("read", "GET", "/v1/similar/a1", None),
    ("read", "GET", "/v1/trending", None),
    ("read", "GET", "/v1/popular", None),
    ("read", "POST", "/v1/rank", {"user_id": USER, "item_ids": ["a1"]}),
    ("write", "POST", "/v1/events", EVENT),
    ("write", "PUT", "/v1/items/a1", {"price": 1.0}),
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
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    """Headers that show a token."""
    return [(b"host", b"x"), (b"authorization", b"Bearer " + token.encode())]


def refusal(access: Access, headers: Sequence[tuple[bytes, bytes]], scope: Scope = "read") -> AccessError:
    """Why a request is not let in."""
    with pytest.raises(AccessError) as refused:
        access.check(headers, scope)
    return refused.value


def test_a_key_does_what_its_scope_says_and_no_more(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    given: list[tuple[str, Sequence[Scope], int]] = [(scope, [scope], 0) for scope in SCOPES]
    tokens = keep(settings.directory / API_KEYS_FILE, *given)
    asked = [(shown, *request) for shown in SCOPES for request in REQUESTS]
    headers = {scope: {"Authorization": f"Bearer {tokens[scope]}"} for scope in SCOPES}
    answers = ask(settings, *((method, path, body, headers[shown]) for shown, _, method, path, body in asked))
    for (shown, needed, _, path, _), response in zip(asked, answers, strict=True):
        allowed = SCOPES.index(shown) >= SCOPES.index(needed)
        assert response.is_success == allowed, (shown, path, response.text)
        if not allowed:
            assert response.status_code == 403
            assert response.json()["error"] == f"the API key lacks the scope {needed}"


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
    token = keep(settings.directory / API_KEYS_FILE, ("shop", ["read"], 0))["shop"]
    shown = ({"Authorization": f"bearer {token}"}, {"X-API-Key": token}, {"authorization": f"Bearer  {token} "})
    answers = ask(settings, *(("GET", "/v1/popular", None, headers) for headers in shown))
    assert [response.status_code for response in answers] == [200, 200, 200]


def test_what_watches_the_server_needs_no_key(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    keep(settings.directory / API_KEYS_FILE, ("shop", ["read"], 0))
    paths = ("/live", "/ready", "/metrics", "/schema", "/schema/openapi.json")
    answers = ask(settings, *(("GET", path, None, {}) for path in paths))
    assert [response.status_code for response in answers] == [200] * len(paths)
    assert "customer" not in answers[2].text


def test_a_key_made_or_revoked_is_noticed_without_a_start(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / API_KEYS_FILE
    access = Access(file, 1, clock)
    assert access.check([], "admin") is None
    tokens = keep(file, ("one", ["read"], 0), ("two", ["read"], 0))
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, []).status == 401
    assert access.check(bearer(tokens["one"]), "read")
    save_keys(file, ApiKeys({"two": create_key("two", ["read"], 0, NOW)[0]}))
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, bearer(tokens["one"])).status == 401
    save_keys(file, ApiKeys())
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, []).status == 401
    file.unlink()
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, []).status == 401


@pytest.mark.parametrize("text", ["{", "[]x", '[{"name": "x"}]', ""])
def test_a_broken_file_lets_nobody_in_that_was_not_before(tmp_path: Path, text: str) -> None:
    with capture_logs() as logged:
        check_broken(tmp_path / API_KEYS_FILE, text)
    assert [line["log_level"] for line in logged] == ["error", "error"]
    assert all("is not a file of API keys" in line["reason"] for line in logged)


def check_broken(file: Path, text: str) -> None:
    """A file of keys that holds `text` at a start, and later."""
    clock = Clock()
    file.write_text(text)
    started_with_it = Access(file, 1, clock)
    for _ in range(3):
        assert refusal(started_with_it, []).status == 401
    file.unlink()
    token = keep(file, ("shop", ["read"], 0))["shop"]
    access = Access(file, 1, clock)
    assert access.check(bearer(token), "read")
    file.write_text(text)
    clock.seconds += RELOAD_SECONDS
    assert access.check(bearer(token), "read")
    assert refusal(access, []).status == 401
    later = keep(file, ("later", ["read"], 0))["later"]
    clock.seconds += RELOAD_SECONDS
    assert access.check(bearer(later), "read")
    assert refusal(access, bearer(token)).status == 401


def test_tokens_are_compared_in_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole hashes by `compare_digest`, for a name that is not there too."""
    compared: list[tuple[str, str]] = []

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = keep(tmp_path / API_KEYS_FILE, ("shop", ["read"], 0))["shop"]
    access = Access(tmp_path / API_KEYS_FILE, 1, Clock())
    assert access.check(bearer(token), "read")
    refusal(access, bearer("rk_nobody_x"))
    refusal(access, [(b"x-api-key", b"\xe9\xff")])
    refusal(access, [])
    own = hashlib.sha256(token.encode()).hexdigest()
    assert compared[0] == (own, own)
    assert [expected for _, expected in compared[1:]] == [UNMATCHED_HASH] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_has_its_requests_a_minute_over_all_workers(tmp_path: Path, workers: int) -> None:
    clock = Clock()
    tokens = keep(tmp_path / API_KEYS_FILE, ("slow", ["read"], 60 * workers), ("free", ["read"], 0))
    access = Access(tmp_path / API_KEYS_FILE, workers, clock)
    slow = bearer(tokens["slow"])
    for _ in range(int(BURST_SECONDS)):
        access.check(slow, "read")
    refused = refusal(access, slow)
    assert (refused.status, refused.headers) == (429, {"Retry-After": "1"})
    assert access.check(bearer(tokens["free"]), "read")
    clock.seconds += 1
    access.check(slow, "read")
    assert refusal(access, slow).status == 429
    clock.seconds += 3_600
    taken = 0
    for _ in range(100):
        try:
            access.check(slow, "read")
        except AccessError:
            break
        taken += 1
    assert taken == BURST_SECONDS


def test_requests_after_the_announced_delay_are_accepted(tmp_path: Path) -> None:
    clock = Clock()
    token = keep(tmp_path / API_KEYS_FILE, ("slow", ["read"], 7))["slow"]
    access = Access(tmp_path / API_KEYS_FILE, 1, clock)
    access.check(bearer(token), "read")
    for _ in range(20):
        clock.seconds += int(refusal(access, bearer(token)).headers["Retry-After"])
        access.check(bearer(token), "read")


def test_too_many_requests_are_refused(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    token = keep(settings.directory / API_KEYS_FILE, ("slow", ["admin"], 1))["slow"]
    headers = {"X-API-Key": token}
    first, *others = ask(settings, *((*request[1:], headers) for request in (REQUESTS[0], *REQUESTS)))
    assert first.status_code == 200
    for response in others:
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["error"] == "too many requests with this API key"


def test_what_administrators_look_at_and_change_is_noted(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    tokens = keep(settings.directory / API_KEYS_FILE, ("boss", ["admin"], 0), ("shop", ["read"], 0))
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
