"""Who is let in to what, what is written down of it, and what is nowhere."""

import asyncio
import hashlib
import hmac
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from structlog.testing import capture_logs

from jobs.serve import become_server
from recsys.api_keys import FILE, NOBODY, ApiKeys, Scope, create_key, save_keys
from recsys.errors import ServingError
from recsys.pseudonyms import pseudonym
from recsys.settings import Serving, Settings
from serving.access import AUDIT_FILE, BURST_SECONDS, RELOAD_SECONDS, Access, AccessError, AuditLog
from serving.asked import MOST_EXCLUDED, MOST_RANKED, MOST_USERS
from serving.events import MOST_EVENTS
from serving.impressions import SEND_SECONDS
from tests.commands import run_recsys
from tests.serving.conftest import Publish, Shop, application, ids
from tests.serving.processes import serving

NOW = datetime(2026, 3, 1, tzinfo=UTC)
USER = "customer-4711"
EVENT = {"user_id": USER, "event": "view", "item_id": "a1"}
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


def keep(file: Path, *keys: tuple[str, Sequence[Scope], int]) -> dict[str, str]:
    """A file of keys, each of a name, scopes and requests per minute; their tokens by name."""
    kept, tokens = ApiKeys(), dict[str, str]()
    for name, scopes, per_minute in keys:
        key, tokens[name] = create_key(name, scopes, per_minute, NOW)
        kept = kept.adding(key)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_keys(file, kept)
    return tokens


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    """Headers that show a token."""
    return [(b"host", b"x"), (b"authorization", b"Bearer " + token.encode())]


def refusal(access: Access, headers: Sequence[tuple[bytes, bytes]], scope: Scope = "read") -> AccessError:
    """Why a request is not let in."""
    with pytest.raises(AccessError) as refused:
        access.check(headers, scope)
    return refused.value


def ask(
    settings: Settings, *requests: tuple[str, str, Any, Mapping[str, str]], pause: float = 0.0
) -> list[httpx.Response]:
    """What the application answers to requests, each a method, path, JSON body and headers.

    It ends `pause` seconds after the last of them.
    """

    async def send() -> list[httpx.Response]:
        async with application(settings) as http:
            responses = [
                await http.request(method, path, json=body, headers=headers)
                for method, path, body, headers in requests
            ]
            await asyncio.sleep(pause)
            return responses

    return asyncio.run(send())


