"""What long work tells the person or the log that waits for it."""

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

log = structlog.get_logger(__name__)


class Progress(Protocol):
    """Takes news of one piece of work at a time."""

    def start(self, work: str, total: int | None = None) -> None:
        """Work has begun; `total` is how many units it has, where that is known."""

    def advance(self, units: int) -> None:
        """So many more units are done."""

    def done(self) -> None:
        """The work is finished."""


class LogProgress:
    """A line in the log for each piece of work: for cron, containers and pipes."""

    def start(self, work: str, total: int | None = None) -> None:
        """Note the time."""
        self._work, self._total, self._started = work, total, time.perf_counter()

    def advance(self, units: int) -> None:
        """Say nothing: only whole pieces of work are logged."""

    def done(self) -> None:
        """Log the work and its seconds."""
        log.info(self._work, seconds=round(time.perf_counter() - self._started, 2))


class BarProgress:
    """A bar on the terminal for each piece of work."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._task: TaskID | None = None

    def start(self, work: str, total: int | None = None) -> None:
        """Show a new bar."""
        self._task = self._bars.add_task(work, total=total)

    def advance(self, units: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._bars.advance(self._task, units)

    def done(self) -> None:
        """Leave the bar full."""
        if self._task is not None:
            total = self._bars.tasks[self._task].completed or 1
            self._bars.update(self._task, total=total, completed=total)


@contextmanager
def shown() -> Generator[Progress]:
    """Bars where standard error is a terminal, log lines where it is not."""
    if not sys.stderr.isatty():
        yield LogProgress()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield BarProgress(bars)
