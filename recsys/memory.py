"""How much memory this process may still take: what the machine has left, or its control group, if that is less."""

from pathlib import Path

from recsys.errors import ModelError

MEBIBYTE = 2**20
# A control group's limit, and what it has used of it, under its directory: version 2, then version 1.
LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available_bytes(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that can be taken before the machine or a limit on this process stops it.

    `proc` and `groups` are where Linux shows them; where a machine shows nothing, there is no end of it.
    """
    left = [_left_in_machine(proc / "meminfo")]
    for directory in _directories(proc / "self" / "cgroup", groups):
        for limit, used in LIMITS:
            left += _left_in_group(directory, limit, used)
    return max(0, min(left))


def require_bytes(what: str, needed: float, available: int | None = None) -> None:
    """Raise `ModelError`, with both numbers, when `what` needs more bytes than there are."""
    left = available_bytes() if available is None else available
    if needed > left:
        raise ModelError(
            f"{what} needs {needed / MEBIBYTE:,.0f} MB of memory; {left / MEBIBYTE:,.0f} MB are available"
        )


def _left_in_machine(path: Path) -> int:
    try:
        for line in path.read_text().splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    except OSError:
        pass
    return 2**63 - 1


def _directories(path: Path, groups: Path) -> list[Path]:
    """The directories of this process's memory group and of those it lies in, of both versions."""
    found: list[Path] = []
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root = groups / "memory" if controllers else groups
        place = Path(group.strip("/"))
        found += [root / parent for parent in (place, *place.parents)]
    return found


def _left_in_group(directory: Path, limit: str, used: str) -> list[int]:
    """What the limit of one group leaves; nothing where it has none."""
    try:
        most, taken = (directory / limit).read_text().strip(), (directory / used).read_text().strip()
    except OSError:
        return []
    return [] if most == "max" else [int(most) - int(taken) + _cache(directory)]


def _cache(directory: Path) -> int:
    """Bytes of files that the group holds in memory and gives up when it needs them."""
    try:
        lines = (directory / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.split()[0] == "inactive_file")