def test_a_key_does_what_its_scope_says_and_no_more(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    given: list[tuple[str, Sequence[Scope], int]] = [(scope, [scope], 0) for scope in SCOPES]
    tokens = keep(settings.directory / FILE, *given)
    asked = [(shown, *request) for shown in SCOPES for request in REQUESTS]
    headers = {scope: {"Authorization": f"Bearer {tokens[scope]}"} for scope in SCOPES}
    answers = ask(settings, *((method, path, body, headers[shown]) for shown, _, method, path, body in asked))
    for (shown, needed, _, path, _), response in zip(asked, answers, strict=True):
        allowed = SCOPES.index(shown) >= SCOPES.index(needed)
        assert response.is_success == allowed, (shown, path, response.text)
        if not allowed:
            assert response.status_code == 403
            assert response.json()["error"] == f"the API key lacks the scope {needed}"


def test_who_shows_no_key_is_told_nothing_else(settings: Settings, publish_shop: Publish) -> None:
    """Not even what is wrong with the request."""
    publish_shop()
    tokens = keep(settings.directory / FILE, ("shop", ["admin"], 0))
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
    token = keep(settings.directory / FILE, ("shop", ["read"], 0))["shop"]
    shown = ({"Authorization": f"bearer {token}"}, {"X-API-Key": token}, {"authorization": f"Bearer  {token} "})
    answers = ask(settings, *(("GET", "/v1/popular", None, headers) for headers in shown))
    assert [response.status_code for response in answers] == [200, 200, 200]


def test_what_watches_the_server_needs_no_key(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    keep(settings.directory / FILE, ("shop", ["read"], 0))
    paths = ("/live", "/ready", "/metrics", "/schema", "/schema/openapi.json")
    answers = ask(settings, *(("GET", path, None, {}) for path in paths))
    assert [response.status_code for response in answers] == [200] * len(paths)
    assert "customer" not in answers[2].text


def test_a_key_made_or_revoked_is_noticed_without_a_start(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / FILE
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
        check_broken(tmp_path / FILE, text)
    assert [line["log_level"] for line in logged] == ["error", "error"]
    assert all("is no file of API keys" in line["reason"] for line in logged)


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
    token = keep(tmp_path / FILE, ("shop", ["read"], 0))["shop"]
    access = Access(tmp_path / FILE, 1, Clock())
    assert access.check(bearer(token), "read")
    refusal(access, bearer("rk_nobody_x"))
    refusal(access, [(b"x-api-key", b"\xe9\xff")])
    refusal(access, [])
    own = hashlib.sha256(token.encode()).hexdigest()
    assert compared[0] == (own, own)
    assert [expected for _, expected in compared[1:]] == [NOBODY] * 3


@pytest.mark.parametrize("workers", [1, 2])
def test_a_key_has_its_requests_a_minute_over_all_workers(tmp_path: Path, workers: int) -> None:
    clock = Clock()
    tokens = keep(tmp_path / FILE, ("slow", ["read"], 60 * workers), ("free", ["read"], 0))
    access = Access(tmp_path / FILE, workers, clock)
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


def test_who_comes_when_told_to_is_let_in(tmp_path: Path) -> None:
    clock = Clock()
    token = keep(tmp_path / FILE, ("slow", ["read"], 7))["slow"]
    access = Access(tmp_path / FILE, 1, clock)
    access.check(bearer(token), "read")
    for _ in range(20):
        clock.seconds += int(refusal(access, bearer(token)).headers["Retry-After"])
        access.check(bearer(token), "read")


def test_too_many_requests_are_told(settings: Settings, publish_shop: Publish) -> None:
    publish_shop()
    token = keep(settings.directory / FILE, ("slow", ["admin"], 1))["slow"]
    headers = {"X-API-Key": token}
    first, *others = ask(settings, *((*request[1:], headers) for request in (REQUESTS[0], *REQUESTS)))
    assert first.status_code == 200
    for response in others:
        assert response.status_code == 429
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert response.json()["error"] == "too many requests with this API key"


def test_what_administrators_look_at_is_noted(settings: Settings, publish_shop: Publish) -> None:
    publish_shop(Shop(users=(USER,)))
    tokens = keep(settings.directory / FILE, ("boss", ["admin"], 0), ("shop", ["read"], 0))
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
        ("boss", "debug"),
        ("boss", "debug"),
    ]
    assert len({line["subject"] for line in lines}) == 2
    assert USER not in before.decode()
    assert tokens["boss"] not in before.decode()
    ask(settings, looks[0])
    assert file.read_bytes().startswith(before)
    assert len(file.read_bytes().splitlines()) == 4


def test_a_note_is_a_whole_line_for_its_owner_alone(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path / "new" / AUDIT_FILE)
    key, _ = create_key("boss", ["admin"], 0, NOW)
    for user_id in ("7", "line\nbreak"):
        audit.note(key, "user", user_id)
    audit.note(None, "user", "7")
    lines = [json.loads(line) for line in (tmp_path / "new" / AUDIT_FILE).read_text().splitlines()]
    assert [line["key"] for line in lines] == ["boss", "boss", None]
    assert lines[0]["subject"] == lines[2]["subject"] == hashlib.sha256(b"7").hexdigest()[:16]
    assert datetime.fromisoformat(lines[0]["time"]).tzinfo is not None


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/v1/recommendations/batch", {"user_ids": ["7"] * (MOST_USERS + 1)}, "user_ids"),
        ("POST", "/v1/recommendations/batch", {"user_ids": ["7"], "n": 1001}, "n"),
        ("POST", "/v1/recommendations/batch", {"user_ids": ["x" * 129]}, "user_ids[0]"),
        ("POST", "/v1/rank", {"user_id": "7", "item_ids": ["a"] * (MOST_RANKED + 1)}, "item_ids"),
        ("POST", "/v1/events", [EVENT] * (MOST_EVENTS + 1), "body"),
        ("GET", f"/v1/popular?exclude={','.join(map(str, range(MOST_EXCLUDED + 1)))}", None, "exclude"),
        ("GET", "/v1/popular?n=1001", None, "n"),
        ("GET", "/v1/popular?offset=10001", None, "offset"),
        ("GET", "/v1/similar/" + "x" * 129, None, "item_id"),
        ("GET", "/v1/users/a%20b", None, "user_id"),
        ("PUT", "/v1/items/" + "x" * 129, {"price": 1}, "item_id"),
        ("PUT", "/v1/items/a1", {"title": "x" * 1001}, "title"),
        ("PUT", "/v1/items/a1", {"price": -1}, "price"),
    ],
)
def test_nothing_is_without_a_limit(
    settings: Settings, publish_shop: Publish, method: str, path: str, body: Any, field: str
) -> None:
    publish_shop()
    (response,) = ask(settings, (method, path, body, {}))
    assert (response.status_code, response.json()["field"]) == (400, field)


def everything(client: redis.Redis) -> str:
    """All keys of a Redis and all their values."""
    reads: dict[bytes, Any] = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"set": client.smembers,
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
        b"stream": client.xrange,
    }
    keys: Any = list(client.scan_iter("*"))
    return repr([(key, reads[client.type(key)](key)) for key in keys])  # pyright: ignore[reportArgumentType]


