"""API keys in a worker: lost, disabled, expired, rotated, bound to networks; failed attempts."""

import hashlib
import hmac
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from recsys.api_key_file import API_KEYS_FILE, KeyFile
from recsys.api_keys import UNMATCHED_HASH, ApiKeys, Scope, create_key, rotate_key
from serving.http import failed_attempts
from serving.http.auth import RELOAD_SECONDS, Access, AccessError
from serving.http.client_address import ClientAddresses, Headers
from serving.http.failed_attempts import MAX_LOGGED, FailedAttempts
from tests.serving.keys import NOW, keep

HOUR = 3_600


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


def bearer(token: str) -> list[tuple[bytes, bytes]]:
    """Headers that show a token."""
    return [(b"host", b"x"), (b"authorization", b"Bearer " + token.encode())]


def access_of(file: Path, clock: Clock, is_public: bool = False, per_minute: int = 1_000) -> Access:
    """Access by the keys of a file; the Unix time is 2026-03-01 and what the clock has gone on."""
    count = Counter[str]()
    failures = FailedAttempts(per_minute, lambda reason: count.update([reason]), clock)
    addresses = ClientAddresses(["192.0.2.0/24"])
    return Access(KeyFile(file), is_public, failures, addresses, clock, lambda: NOW.timestamp() + clock())


def allowed(access: Access, token: str, peer: str = "", headers: Headers = (), scope: Scope = "recommend") -> bool:
    """Whether a request with a token is let in."""
    return access.check([*bearer(token), *headers], peer, [scope]) is not None


def refusal(access: Access, headers: Headers, scope: Scope = "recommend", peer: str = "") -> AccessError:
    """Why a request is not let in."""
    with pytest.raises(AccessError) as refused:
        access.check(headers, peer, [scope])
    return refused.value


def test_a_key_made_or_revoked_is_noticed_without_a_start(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / API_KEYS_FILE
    access = access_of(file, clock)
    assert access.check([], "", ["admin"]) is None
    tokens = keep(file, ("one", ["recommend"], 0), ("two", ["recommend"], 0))
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, []).status == 401
    assert allowed(access, tokens["one"])
    KeyFile(file).save(ApiKeys({"two": create_key("two", ["recommend"], 0, NOW)[0]}))
    clock.seconds += RELOAD_SECONDS
    assert refusal(access, bearer(tokens["one"])).status == 401


@pytest.mark.parametrize("fault", ["gone", "empty", "no keys", "no JSON", "a directory", "the state is gone too"])
def test_keys_that_are_lost_close_the_server_in_each_worker(tmp_path: Path, fault: str) -> None:
    """Those that run, and those that are started later."""
    clock, file = Clock(), tmp_path / API_KEYS_FILE
    token = keep(file, ("shop", ["recommend"], 0))["shop"]
    running = access_of(file, clock)
    assert allowed(running, token)
    file.unlink()
    match fault:
        case "empty":
            file.touch()
        case "no keys":
            KeyFile(file).save(ApiKeys())
        case "no JSON":
            file.write_text('[{"name": "shop"')
        case "a directory":
            file.mkdir()
        case "the state is gone too":
            KeyFile(file).state_path.unlink()
        case _:
            pass
    clock.seconds += RELOAD_SECONDS
    later = access_of(file, clock)
    with capture_logs():
        for access in (running, later):
            assert refusal(access, bearer(token)).status == 401
            assert refusal(access, []).status == 401
            clock.seconds += RELOAD_SECONDS
            assert refusal(access, []).status == 401


def test_only_disabled_on_purpose_do_keys_open_a_local_server(tmp_path: Path) -> None:
    clock, file = Clock(), KeyFile(tmp_path / API_KEYS_FILE)
    keep(file.path, ("shop", ["recommend"], 0))
    running, public = access_of(file.path, clock), access_of(file.path, clock, is_public=True)
    assert [refusal(access, []).status for access in (running, public)] == [401, 401]
    file.disable()
    clock.seconds += RELOAD_SECONDS
    for access in (running, access_of(file.path, clock)):
        assert access.check([], "", ["admin"]) is None
    with capture_logs():
        for access in (public, access_of(file.path, clock, is_public=True)):
            assert refusal(access, []).status == 401


def test_keys_from_before_there_was_a_state_are_required_after_a_start(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / API_KEYS_FILE)
    keep(file.path, ("shop", ["recommend"], 0))
    file.state_path.unlink()
    file.keep_state()
    file.path.unlink()
    assert refusal(access_of(file.path, Clock()), []).status == 401


