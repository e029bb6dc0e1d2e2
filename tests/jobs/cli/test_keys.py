"""`recsys keys`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

from jobs.scheduler.lock import job_lock
from recsys.api_keys import load_keys

Recsys = Callable[..., subprocess.CompletedProcess[str]]


def test_a_key_is_made_listed_and_revoked(recsys: Recsys, data_directory: Path) -> None:
    made = recsys("keys", "create", "web", "--scope", "write", "--scope", "read", "--per-minute", "600")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert made.stderr == "This token is not stored and cannot be shown again.\n"
    file = data_directory / "api_keys.json"
    result = load_keys(file).find(token)
    assert result is not None
    assert (result.name, result.scopes, result.requests_per_minute) == ("web", {"read", "write"}, 600)

    assert recsys("keys", "create", "app", "--scope", "admin").returncode == 0
    listing = recsys("keys", "list", "--json").stdout
    assert [(key["name"], key["scopes"], key["requests_per_minute"]) for key in json.loads(listing)] == [
        ("app", ["admin"], 0),
        ("web", ["read", "write"], 600),
    ]
    assert result.sha256 not in listing
    shown = recsys("keys", "list").stdout
    assert "read, write" in shown
    assert result.sha256[:10] not in shown

    again = recsys("keys", "create", "web", "--scope", "read", "--if-missing")
    assert (again.returncode, again.stdout) == (0, "")
    assert load_keys(file).find(token) == result
    assert recsys("keys", "revoke", "web").stdout.startswith("The key web is revoked.\n")
    assert load_keys(file).find(token) is None


def test_mistakes_are_a_line(recsys: Recsys, data_directory: Path) -> None:
    recsys("keys", "create", "web", "--scope", "read")
    for arguments, problem in (
        (["create", "web", "--scope", "read"], "recsys: key 'web': exists already; revoke it first"),
        (["create", "a_b", "--scope", "read"], "recsys: key 'a_b': expected a name of 1 to 32 letters"),
        (["revoke", "app"], "recsys: key 'app': there is no such key; existing keys: web"),
    ):
        ended = recsys("keys", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(problem)
        assert ended.stderr.count("\n") == 1
    assert recsys("keys", "create", "app").returncode == 2
    with job_lock(data_directory, "keys"):
        assert recsys("keys", "revoke", "web").stderr.startswith("recsys: keys: process ")
