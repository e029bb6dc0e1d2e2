"""Privacy: pseudonyms in place of user ids, and requests over HTTPS."""

import os
import shutil
import socket
import ssl
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from jobs.server_process import exec_server
from recsys.api_key_file import API_KEYS_FILE
from recsys.audit.log import AuditLog
from recsys.errors import ServingError
from recsys.pseudonyms import pseudonym
from recsys.settings import Serving, Settings
from recsys.store.keys import Keys
from serving.engine import pseudonym_key
from tests.commands import run_recsys
from tests.privacy import redis_text
from tests.serving.conftest import Publish, Shop, ids
from tests.serving.keys import EVENT, USER, ask, keep
from tests.serving.processes import serving


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
    kept = redis_text(client)
    assert "adopted" in logged
    assert hidden in kept
    assert "impressions" in kept
    files = [file for file in settings.directory.rglob("*") if file.is_file() and "valkey" not in file.parts]
    audited = AuditLog(settings.directory)
    assert next(audited.lines()).user == audited.user_hash(hidden)
    assert Keys("recsys").salt not in kept
    for raw in (USER, secret, "203.0.113.9", "browser/1", session):
        assert raw not in kept
        assert raw not in logged
        for file in files:
            assert raw.encode() not in file.read_bytes(), file


def test_only_this_machine_is_answered_without_keys(tmp_path: Path) -> None:
    refused = run_recsys(tmp_path, tmp_path / "var", "serve", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "expected a loopback address while there are no API keys" in refused.stderr
    assert refused.stderr.count("\n") == 1
    keep(tmp_path / "var" / API_KEYS_FILE, ("shop", ["recommend"], 0))
    # An address for documentation, which no machine has: with a key it is tried.
    elsewhere = Settings(directory=tmp_path / "var", serving=Serving(host="192.0.2.1", hosts=("*",)))
    with pytest.raises(ServingError, match=r"cannot listen on 192\.0\.2\.1"):
        exec_server(elsewhere, None)


def test_the_server_itself_refuses_a_public_address_without_keys_or_hosts(tmp_path: Path) -> None:
    """Whichever command starts it."""
    public = {"RECSYS_DIRECTORY": str(tmp_path / "var"), "RECSYS_SERVING_HOST": "0.0.0.0"}

    def start(**variables: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "serving"]
        environment = {**os.environ, **public, **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    without_keys = start(RECSYS_SERVING_HOSTS='["*"]')
    keep(tmp_path / "var" / API_KEYS_FILE, ("shop", ["recommend"], 0))
    without_hosts = start()
    (tmp_path / "var" / API_KEYS_FILE).unlink()
    lost = start(RECSYS_SERVING_HOSTS='["*"]')
    for ended, problem in (
        (without_keys, "expected a loopback address while there are no API keys"),
        (without_hosts, "serving.hosts is missing"),
        (lost, "expected a loopback address while there are no API keys"),
    ):
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("recsys: serving.host = '0.0.0.0': ")
        assert problem in ended.stderr
        assert ended.stderr.count("\n") == 1


TLS_VERSIONS = {
    "1.1": ssl.TLSVersion.TLSv1_1,
    "1.2": ssl.TLSVersion.TLSv1_2,
    "1.3": ssl.TLSVersion.TLSv1_3,
}


def tls_version(port: int, certificate: Path, version: ssl.TLSVersion) -> str | None:
    """The version of TLS that a server speaks with a client of one version only; None if it refuses."""
    context = ssl.create_default_context(cafile=certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else the client itself does without old versions
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            with context.wrap_socket(connection, server_hostname="127.0.0.1") as spoken:
                return spoken.version()
        except ssl.SSLError as error:
            if "ALERT" in (error.reason or ""):  # the server refuses
                return None
            raise


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
    tokens = keep(tmp_path / "var" / API_KEYS_FILE, ("shop", ["recommend"], 0), ("boss", ["admin"], 0))
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
        port = served.http.base_url.port or 0
        spoken = {name: tls_version(port, certificate[0], version) for name, version in TLS_VERSIONS.items()}
        assert spoken == {"1.1": None, "1.2": "TLSv1.2", "1.3": "TLSv1.3"}
    log = served.log.read_text()
    assert "Serving at https://127.0.0.1:" in log
    for raw in (*tokens.values(), secret, USER):
        assert raw not in log
        assert raw not in refused.text


def test_half_a_certificate_is_reported(tmp_path: Path) -> None:
    half = Settings(directory=tmp_path / "var", serving=Serving(tls_key=tmp_path / "key.pem"))
    with pytest.raises(ServingError, match="expected both, or neither"):
        exec_server(half, None)


def test_a_listed_user_is_released_by_the_pseudonym(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    secret = "a shop's own secret"
    hidden, twice = pseudonym(secret, USER), pseudonym(secret, pseudonym(secret, USER))
    publish_shop(Shop(users=(hidden,), profiles={hidden: '{"events":3}'}))
    private, path = replace(settings, pseudonym_key=secret), f"/v1/anomalies/{hidden}"
    label, by_pseudonym = {"label": "bot"}, f"{path}?pseudonym=1"
    _, listed, shown, profile, other, released, gone, raw, bad = ask(
        private,
        ("PUT", f"/v1/anomalies/{USER}", label, {}),
        ("GET", "/v1/anomalies", None, {}),
        ("GET", by_pseudonym, None, {}),
        ("GET", f"/v1/users/{hidden}?pseudonym=1", None, {}),
        ("GET", path, None, {}),
        ("DELETE", by_pseudonym, None, {}),
        ("GET", f"/v1/anomalies/{USER}", None, {}),
        ("PUT", path, label, {}),
        ("DELETE", f"/v1/anomalies/{USER}?pseudonym=1", None, {}),
    )
    assert [flag["user_id"] for flag in listed.json()["flags"]] == [hidden]
    assert shown.json()["flag"]["user_id"] == hidden
    assert (profile.json()["user_id"], profile.json()["profile"]) == (hidden, {"events": 3})
    assert other.json()["flag"] is None
    assert released.json() == {**released.json(), "user_id": hidden, "label": "fine"}
    assert (gone.json()["flag"], gone.json()["released"]) == (None, True)
    assert raw.status_code == 200
    assert client.get(Keys("recsys").flag(twice)) is not None
    assert (bad.status_code, bad.json()["expected"]) == (400, "a pseudonym of 32 hexadecimal digits")
    (plain,) = ask(
        replace(settings, redis=replace(settings.redis, namespace="plain")), ("GET", by_pseudonym, None, {})
    )
    assert (plain.status_code, plain.json()["field"]) == (400, "pseudonym")


def test_a_server_with_another_key_writes_nothing_and_says_so(
    settings: Settings, publish_shop: Publish, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonym_key, "CHECK_SECONDS", 0)
    publish_shop()
    with_impressions = replace(settings, serving=replace(settings.serving, impressions=True))
    first, second = (replace(with_impressions, pseudonym_key=key) for key in ("first", "second"))
    assert ask(first, ("POST", "/v1/events", EVENT, {}))[0].status_code == 202
    before = redis_text(client)
    for wrong, problem in ((second, "of another key"), (with_impressions, "pseudonym_key is not set")):
        list_, event, labeled, ready = ask(
            wrong,
            ("GET", f"/v1/recommendations/{USER}", None, {}),
            ("POST", "/v1/events", EVENT, {}),
            ("PUT", f"/v1/anomalies/{USER}", {"label": "bot"}, {}),
            ("GET", "/ready", None, {}),
        )
        assert list_.status_code == 200
        assert [response.status_code for response in (event, labeled)] == [503, 503]
        assert all(problem in response.json()["error"] for response in (event, labeled))
        assert ready.json()["status"] == "degraded"
        assert problem in ready.json()["problems"][0]
        assert redis_text(client) == before
    again, ready = ask(first, ("POST", "/v1/events", EVENT, {}), ("GET", "/ready", None, {}))
    assert (again.status_code, ready.json()["status"]) == (202, "ready")
    client.set(Keys("recsys").pseudonyms, "rotating")
    assert "recsys pseudonyms rotate" in ask(first, ("POST", "/v1/events", EVENT, {}))[0].json()["error"]


def test_without_a_key_addresses_and_browsers_are_in_events_and_hashed_elsewhere(
    settings: Settings, publish_shop: Publish, client: redis.Redis
) -> None:
    publish_shop()
    origin = {"ip": "203.0.113.9", "user_agent": "browser/1"}
    posted = [
        {**EVENT, **origin, "user_id": f"u{user}", "event_id": f"e{row}"} for user in range(3) for row in range(99)
    ]
    assert ask(settings, ("POST", "/v1/events", posted, {}))[0].status_code == 202
    ask(settings, ("POST", "/v1/events", {**posted[0], "event_id": "last"}, {}))
    assert client.exists(Keys("recsys").salt) == 1
    stored: Any = client.xrange(Keys("recsys").events)
    events = [fields[b"event"] for _, fields in stored if b"event" in fields]
    assert len(events) > len(posted)
    assert all(b"203.0.113.9" in event and b"browser/1" in event for event in events)
    client.delete(Keys("recsys").events)
    assert any(b":users_of:" in key for key in client.scan_iter())
    assert "203.0.113.9" not in redis_text(client)
    assert "browser/1" not in redis_text(client)
