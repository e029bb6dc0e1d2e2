"""`recsys keys`."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from jobs.scheduler.lock import job_lock
from recsys.api_key_file import KeyFile
from recsys.api_keys import ApiKey

Recsys = Callable[..., subprocess.CompletedProcess[str]]


def test_a_key_is_made_listed_rotated_and_revoked(recsys: Recsys, data_directory: Path) -> None:
    file = KeyFile.of(data_directory)

    def find(token: str) -> ApiKey | None:
        return file.load_all().find(token, time.time())

    options = ["--scope", "events", "--scope", "recommend", "--per-minute", "600"]
    made = recsys("keys", "create", "web", *options, "--expires", "90d", "--network", "10.0.0.0/8")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert made.stderr == "This token is not stored and cannot be shown again.\n"
    result = find(token)
    assert result is not None
    assert result.expires_at is not None
    assert (result.name, result.scopes, result.requests_per_minute) == ("web", {"events", "recommend"}, 600)
    assert (result.expires_at - result.created_at).days == 90

    assert recsys("keys", "create", "app", "--scope", "admin", "--expires", "2100-01-31").returncode == 0
    file.note_use("web")
    listing = recsys("keys", "list", "--json").stdout
    app, web = json.loads(listing)
    assert (app["name"], app["scopes"], app["networks"], app["last_used_at"]) == ("app", ["admin"], [], None)
    assert app["expires_at"] == "2100-01-31 00:00:00+00:00"
    assert (web["scopes"], web["networks"]) == (["recommend", "events"], ["10.0.0.0/8"])
    assert web["last_used_at"] is not None
    assert result.sha256 not in listing
    shown = recsys("keys", "list").stdout
    for text in ("recommend", "10.0.0.0/8", "2100-01-31", "never"):
        assert text in shown
    assert result.sha256[:10] not in shown

    again = recsys("keys", "create", "web", "--scope", "recommend", "--if-missing")
    assert (again.returncode, again.stdout) == (0, "")
    assert find(token) == result
    rotated = recsys("keys", "rotate", "web", "--overlap", "12h")
    assert (rotated.returncode, rotated.stderr.count("The token before is valid until ")) == (0, 1)
    assert find(token) == find(rotated.stdout.strip()) is not None
    last = recsys("keys", "rotate", "web", "--overlap", "0d").stdout.strip()
    assert find(rotated.stdout.strip()) is None
    assert recsys("keys", "revoke", "web").stdout.startswith("The key web is revoked.\n")
    assert find(last) is None
    assert file.last_use("web") is None


def test_only_disable_opens_a_server_again(recsys: Recsys, data_directory: Path) -> None:
    file = KeyFile.of(data_directory)
    recsys("keys", "create", "web", "--scope", "recommend")
    assert "refuses every request" in recsys("keys", "revoke", "web").stdout
    assert file.state() == "required"
    assert recsys("keys", "disable").returncode != 0  # nobody is there to say yes
    assert file.state() == "required"
    assert recsys("keys", "disable", "--yes").returncode == 0
    assert file.state() == "disabled"


def test_mistakes_are_a_line(recsys: Recsys, data_directory: Path) -> None:
    recsys("keys", "create", "web", "--scope", "recommend")
    new = ["create", "app", "--scope", "recommend"]
    for arguments, problem in (
        (["create", "web", "--scope", "recommend"], "recsys: key 'web': exists already; revoke it first"),
        (["create", "a_b", "--scope", "recommend"], "recsys: key 'a_b': expected a name of 1 to 32 letters"),
        (["create", "app", "--scope", "read"], "recsys: scope 'read' is now --scope recommend"),
        ([*new, "--expires", "soon"], "recsys: 'soon': expected a time such as 90d or 12h, or a date"),
        ([*new, "--network", "10.0.0.1/8"], "recsys: key 'app': network '10.0.0.1/8': expected a network"),
        (["rotate", "app"], "recsys: key 'app': there is no such key; existing keys: web"),
        (["rotate", "web", "--overlap", "long"], "recsys: 'long': expected a time such as 90d"),
        (["revoke", "app"], "recsys: key 'app': there is no such key; existing keys: web"),
    ):
        ended = recsys("keys", *arguments)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith(problem)
        assert ended.stderr.count("\n") == 1
    assert recsys("keys", "create", "app").returncode == 2
    with job_lock(data_directory, "keys"):
        assert recsys("keys", "revoke", "web").stderr.startswith("recsys: keys: process ")
