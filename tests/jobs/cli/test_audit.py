"""`recsys audit`: what commands write, how it is shown, and how a changed line is told."""

import getpass
import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.audit.chain import Actor
from recsys.audit.log import AuditLog
from recsys.pseudonyms import pseudonym
from tests.ingests import write_events
from tests.jobs.cli.conftest import FIRST

Recsys = Callable[..., subprocess.CompletedProcess[str]]

SECRET = "a key of the shop"


@pytest.mark.usefixtures("two_versions")
def test_each_command_that_changes_something_is_noted(recsys: Recsys, data_directory: Path, tmp_path: Path) -> None:
    write_events(tmp_path / "events.csv", {"user_id": "u1"}, {"user_id": "a b"})
    assert recsys("ingest", tmp_path / "events.csv").returncode == 0
    for arguments in (
        ["keys", "create", "web", "--scope", "recommend", "--per-minute", "60", "--network", "10.0.0.0/8"],
        ["keys", "create", "web", "--scope", "recommend", "--if-missing"],
        ["keys", "list"],
        ["keys", "rotate", "web", "--overlap", "12h"],
        ["keys", "revoke", "web"],
        ["keys", "disable", "--yes"],
        ["rollback"],
        ["anomalies", "list"],
        ["anomalies", "label", "u1", "bot"],
        ["anomalies", "release", "u1"],
        ["quarantine", "retry", "--dry-run"],
        ["quarantine", "retry", "--table", "events"],
        ["lake", "undo", "1"],
        ["consent", "show", "u1"],
        ["consent", "refuse", "u1"],
        ["consent", "give", "u1"],
        ["export", "u1"],
        ["erase", "u1", "u2", "--forever"],
        ["retention"],
        ["stop"],
    ):
        ended = recsys(*arguments, RECSYS_RETENTION_RUN_DAYS="3650")
        assert ended.returncode == 0, (arguments, ended.stderr)
    log = AuditLog(data_directory)
    lines = list(log.lines())
    user = log.user_hash("u1")
    assert [(line.action, line.user, line.subject, line.detail) for line in lines] == [
        ("key_create", None, "web", "recommend, 60 requests per minute, from 10.0.0.0/8"),
        ("key_rotate", None, "web", "overlap 12h"),
        ("key_revoke", None, "web", None),
        ("keys_disable", None, None, None),
        ("rollback", None, FIRST, None),
        ("anomalies", None, None, None),
        ("label", user, None, "bot"),
        ("release", user, None, "fine"),
        ("quarantine_retry", None, None, "table events"),
        ("ingest_undo", None, "1", None),
        ("consent", user, None, None),
        ("opt_out", user, None, None),
        ("opt_in", user, None, None),
        ("export", user, None, None),
        ("erase", user, None, "forever"),
        ("erase", log.user_hash("u2"), None, "forever"),
        ("retention", None, None, "run_days 3650"),
        ("stop", None, None, None),
    ]
    assert {(line.via, line.origin) for line in lines} == {("command", socket.gethostname())}
    assert lines[0].actor == (getpass.getuser() if os.getuid() else "root")
    assert recsys("audit", "verify").stdout == "18 lines are as they were written.\n"


def test_lines_are_found_by_time_action_and_user(recsys: Recsys, data_directory: Path) -> None:
    assert json.loads(recsys("audit", "show", "--user", "7", "--json").stdout) == []
    log = AuditLog(data_directory)
    for action, user_id in (("user", "7"), ("label", pseudonym(SECRET, "7")), ("label", "8"), ("publish", None)):
        log.add(Actor("http", "boss", "203.0.113.9", "r1"), action, user_id=user_id, subject="v[1]")

    def found(*arguments: str, **environment: str) -> list[int]:
        ended = recsys("audit", "show", "--json", *arguments, **environment)
        assert ended.returncode == 0, ended.stderr
        return [line["number"] for line in json.loads(ended.stdout)]

    assert found() == [1, 2, 3, 4]
    assert found("--user", "7") == [1]
    assert found("--user", "7", RECSYS_PSEUDONYM_KEY=SECRET) == [2]
    assert found("--user", pseudonym(SECRET, "7"), "--pseudonym") == [2]
    assert found("--action", "label", "-n", "1") == [3]
    assert found("--since", "2026-03-01") == [1, 2, 3, 4]
    assert found("--since", "2999-03-01T06:00+01:00") == []
    shown = recsys("audit", "show").stdout
    assert "203.0.113.9" in shown
    assert "v[1]" in shown
    wrong = recsys("audit", "show", "--since", "yesterday")
    assert (wrong.returncode, wrong.stderr) == (
        2,
        "recsys: --since = 'yesterday': expected a date or time such as 2026-03-01T06:00\n",
    )


def test_a_changed_line_is_one_line_with_its_number(recsys: Recsys, data_directory: Path) -> None:
    assert recsys("audit", "verify").stdout == "0 lines are as they were written.\n"
    for name in ("web", "app"):
        recsys("keys", "create", name, "--scope", "recommend")
    file = data_directory / "audit.jsonl"
    with file.open("a") as torn:
        torn.write('{"number"')
    assert "The last line is cut off" in recsys("audit", "verify").stdout
    recsys("keys", "revoke", "web")
    told = json.loads(recsys("audit", "verify", "--json").stdout)
    assert told == {"lines": 5, "repairs": [4], "torn": False}
    file.write_text(file.read_text().replace("key_revoke", "key_create"))
    ended = recsys("audit", "verify")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"recsys: {file}: line 5: it was changed\n"


def test_a_rotated_log_is_shown_and_verified_by_its_name(recsys: Recsys) -> None:
    assert recsys("audit", "rotate").stdout == "There is no audit log.\n"
    recsys("keys", "create", "web", "--scope", "recommend")
    name = recsys("audit", "rotate").stdout.strip()
    (line,) = json.loads(recsys("audit", "show", "--rotated", name, "--json").stdout)
    assert line["action"] == "key_create"
    assert recsys("audit", "verify", "--rotated", name).stdout == "1 line is as it was written.\n"
    (line,) = json.loads(recsys("audit", "show", "--json").stdout)
    assert (line["action"], line["subject"]) == ("audit_rotate", name)
    wrong = recsys("audit", "verify", "--rotated", "..")
    assert (wrong.returncode, wrong.stderr) == (2, f"recsys: --rotated = '..': expected one of {name}\n")
