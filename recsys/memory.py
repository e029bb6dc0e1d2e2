"""Memory available to this process: that of the machine, or of its control group if that is less."""

from pathlib import Path

from recsys.errors import ModelError

MEBIBYTE = 2**20
# Files of a control group with its limit and its usage: version 2, then version 1.
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes that this process can allocate before the machine or a limit stops it.

    `proc` and `groups` are the directories where Linux reports them; without any report there is no limit.
    """
    available = [_read_machine(proc / "meminfo")]
    for directory in _directories(proc / "self" / "cgroup", groups):
        for limit, used in LIMITS:
            available += _read_group(directory, limit, used)
    return max(0, min(available))


def require_bytes(subject: str, needed: float, available: int | None = None) -> None:
    """Raise `ModelError`, with both numbers, if `subject` needs more bytes than are available."""
    available = available_bytes() if available is None else available
    if needed > available:
        raise ModelError(
            f"{subject} needs {needed / MEBIBYTE:,.0f} MB of memory; {available / MEBIBYTE:,.0f} MB are available"
        )


def _read_machine(path: Path) -> int:
    try:
        for line in path.read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    except OSError:
        pass
    return 2**63 - 1


def _directories(path: Path, groups: Path) -> list[Path]:
    """Return the directories of this process's memory group and of its parents, of both versions."""
    directories: list[Path] = []
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return directories
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = groups / "memory" if controllers else groups
        place = Path(group.strip("/"))
        directories += [root / parent for parent in (place, *place.parents)]
    return directories


def _read_group(directory: Path, limit: str, used: str) -> list[int]:
    """Return the bytes that the limit of one group leaves, as a list that is empty without a limit."""
    try:
        maximum, usage = (directory / limit).read_text().strip(), (directory / used).read_text().strip()
    except OSError:
        return []
    return [] if maximum == "max" else [int(maximum) - int(usage) + _cache(directory)]


def _cache(directory: Path) -> int:
    """Return the bytes of cached files, which the group releases when it needs memory."""
    try:
        lines = (directory / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")
