"""API keys: created, found by their tokens alone, stored as hashes."""

import hashlib
import hmac
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.api_keys import SCOPES, UNMATCHED_HASH, ApiKey, ApiKeys, Scope, create_key, load_keys, save_keys
from recsys.errors import ApiKeyError

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def made(*names: str) -> tuple[ApiKeys, list[str]]:
    keys, tokens = ApiKeys(), []
    for name in names:
        key, token = create_key(name, ["read"], 60, NOW)
        keys = keys.with_key(key)
        tokens.append(token)
    return keys, tokens


def test_a_token_is_its_name_and_43_characters() -> None:
    key, token = create_key("web-1.eu", ["write", "read"], 600, NOW)
    prefix, name, secret = token.split("_", 2)
    assert (prefix, name, len(secret)) == ("rk", "web-1.eu", 43)
    assert key == ApiKey(name, hashlib.sha256(token.encode()).hexdigest(), frozenset(["read", "write"]), 600, NOW)
    assert key.sha256 not in repr(key)
    assert token != create_key("web-1.eu", ["read"], 0, NOW)[1]


@pytest.mark.parametrize("name", ["", "a b", "a_b", "é", "a\n", "x" * 33])
def test_a_name_is_of_few_characters(name: str) -> None:
    with pytest.raises(ApiKeyError, match=r"expected a name of 1 to 32 letters, digits, dots and hyphens$"):
        create_key(name, ["read"], 0, NOW)


def test_a_key_without_a_scope_is_none() -> None:
    with pytest.raises(ApiKeyError, match="expected at least one scope of read, write, admin"):
        create_key("web", [], 0, NOW)


def test_a_scope_includes_those_below() -> None:
    allowed = {
        scope: [each for each in SCOPES if create_key("k", [scope], 0, NOW)[0].allows(each)] for scope in SCOPES
    }
    assert allowed == {"read": ["read"], "write": ["read", "write"], "admin": ["read", "write", "admin"]}


def test_a_key_is_found_by_its_token_alone() -> None:
    keys, (web, app) = made("web", "app")
    assert [keys.find(token) for token in (web, app)] == [keys.keys["web"], keys.keys["app"]]
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
        assert keys.find(wrong) is None
    assert ApiKeys().find(web) is None


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    keys, _ = made("web")
    assert keys.find(text) is None
    assert keys.find(f"rk_web_{text}") is None
    assert keys.find(f"{text}\ud800") is None


def test_an_unknown_name_is_compared_as_a_known_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, (token,) = made("web")
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for text in (token, "rk_nobody_x", "no token"):
        keys.find(text)
    assert [other for _, other in compared] == [keys.keys["web"].sha256, UNMATCHED_HASH, UNMATCHED_HASH]
    assert {len(one) for one, _ in compared} == {64}


def test_keys_are_kept_without_tokens_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "var" / "api_keys.json"
    assert load_keys(file) == ApiKeys()
    keys, tokens = made("web", "app")
    save_keys(file, keys)
    save_keys(file, keys)
    assert load_keys(file) == keys
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not any(token in file.read_text() for token in tokens)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    save_keys(file, keys.without_key("web"))
    assert [load_keys(file).find(token) is not None for token in tokens] == [False, True]


def test_names_are_taken_and_missed() -> None:
    keys, _ = made("web")
    with pytest.raises(ApiKeyError, match="key 'web': exists already"):
        keys.with_key(keys.keys["web"])
    with pytest.raises(ApiKeyError, match="key 'app': there is no such key; existing keys: web"):
        keys.without_key("app")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "Invalid JSON"),
        ("{}", "valid array"),
        (json.dumps([{"name": "web"}]), "0.sha256: Field required"),
        (json.dumps([{"name": "a_b", "sha256": UNMATCHED_HASH}]), "0.name: String should match"),
    ],
)
def test_an_invalid_file_is_reported_in_one_line(tmp_path: Path, content: str, problem: str) -> None:
    file = tmp_path / "api_keys.json"
    file.write_text(content)
    with pytest.raises(ApiKeyError, match=problem) as error:
        load_keys(file)
    assert str(error.value).startswith(f"{file}: is not a file of API keys: ")
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ApiKeyError, match="cannot be read: Is a directory"):
        load_keys(tmp_path)


def test_scopes_are_three() -> None:
    expected: tuple[Scope, ...] = ("read", "write", "admin")
    assert expected == SCOPES
