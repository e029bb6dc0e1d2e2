"""API keys: created, found by their tokens alone, stored as hashes."""

import hashlib
import hmac
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import api_key_file
from recsys.api_key_file import KeyFile
from recsys.api_keys import (
    FORMER_SCOPES,
    SCOPES,
    UNMATCHED_HASH,
    ApiKey,
    ApiKeys,
    create_key,
    parse_scope,
    rotate_key,
)
from recsys.errors import ApiKeyError

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
AT = NOW.timestamp()
DAY = timedelta(days=1)


def made(*names: str) -> tuple[ApiKeys, list[str]]:
    keys, tokens = ApiKeys(), []
    for name in names:
        key, token = create_key(name, ["recommend"], 60, NOW)
        keys = keys.with_key(key)
        tokens.append(token)
    return keys, tokens


def test_a_token_is_its_name_and_43_characters() -> None:
    key, token = create_key("web-1.eu", ["events", "recommend"], 600, NOW)
    prefix, name, secret = token.split("_", 2)
    assert (prefix, name, len(secret)) == ("rk", "web-1.eu", 43)
    digest = hashlib.sha256(token.encode()).hexdigest()
    assert key == ApiKey(name, digest, frozenset(["recommend", "events"]), 600, NOW)
    assert key.sha256 not in repr(key)
    assert token != create_key("web-1.eu", ["recommend"], 0, NOW)[1]


@pytest.mark.parametrize("name", ["", "a b", "a_b", "é", "a\n", "x" * 33])
def test_a_name_is_of_few_characters(name: str) -> None:
    with pytest.raises(ApiKeyError, match=r"expected a name of 1 to 32 letters, digits, dots and hyphens$"):
        create_key(name, ["recommend"], 0, NOW)


def test_a_key_without_a_scope_is_none() -> None:
    with pytest.raises(ApiKeyError, match="expected at least one scope of recommend, events, catalogue, admin"):
        create_key("web", [], 0, NOW)


def test_each_scope_allows_its_own_routes_only() -> None:
    assert SCOPES == ("recommend", "events", "catalogue", "admin")
    for granted in SCOPES:
        key, _ = create_key("k", [granted], 0, NOW)
        assert [scope for scope in SCOPES if key.allows(scope)] == [granted]


def test_a_former_scope_is_refused_with_what_takes_its_place() -> None:
    assert parse_scope("admin") == "admin"
    with pytest.raises(ApiKeyError, match="scope 'read' is now --scope recommend: "):
        parse_scope("read")
    with pytest.raises(ApiKeyError, match="'write' is now --scope recommend --scope events --scope catalogue: "):
        parse_scope("write")
    with pytest.raises(ApiKeyError, match="scope 'root': expected one of recommend, events, catalogue, admin"):
        parse_scope("root")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"expires_at": NOW}, "key 'k': ended at 2026-03-01 12:00 UTC"),
        ({"networks": ["10.0.0.1/8"]}, "key 'k': network '10.0.0.1/8': expected a network such as 10.0.0.0/8"),
        ({"networks": ["home"]}, "key 'k': network 'home': expected a network"),
    ],
)
def test_a_key_that_nobody_could_use_is_none(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiKeyError, match=problem):
        create_key("k", ["recommend"], 0, NOW, **fields)


def test_a_rotated_key_has_two_tokens_for_a_while() -> None:
    first_key, first = create_key("k", ["recommend"], 60, NOW, NOW + 30 * DAY, ["10.0.0.0/8"])
    second_key, second = rotate_key(first_key, 7 * DAY, NOW, None)
    keys = ApiKeys({"k": second_key})
    assert keys.find(second, AT) == keys.find(first, AT + 6 * DAY.total_seconds()) == second_key
    assert keys.find(first, AT + 7 * DAY.total_seconds()) is None
    assert (second_key.scopes, second_key.networks, second_key.expires_at) == (
        first_key.scopes,
        first_key.networks,
        first_key.expires_at,
    )
    third_key, third = rotate_key(second_key, 7 * DAY, NOW, NOW + 60 * DAY)
    keys = ApiKeys({"k": third_key})
    assert [keys.find(token, AT) is not None for token in (first, second, third)] == [False, True, True]
    assert third_key.expires_at == NOW + 60 * DAY
    at_once, _ = rotate_key(third_key, 0 * DAY, NOW, None)
    assert ApiKeys({"k": at_once}).find(third, AT) is None
    with pytest.raises(ApiKeyError, match="key 'k': ended at"):
        rotate_key(first_key, DAY, NOW + 30 * DAY, None)
    assert not {second_key.sha256, str(second_key.previous_sha256)} & set(repr(second_key).split("'"))