def test_tokens_are_compared_in_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole hashes by `compare_digest`, for a name that is not there too."""
    compared: list[tuple[str, str]] = []

    def compare(first: str, second: str) -> bool:
        compared.append((first, second))
        return first == second

    monkeypatch.setattr(hmac, "compare_digest", compare)
    token = keep(tmp_path / API_KEYS_FILE, ("shop", ["recommend"], 0))["shop"]
    access = access_of(tmp_path / API_KEYS_FILE, Clock())
    assert allowed(access, token)
    refusal(access, bearer("rk_nobody_x"))
    refusal(access, [(b"x-api-key", b"\xe9\xff")])
    refusal(access, [])
    own = hashlib.sha256(token.encode()).hexdigest()
    assert compared[0] == (own, own)
    assert [expected for _, expected in compared[1:]] == [UNMATCHED_HASH] * 3


def test_a_key_ends(tmp_path: Path) -> None:
    clock, file = Clock(), tmp_path / API_KEYS_FILE
    token = keep(file, ("brief", ["recommend"], 0), expires_at=NOW + timedelta(seconds=clock() + HOUR))["brief"]
    access = access_of(file, clock)
    assert allowed(access, token)
    clock.seconds += HOUR
    assert (refusal(access, bearer(token)).status, refusal(access, bearer(token)).message) == (
        401,
        "the API key has expired",
    )


def test_a_token_that_was_rotated_ends_after_the_overlap(tmp_path: Path) -> None:
    clock, file = Clock(), KeyFile(tmp_path / API_KEYS_FILE)
    first = keep(file.path, ("shop", ["recommend"], 0))["shop"]
    rotated, second = rotate_key(
        file.load_all().get("shop"), timedelta(seconds=HOUR), NOW + timedelta(seconds=clock()), None
    )
    file.save(ApiKeys({"shop": rotated}))
    access = access_of(file.path, clock)
    assert allowed(access, first)
    assert allowed(access, second)
    clock.seconds += HOUR
    assert refusal(access, bearer(first)).status == 401
    assert allowed(access, second)


def test_a_key_is_bound_to_networks_by_the_peer_or_what_a_trusted_proxy_says(tmp_path: Path) -> None:
    file = tmp_path / API_KEYS_FILE
    token = keep(file, ("near", ["recommend"], 0), networks=("10.0.0.0/8", "2001:db8::/32"))["near"]
    access = access_of(file, Clock())
    near, far = [(b"x-forwarded-for", b"10.1.2.3")], [(b"x-forwarded-for", b"10.1.2.3, 203.0.113.9")]
    chain = [(b"x-forwarded-for", b"203.0.113.9, 10.1.2.3, 192.0.2.7")]
    assert allowed(access, token, "10.1.2.3")
    assert allowed(access, token, "2001:db8::1")
    assert allowed(access, token, "192.0.2.1", near)
    assert allowed(access, token, "192.0.2.1", chain)
    for peer, headers in (
        ("203.0.113.9", []),
        ("203.0.113.9", near),
        ("192.0.2.1", far),
        ("192.0.2.1", []),
        ("", []),
    ):
        assert refusal(access, [*bearer(token), *headers], peer=peer).status == 403, (peer, headers)


def test_failed_attempts_are_counted_limited_by_address_and_logged_without_tokens(tmp_path: Path) -> None:
    clock, file, secret = Clock(), tmp_path / API_KEYS_FILE, "rk_shop_" + "s" * 43
    token = keep(file, ("shop", ["recommend"], 0))["shop"]
    count = Counter[str]()
    failures = FailedAttempts(3, lambda reason: count.update([reason]), clock)
    access = Access(KeyFile(file), False, failures, ClientAddresses([]), clock)
    with capture_logs() as logged:
        refused = [refusal(access, bearer(secret), peer="203.0.113.9") for _ in range(5)]
        assert [error.status for error in refused] == [401, 401, 401, 429, 429]
        assert refused[-1].headers == {"Retry-After": "60"}
        assert refusal(access, [], peer="203.0.113.10").status == 401
        assert allowed(access, token, "203.0.113.9")
        clock.seconds += 60
        assert refusal(access, bearer(secret), peer="203.0.113.9").status == 401
        for number in range(2 * MAX_LOGGED):
            refusal(access, [], peer=f"10.0.0.{number}")
    assert count == {"invalid": 6, "missing": 1 + 2 * MAX_LOGGED}
    assert logged[0] == {
        "event": "authentication failed",
        "log_level": "warning",
        "address": "203.0.113.9",
        "reason": "invalid",
        "key": None,
        "failures": 1,
    }
    assert len(logged) == 3 + MAX_LOGGED
    assert "s" * 43 not in str(logged)


def test_failed_attempts_take_bounded_memory_and_count_an_ipv6_network_as_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_ADDRESSES", 10)
    failures = FailedAttempts(2, lambda _: None, Clock())
    with capture_logs():
        waits = [failures.add(f"2001:db8::{number:x}", "missing", None) for number in range(3)]
        assert waits == [None, None, 60]
        for number in range(100):
            failures.add(f"10.0.0.{number}", "missing", None)
    assert len(failures) == 10
