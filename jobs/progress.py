"""Progress of long work: bars on a terminal, log lines elsewhere."""

import sys
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import structlog
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

log = structlog.get_logger(__name__)


class Task(Protocol):
    """One piece of work in progress."""

    def advance(self, units: int) -> None:
        """Count `units` more units as finished."""


class Progress(Protocol):
    """Shows pieces of work from their start to their end."""

    def task(self, description: str, total: int | None = None) -> AbstractContextManager[Task]:
        """Show a piece of work while the context is open; `total` is its number of units, None if unknown."""
        ...


class SilentTask:
    """A task that shows nothing until it is finished."""

    def advance(self, units: int) -> None:
        """Show nothing."""


class LogProgress:
    """Logs one line for each finished piece of work: for cron, containers and pipes."""

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Generator[Task]:  # noqa: ARG002 bars need it
        """Log the description and the seconds that the work took, unless it fails."""
        started = time.perf_counter()
        yield SilentTask()
        log.info(description, seconds=round(time.perf_counter() - started, 2))


class BarProgress:
    """Shows a bar on the terminal for each piece of work."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars

    @contextmanager
    def task(self, description: str, total: int | None = None) -> Generator[Task]:
        """Show a bar that is full at the end, unless the work fails."""
        task_id = self._bars.add_task(description, total=total)
        yield _Bar(self._bars, task_id)
        completed = self._bars.tasks[task_id].completed or 1
        self._bars.update(task_id, total=completed, completed=completed)


class _Bar:
    """The task of `BarProgress`."""

    def __init__(self, bars: Bars, task_id: TaskID) -> None:
        self._bars = bars
        self._task_id = task_id

    def advance(self, units: int) -> None:
        """Move the bar."""
        self._bars.advance(self._task_id, units)


@contextmanager
def show_progress() -> Generator[Progress]:
    """Show bars if standard error is a terminal, log lines otherwise."""
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