def test_a_key_is_found_by_its_token_alone() -> None:
    keys, (web, app) = made("web", "app")
    assert [keys.find(token, AT) for token in (web, app)] == [keys.keys["web"], keys.keys["app"]]
    for wrong in (
        web[:-1],
        f"{web} ",
        web.replace("web", "app"),
        web.replace("web", "nobody"),
        "",
        "rk_web",
        "rk__",
        "web",
    ):
        assert keys.find(wrong, AT) is None
    assert ApiKeys().find(web, AT) is None


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    keys, _ = made("web")
    assert keys.find(text, AT) is None
    assert keys.find(f"rk_web_{text}", AT) is None
    assert keys.find(f"{text}\ud800", AT) is None


def test_an_unknown_name_is_compared_as_a_known_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, (token,) = made("web")
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for text in (token, "rk_nobody_x", "no token"):
        keys.find(text, AT)
    assert [other for _, other in compared] == [keys.keys["web"].sha256, UNMATCHED_HASH, UNMATCHED_HASH]
    assert {len(one) for one, _ in compared} == {64}


def test_keys_are_kept_without_tokens_for_their_owner_alone(tmp_path: Path) -> None:
    file = KeyFile.of(tmp_path / "var")
    assert (file.load(), file.state()) == (None, None)
    keys, tokens = made("web", "app")
    file.save(keys)
    file.save(keys)
    assert (file.load(), file.state()) == (keys, "required")
    for path in (file.path, file.state_path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not any(token in file.path.read_text() for token in tokens)
    assert {path.name for path in file.path.parent.glob("*.*")} == {"api_keys.json", "api_keys.json.state"}
    file.save(keys.without_key("web"))
    assert [file.load_all().find(token, AT) is not None for token in tokens] == [False, True]


def test_that_keys_are_required_outlives_them_and_is_written_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = KeyFile.of(tmp_path)
    keys, _ = made("web")
    with monkeypatch.context() as patched:
        patched.setattr(api_key_file.json, "dumps", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):  # the process is killed before the keys are written
            file.save(keys)
    assert (file.load(), file.state()) == (ApiKeys(), "required")
    file.save(keys)
    file.path.unlink()
    assert (file.load(), file.state()) == (ApiKeys(), "required")
    file.state_path.write_bytes(b"\xff")
    assert file.state() == "required"
    file.disable()
    assert (file.load(), file.state()) == (None, "disabled")
    file.keep_state()
    assert file.state() == "disabled"
    file.save(keys)
    assert (file.load(), file.state()) == (keys, "required")


def test_keys_of_the_former_format_allow_what_they_did(tmp_path: Path) -> None:
    file = KeyFile.of(tmp_path)
    stored = {"sha256": "a" * 64, "requests_per_minute": 60, "created_at": "2026-03-01T12:00:00Z"}
    former = [{"name": name, "scopes": [name, "read"], **stored} for name in FORMER_SCOPES]
    file.path.write_text(json.dumps(former))
    expected = {name: frozenset(scopes) for name, scopes in FORMER_SCOPES.items()}
    assert {name: key.scopes for name, key in file.load_all().keys.items()} == expected
    file.save(file.load_all())
    assert {name: key.scopes for name, key in file.load_all().keys.items()} == expected
    assert expected["read"] == {"recommend"}
    assert expected["admin"] == set(SCOPES)


def test_names_are_taken_and_missed() -> None:
    keys, _ = made("web")
    with pytest.raises(ApiKeyError, match="key 'web': exists already"):
        keys.with_key(keys.keys["web"])
    with pytest.raises(ApiKeyError, match="key 'app': there is no such key; existing keys: web"):
        keys.without_key("app")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "Invalid JSON"),
        ("{", "Invalid JSON"),
        ("{}", "expected format 2, or a valid array"),
        ('{"format": 2}', "keys: Field required"),
        (json.dumps([{"name": "web"}]), "0.sha256: Field required"),
        (json.dumps([{"name": "a_b", "sha256": UNMATCHED_HASH}]), "0.name: String should match"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, content: str, problem: str) -> None:
    file = KeyFile.of(tmp_path)
    file.path.write_text(content)
    with pytest.raises(ApiKeyError, match=problem) as error:
        file.load()
    assert str(error.value).startswith(f"{file.path}: is not a file of API keys: ")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="cannot be read: Is a directory"):
        KeyFile(tmp_path).load()
