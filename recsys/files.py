"""Atomic writes, JSON files, and fingerprints of files."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from recsys.errors import StateError

PARTIAL_SUFFIX = ".partial"
RESTORE = "restore it from a backup"
T = TypeVar("T")


@contextmanager
def atomic_write(path: Path) -> Generator[Path]:
    """Yield a temporary path for a file or directory, which replaces `path` unless an error is raised.

    A file does not replace a directory: `IsADirectoryError`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL_SUFFIX}")
    _remove(temporary)
    try:
        yield temporary
        if path.is_dir() and temporary.is_dir():
            _remove(path)
        temporary.replace(path)
    finally:
        _remove(temporary)


def remove_partial(directory: Path) -> None:
    """Remove temporary files of killed processes under `directory`, where no other process may be writing."""
    for path in list(directory.rglob(f".*{PARTIAL_SUFFIX}")):
        _remove(path)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Link a file, or copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def copy_times(source: Path, target: Path) -> None:
    """Give a file the times of another one, in whose place it comes: retention counts from them."""
    times = source.stat()
    os.utime(target, ns=(times.st_atime_ns, times.st_mtime_ns))


def flush(files: Iterable[Path]) -> None:
    """Wait until files and their directory entries are on disk (fsync)."""
    paths = set(files)
    for path in paths | {file.parent for file in paths}:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically as JSON with sorted keys."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n", encoding="utf-8")


def read_json(path: Path, advice: str = RESTORE) -> Any:
    """Return the value in a JSON file; raises `StateError` with the advice on what to do with a damaged one."""
    try:
        text = path.read_text(encoding="utf-8")
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = f"it is no JSON: {error}" if path.stat().st_size else "it is empty"
        raise StateError(f"{path}: {reason}; {advice}") from None


def load_json(path: Path, parse: Callable[[Any], T], advice: str = RESTORE) -> T:
    """Return what a JSON file holds, parsed; raises `StateError` as `read_json`, and for other values."""
    value = read_json(path, advice)
    try:
        return parse(value)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise StateError(f"{path}: it lacks what it should hold; {advice}") from None


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of the content of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