def test_with_pseudonyms_no_user_s_id_is_anywhere(
    settings: Settings, publish_shop: Publish, client: redis.Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    secret, session = "a shop's own secret", "session-0815"
    hidden = pseudonym(secret, USER)
    publish_shop(Shop(users=(hidden,), profiles={hidden: '{"events":3}'}))
    private = replace(settings, pseudonym_key=secret, serving=replace(settings.serving, impressions=True))
    seen = {"event": "view", "item_id": "a1", "session_id": session, "ip": "203.0.113.9", "user_agent": "browser/1"}
    known, taken, guest, joined, after, user, debug, bad, batch, rank = ask(
        private,
        ("GET", f"/v1/recommendations/{USER}?n=60", None, {}),
        ("POST", "/v1/events", seen, {}),
        ("GET", f"/v1/recommendations?session_id={session}&n=60", None, {}),
        ("POST", "/v1/events", {**seen, "user_id": USER, "event": "purchase", "item_id": "ap3"}, {}),
        ("GET", f"/v1/recommendations/{USER}?n=60", None, {}),
        ("GET", f"/v1/users/{USER}", None, {}),
        ("GET", f"/v1/recommendations/{USER}?debug=1", None, {}),
        ("POST", "/v1/events", {**EVENT, "event": "none"}, {}),
        ("POST", "/v1/recommendations/batch", {"user_ids": [USER]}, {}),
        ("POST", "/v1/rank", {"user_id": USER, "item_ids": ["a3", "a1"]}, {}),
        pause=10 * SEND_SECONDS,
    )
    assert (known.json()["user_id"], known.json()["items"][0]["source"]) == (USER, "personal")
    assert (taken.status_code, joined.status_code, bad.status_code) == (202, 202, 400)
    assert guest.json()["user_id"] == f"guest:{session}"
    assert {"an1", "aw1"} <= set(ids(guest))
    assert "an1" in ids(after)
    assert "ap3" not in ids(after)
    assert user.json()["profile"] == {"events": 3}
    assert [act["item_id"] for act in user.json()["session"]] == ["ap3", "a1"]
    assert debug.json()["stages"]
    assert batch.json()["answers"][0]["items"][0]["source"] in {"personal", "session", "bought_with"}
    assert ids(rank) == ["a1", "a3"] or ids(rank) == ["a3", "a1"]

    logged = "".join(capfd.readouterr())
    kept = everything(client)
    assert "adopted" in logged
    assert hidden in kept
    assert "impressions" in kept
    files = [file for file in settings.directory.rglob("*") if file.is_file() and "valkey" not in file.parts]
    audited = (settings.directory / AUDIT_FILE).read_text()
    assert json.loads(audited.splitlines()[0])["subject"] == hashlib.sha256(hidden.encode()).hexdigest()[:16]
    for raw in (USER, secret, "203.0.113.9", "browser/1", f"guest:{session}"):
        assert raw not in kept
        assert raw not in logged
        for file in files:
            assert raw.encode() not in file.read_bytes(), file


def test_only_this_machine_is_answered_without_keys(tmp_path: Path) -> None:
    refused = run_recsys(tmp_path, tmp_path / "var", "serve", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "expected a loopback address while there are no API keys" in refused.stderr
    assert refused.stderr.count("\n") == 1
    keep(tmp_path / "var" / FILE, ("shop", ["read"], 0))
    # An address for documentation, which no machine has: with a key it is tried.
    elsewhere = Settings(directory=tmp_path / "var", serving=Serving(host="192.0.2.1"))
    with pytest.raises(ServingError, match=r"cannot listen on 192\.0\.2\.1"):
        become_server(elsewhere, None)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that has signed itself, and its private key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on the PATH")
    files = tmp_path / "certificate.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    command += ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run([*command, "-out", files[0], "-keyout", files[1]], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return files


def test_a_server_with_a_certificate_answers_https_alone_and_logs_no_secret(
    url: str, publish_shop: Publish, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    secret = "a shop's own secret"
    publish_shop(Shop(users=(pseudonym(secret, USER),)))
    tokens = keep(tmp_path / "var" / FILE, ("shop", ["read"], 0), ("boss", ["admin"], 0))
    settings = f'[serving]\ntls_certificate = "{certificate[0]}"\ntls_key = "{certificate[1]}"'
    environment = {"RECSYS_REDIS_URL": url, "RECSYS_PSEUDONYM_KEY": secret}
    with serving(tmp_path, settings, environment, certificate=certificate[0]) as served:
        assert served.http.get(f"/v1/recommendations/{USER}").status_code == 401
        shown = {"Authorization": f"Bearer {tokens['shop']}"}
        answer = served.http.get(f"/v1/recommendations/{USER}", headers=shown)
        assert (answer.status_code, answer.json()["items"][0]["source"]) == (200, "personal")
        refused = served.http.post("/v1/events", headers=shown, json=EVENT)
        assert refused.status_code == 403
        assert served.http.get(f"/v1/users/{USER}", headers={"X-API-Key": tokens["boss"]}).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(str(served.http.base_url).replace("https", "http") + "/live", timeout=10)
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(f"{served.http.base_url}/live", timeout=10)
    log = served.log.read_text()
    assert "Serving at https://127.0.0.1:" in log
    for raw in (*tokens.values(), secret, USER):
        assert raw not in log
        assert raw not in refused.text


def test_half_a_certificate_is_told(tmp_path: Path) -> None:
    half = Settings(directory=tmp_path / "var", serving=Serving(tls_key=tmp_path / "key.pem"))
    with pytest.raises(ServingError, match="expected both, or neither"):
        become_server(half, None)
