"""Lines of the audit log of a worker: those that come while others are written go to the disk together."""

import asyncio
from dataclasses import dataclass, field

from recsys.audit.chain import Action
from recsys.audit.log import AuditLog


@dataclass
class _Batch:
    """Actions that are written together."""

    actions: list[Action] = field(default_factory=list[Action])
    written: asyncio.Task[None] | None = None


class AuditWriter:
    """Adds lines to the audit log, in a thread: another process may be writing to it, and a disk takes its time."""

    def __init__(self, log: AuditLog) -> None:
        self._log, self._turn = log, asyncio.Lock()
        self._next: _Batch | None = None

    async def add(self, action: Action) -> None:
        """Add a line, and wait until it is on disk; raises `AuditError` if it cannot be written."""
        if self._next is None:
            self._next = _Batch()
            self._next.written = asyncio.create_task(self._write(self._next))
        batch = self._next
        batch.actions.append(action)
        assert batch.written is not None
        await asyncio.shield(batch.written)

    async def _write(self, batch: _Batch) -> None:
        async with self._turn:
            self._next = None
            await asyncio.to_thread(self._log.add_all, batch.actions)
