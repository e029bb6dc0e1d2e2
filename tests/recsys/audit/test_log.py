"""The audit log: what is noticed of a changed file, what a killed process leaves, and several processes at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.audit.chain import REPAIR, Action, Actor, AuditLine
from recsys.audit.log import AUDIT_FILE, HEAD_FILE, KEY_FILE, ROTATE, AuditLog
from recsys.errors import AuditError
from tests.waiting import wait_until

BOSS = Actor("http", "boss", "203.0.113.9", "r1")
Lines = list[bytes]


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log of five lines about users 0 to 4."""
    audit = AuditLog(tmp_path / "var")
    for number in range(5):
        audit.add(BOSS, "user", user_id=str(number))
    return audit


def rewrite(log: AuditLog, change: Callable[[Lines], Lines]) -> None:
    log.file.write_bytes(b"".join(change(log.file.read_bytes().splitlines(keepends=True))))


def test_a_line_says_who_did_what_from_where_and_names_no_user(log: AuditLog) -> None:
    log.add(Actor("command", "root", "host", "r2"), "label", user_id="customer-4711", detail="bot")
    line = json.loads(log.file.read_text().splitlines()[-1])
    assert {
        name: line[name] for name in ("number", "via", "actor", "origin", "request_id", "action", "detail")
    } == {
        "number": 6,
        "via": "command",
        "actor": "root",
        "origin": "host",
        "request_id": "r2",
        "action": "label",
        "detail": "bot",
    }
    assert line["user"] == log.user_hash("customer-4711")
    other = AuditLog(log.file.parent / "other")
    other.add(BOSS, "user", user_id="customer-4711")
    assert next(other.lines()).user != line["user"]  # a dictionary of ids is of no use without the key
    assert "4711" not in log.file.read_text()
    assert [file.stat().st_mode & 0o777 for file in (log.file, log.file.parent / KEY_FILE)] == [0o600] * 2
    assert log.verify().lines == 6


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: [*lines[:2], lines[2].replace(b"boss", b"base"), *lines[3:]], "line 3: it was changed"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[3:]], "line 3: it was changed"),
        (lambda lines: [*lines[:2], *lines[3:]], "line 3: 1 line is missing before it"),
        (lambda lines: lines[2:], "line 1: 2 lines are missing before it"),
        (lambda lines: [*lines[:2], lines[3], lines[2], lines[4]], "line 3: 1 line is missing before it"),
        (lambda lines: [*lines[:3], lines[1], *lines[3:]], "line 4: it was changed, added or moved"),
        (lambda lines: [*lines[:3], b"{}\n", *lines[3:]], "line 4: it was changed, added or moved"),
        (lambda lines: [*lines, b"{}\n"], "line 6: it was changed or added"),
        (lambda lines: lines[:3], "line 4: 2 lines are missing from here on"),
        (lambda _: [], "line 1: 5 lines are missing from here on"),
    ],
)
def test_a_changed_file_is_noticed_also_after_more_lines(
    log: AuditLog, change: Callable[[Lines], Lines], problem: str
) -> None:
    rewrite(log, change)
    with pytest.raises(AuditError, match=problem):
        log.verify()
    log.add(BOSS, "publish")
    if problem.startswith("line 6"):
        assert log.verify().repairs == (7,)
    else:
        with pytest.raises(AuditError, match=problem.split(":")[0]):
            log.verify()


