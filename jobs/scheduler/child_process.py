"""Run a job in a child process, so that its memory is freed and its crash does not end the scheduler."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from jobs.scheduler.history import AttemptOutcome

EXIT_BUSY = 75  # exit status if another process is running the job; EX_TEMPFAIL in sysexits.h
POLL_SECONDS = 0.1


class Stop:
    """A request to this process to stop."""

    requested = False


@contextmanager
def stop_on_signals() -> Generator[Stop]:
    """Record SIGTERM and SIGINT in a `Stop`, which the caller polls, instead of ending; main thread only."""
    stop = Stop()

    def request_stop(*_: object) -> None:
        stop.requested = True

    previous = {number: signal.signal(number, request_stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class ChildResult:
    """The outcome of a child process, and the reason from the last line of its error output."""

    outcome: AttemptOutcome
    error: str | None = None


def run_child(command: Sequence[str], stop: Stop, stop_seconds: float) -> ChildResult:
    """Run a command to its end, and copy its standard error to this process's, line by line.

    When `stop` is requested, the child is sent SIGTERM; `stop_seconds` later it and all processes that it started
    are sent SIGKILL.
    """
    # A file, not a pipe: a child that outlives this process can still write to it.
    with tempfile.TemporaryFile() as errors:
        lines = _LineCopier(errors)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        stopped = _wait(process, lambda: stop.requested, lines.copy_new)
        if stopped:
            _terminate(process, stop_seconds)
        lines.copy_new(include_unfinished=True)
        return _result(process.returncode, stopped, lines.last)


class _LineCopier:
    """A copier of the lines that are added to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._copied = 0
        self.last = ""

    def copy_new(self, include_unfinished: bool = False) -> None:
        """Copy the lines added since the last call to standard error."""
        size = os.fstat(self._file.fileno()).st_size
        new = os.pread(self._file.fileno(), size - self._copied, self._copied)
        whole = new if include_unfinished else new[: new.rfind(b"\n") + 1]
        if whole:
            self._copied += len(whole)
            text = whole.decode(errors="replace")
            sys.stderr.write(text if text.endswith("\n") else f"{text}\n")
            sys.stderr.flush()
            self.last = next((line for line in reversed(text.splitlines()) if line.strip()), self.last)


def _wait(
    process: subprocess.Popen[bytes], stop_requested: Callable[[], bool], meanwhile: Callable[[], None]
) -> bool:
    """Wait until the process ends, and return False; return True as soon as a stop is requested."""
    while process.poll() is None:
        if stop_requested():
            return True
        meanwhile()
        time.sleep(POLL_SECONDS)
    return False


def _terminate(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(status: int, stopped: bool, last_line: str) -> ChildResult:
    if status == 0:
        return ChildResult(AttemptOutcome.SUCCEEDED)
    error = last_line.removeprefix("recsys: ").strip()
    if stopped:
        return ChildResult(AttemptOutcome.INTERRUPTED, "the scheduler was stopped")
    if status == EXIT_BUSY:
        return ChildResult(AttemptOutcome.SKIPPED, error)
    if status < 0:
        return ChildResult(AttemptOutcome.FAILED, f"its process was ended by {signal.Signals(-status).name}")
    return ChildResult(AttemptOutcome.FAILED, error or f"its process ended with status {status}")
