"""A process watched from outside: its seconds, and the most memory it had."""

import os
import resource
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Watched:
    """What a process took; `failed` says why it did not end well."""

    seconds: float
    cpu_seconds: float  # of all its threads: hardly more on a busy machine than on an idle one
    peak_bytes: int
    failed: str | None = None


def watch(
    command: list[str],
    environment: dict[str, str] | None = None,
    most_bytes: int | None = None,
    most_seconds: float | None = None,
) -> Watched:
    """Run a command to its end, or until it has more than `most_bytes` in memory or has run for `most_seconds`."""
    started, cpu_before = time.perf_counter(), _cpu_of_children()
    peak, failed = 0, None
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _resident_bytes(process.pid))
            if most_bytes is not None and peak > most_bytes and failed is None:
                failed = f"out of memory at {most_bytes / 2**30:.3g} GB"
                process.kill()
            if most_seconds is not None and time.perf_counter() - started > most_seconds and failed is None:
                failed = f"not done after {most_seconds:g} seconds"
                process.kill()
            time.sleep(SAMPLE_SECONDS)
    if process.returncode and failed is None:
        failed = f"ended with status {process.returncode}"
    return Watched(time.perf_counter() - started, _cpu_of_children() - cpu_before, peak, failed)


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _resident_bytes(process_id: int) -> int:
    """What a process has in memory now; 0 when it has ended."""
    try:
        resident_pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")