def test_lines_of_one_log_are_no_lines_of_another(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other")
    for number in range(5):
        other.add(BOSS, "user", user_id=str(number))
    rewrite(log, lambda lines: [*lines[:4], other.file.read_bytes().splitlines(keepends=True)[4]])
    with pytest.raises(AuditError, match="line 5: it was changed"):
        log.verify()


@pytest.mark.parametrize(("file", "problem"), [(HEAD_FILE, "audit.head: it is missing"), (KEY_FILE, "audit.key")])
def test_a_file_beside_the_log_that_is_gone_is_noticed(log: AuditLog, file: str, problem: str) -> None:
    (log.file.parent / file).unlink()
    with pytest.raises(AuditError, match=problem):
        AuditLog(log.file.parent).verify()
    if file == KEY_FILE:
        with pytest.raises(AuditError, match=problem):
            AuditLog(log.file.parent).add(BOSS, "publish")
    else:
        log.add(BOSS, "publish")
        assert log.verify().repairs == (6,)


def test_a_head_of_somebody_without_the_key_hides_nothing(log: AuditLog) -> None:
    line = json.loads(log.file.read_bytes().splitlines()[2])
    rewrite(log, lambda lines: lines[:3])
    forged = {"number": 3, "size": log.file.stat().st_size, "hash": line["hash"], "seal": "0" * 64}
    (log.file.parent / HEAD_FILE).write_text(json.dumps(forged))
    with pytest.raises(AuditError, match="missing or was changed"):
        log.verify()


def test_a_line_that_a_kill_cut_off_is_kept_and_told(log: AuditLog) -> None:
    with log.file.open("ab") as file:
        file.write(b'{"number":6,"tim')
    assert (log.verify().lines, log.verify().is_torn) == (5, True)
    log.add(BOSS, "publish", subject="v1")
    lines = log.file.read_text().splitlines()
    assert lines[5] == '{"number":6,"tim'
    assert [(line.number, line.action) for line in log.lines()][5:] == [(7, REPAIR), (8, "publish")]
    assert log.verify().repairs == (7,)


def test_a_process_killed_between_line_and_head_leaves_no_fault(log: AuditLog) -> None:
    head = (log.file.parent / HEAD_FILE).read_bytes()
    log.add(BOSS, "publish")
    (log.file.parent / HEAD_FILE).write_bytes(head)
    assert log.verify().lines == 6
    log.add(BOSS, "publish")
    assert (log.verify().lines, log.verify().repairs) == (7, ())


def test_a_log_of_an_older_release_is_continued(tmp_path: Path) -> None:
    older = b'{"time":"2026-03-01T00:00:00+00:00","key":"boss","action":"user","subject":"0123456789abcdef"}\n'
    (tmp_path / AUDIT_FILE).write_bytes(2 * older)
    log = AuditLog(tmp_path)
    assert log.verify().lines == 2
    log.add(BOSS, "user", user_id="7")
    assert (log.verify().lines, log.verify().repairs) == (3, ())
    rewrite(log, lambda lines: [lines[0], lines[1].replace(b"boss", b"base"), lines[2]])
    with pytest.raises(AuditError, match="line 2: it was changed"):
        log.verify()


def test_processes_write_at_once_also_while_the_log_is_rotated(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from recsys.audit.chain import Actor
        from recsys.audit.log import AuditLog
        log = AuditLog(Path(sys.argv[1]))
        for number in range(100):
            log.add(Actor("http", sys.argv[2], "", ""), str(number))
    """
    writers = [subprocess.Popen([sys.executable, "-c", program, tmp_path, str(name)]) for name in range(3)]
    log = AuditLog(tmp_path)
    wait_until(log.file.exists)
    logs = [log.rotate(BOSS, name) for name in ("first", "second")]
    assert [writer.wait(60) for writer in writers] == [0] * 3
    lines: list[AuditLine] = []
    for each in (*logs, log):
        assert each is not None
        lines += each.lines()
        assert each.verify().repairs == ()
    assert [line.subject for line in lines if line.action == ROTATE] == ["first", "second"]
    for name in range(3):
        assert [line.action for line in lines if line.actor == str(name)] == [str(number) for number in range(100)]


def test_a_rotated_log_has_a_key_of_its_own_and_is_named_in_the_next(log: AuditLog) -> None:
    user = log.user_hash("1")
    old = log.rotate(BOSS, "old")
    assert old is not None
    assert (old.verify().lines, log.verify().lines) == (5, 1)
    assert old.user_hash("1") == user != log.user_hash("1")
    (line,) = log.lines()
    last = json.loads(old.file.read_text().splitlines()[-1])["hash"]
    assert line.detail == f"5 lines, the last with the hash {last}"
    with pytest.raises(AuditError, match="File exists"):
        log.rotate(BOSS, "old")
    assert log.verify().lines == 1
    assert AuditLog(log.file.parent / "empty").rotate(BOSS, "old") is None


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / AUDIT_FILE).mkdir()
    with pytest.raises(AuditError, match="cannot be written: Is a directory"):
        AuditLog(tmp_path).add(BOSS, "publish")
    full = AuditLog(tmp_path / "full")
    full.file.parent.mkdir()
    full.file.symlink_to("/dev/full")
    with pytest.raises(AuditError, match="No space left"):
        full.add(BOSS, "publish")


def test_lines_are_on_disk_together_before_anything_is_done(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed, fsync = list[bytes](), os.fsync

    def note(descriptor: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{descriptor}").resolve().read_bytes())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    log.add_all([Action(BOSS, "erase", f"user{number}") for number in range(100)])
    content, head = flushed
    assert content == log.file.read_bytes()
    assert json.loads(head)["number"] == 105
    assert (log.verify().lines, log.verify().repairs) == (105, ())


@pytest.mark.parametrize("key", [b"", b"\n", b"0123"])
def test_no_line_is_written_under_a_key_that_was_emptied(log: AuditLog, key: bytes) -> None:
    before = log.file.read_bytes()
    (log.file.parent / KEY_FILE).write_bytes(key)
    for use in (log.verify, lambda: log.add(BOSS, "publish")):
        with pytest.raises(AuditError, match="no key of an audit log; restore it"):
            use()
    assert log.file.read_bytes() == before
