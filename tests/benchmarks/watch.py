"""A process watched from outside: seconds, and the most memory it had."""

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05


@dataclass(frozen=True)
class Watched:
    """What a process took; `failed` says why it did not end well."""

    seconds: float
    peak_bytes: int
    failed: str | None = None


def watch(command: list[str], environment: dict[str, str] | None = None, most_bytes: int | None = None) -> Watched:
    """Run a command to its end, or until it has more than `most_bytes` in memory."""
    started = time.perf_counter()
    peak, failed = 0, None
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, _resident_bytes(process.pid))
            if most_bytes is not None and peak > most_bytes and failed is None:
                failed = f"out of memory at {most_bytes / 2**30:.0f} GB"
                process.kill()
            time.sleep(SAMPLE_SECONDS)
    if process.returncode and failed is None:
        failed = f"ended with status {process.returncode}"
    return Watched(time.perf_counter() - started, peak, failed)


def _resident_bytes(process_id: int) -> int:
    """What a process has in memory now; 0 when it has ended."""
    try:
        resident_pages = Path(f"/proc/{process_id}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(resident_pages) * os.sysconf("SC_PAGE_SIZE")
