"""Lines of the audit log that come at once."""

import asyncio
from pathlib import Path

import pytest

from recsys.audit.chain import Action, Actor
from recsys.audit.log import KEY_FILE, AuditLog
from recsys.errors import AuditError
from serving.http.audit_writer import AuditWriter
from tests.waiting import until

ACTOR = Actor("http", "boss", "203.0.113.9", "r1")


def test_lines_that_come_at_once_are_written_together_and_none_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, writes = AuditLog(tmp_path), list[int]()
    add_all = log.add_all

    def note(actions: list[Action]) -> None:
        writes.append(len(actions))
        add_all(actions)

    monkeypatch.setattr(log, "add_all", note)

    async def add() -> None:
        writer = AuditWriter(log)
        await asyncio.gather(*(writer.add(Action(ACTOR, "item", subject=str(number))) for number in range(50)))
        waiting = asyncio.create_task(writer.add(Action(ACTOR, "item", subject="50")))
        await asyncio.sleep(0)
        waiting.cancel()  # the client is gone: the line is written all the same
        await until(lambda: has_lines(51))

    async def has_lines(count: int) -> bool:
        return len(list(log.lines())) == count

    asyncio.run(add())
    assert sorted(int(line.subject or "") for line in log.lines()) == list(range(51))
    assert log.verify().lines == sum(writes) == 51
    assert len(writes) <= 3


def test_each_request_learns_that_its_line_is_not_written(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.add(ACTOR, "item")
    (tmp_path / KEY_FILE).unlink()

    async def add() -> list[BaseException | None]:
        writer = AuditWriter(log)
        return await asyncio.gather(*(writer.add(Action(ACTOR, "item")) for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in asyncio.run(add())] == [AuditError] * 3
