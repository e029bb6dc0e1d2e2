"""A job in a process of its own: its memory goes back to the system, and its crash takes nobody along."""

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

EXIT_BUSY = 75  # exit status of a scheduled job that another process is doing; EX_TEMPFAIL of sysexits.h
POLL_SECONDS = 0.1


class Stop:
    """Whether this process was asked to stop."""

    requested = False


@contextmanager
def stop_on_signals() -> Generator[Stop]:
    """Only note SIGTERM and SIGINT, in a `Stop` that everybody looks at often; for the main thread."""
    stop = Stop()

    def note(*_: object) -> None:
        stop.requested = True

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Ended:
    """What became of a child process, and the line that says why."""

    outcome: AttemptOutcome
    error: str | None = None


def run_child(command: Sequence[str], stop: Stop, stop_seconds: float) -> Ended:
    """Run a command to its end, its standard error going to ours line by line.

    When `stop` is requested it gets SIGTERM, and `stop_seconds` later SIGKILL, with all the processes it started.
    """
    # Not a pipe: a child that outlives us still has somewhere to write to.
    with tempfile.TemporaryFile() as errors:
        lines = _Lines(errors)
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
        )
        stopped = _wait(process, lambda: stop.requested, lines.show)
        if stopped:
            _end(process, stop_seconds)
        lines.show(all_of_it=True)
        return _ended(process.returncode, stopped, lines.last)


class _Lines:
    """Shows the whole lines that a file grows by."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._shown = 0
        self.last = ""

    def show(self, all_of_it: bool = False) -> None:
        size = os.fstat(self._file.fileno()).st_size
        new = os.pread(self._file.fileno(), size - self._shown, self._shown)
        whole = new if all_of_it else new[: new.rfind(b"\n") + 1]
        if whole:
            self._shown += len(whole)
            text = whole.decode(errors="replace")
            sys.stderr.write(text if text.endswith("\n") else f"{text}\n")
            sys.stderr.flush()
            self.last = next((line for line in reversed(text.splitlines()) if line.strip()), self.last)


def _wait(process: subprocess.Popen[bytes], stopping: Callable[[], bool], meanwhile: Callable[[], None]) -> bool:
    """Wait until the process ends (False) or is to be stopped (True)."""
    while process.poll() is None:
        if stopping():
            return True
        meanwhile()
        time.sleep(POLL_SECONDS)
    return False


def _end(process: subprocess.Popen[bytes], patience_seconds: float) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(patience_seconds)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(status: int, stopped: bool, last_line: str) -> Ended:
    if status == 0:
        return Ended(AttemptOutcome.SUCCEEDED)
    error = last_line.removeprefix("recsys: ").strip()
    if stopped:
        return Ended(AttemptOutcome.INTERRUPTED, "the scheduler was told to stop")
    if status == EXIT_BUSY:
        return Ended(AttemptOutcome.SKIPPED, error)
    if status < 0:
        return Ended(AttemptOutcome.FAILED, f"its process was ended by {signal.Signals(-status).name}")
    return Ended(AttemptOutcome.FAILED, error or f"its process ended with status {status}")
