"""The files in quarantine as they were before each ingest that changed them, so that it can be undone."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from recsys.files import atomic_write, link_or_copy

QUARANTINE: Final = "quarantine"
ABSENT_SUFFIX: Final = ".absent"  # stands for a file that was not there


def keep_quarantine(directory: Path, ingest: int, files: Iterable[Path]) -> None:
    """Keep some files in the quarantine of a lake as they are before an ingest, unless they were kept already."""
    kept = _kept_directory(directory, ingest)
    for file in files:
        copy, absent = kept / file.name, _absent(kept / file.name)
        if copy.exists() or absent.exists():
            continue
        if file.exists():
            _replace(copy, file)
        else:
            absent.parent.mkdir(parents=True, exist_ok=True)
            absent.touch()


def restore_quarantine(directory: Path, ingest: int, stem: str) -> bool:
    """Undo what an ingest changed of the files in quarantine whose names start with `stem`.

    A file that a later ingest changed again stays; what undoing that ingest restores is changed instead. Returns
    whether the ingest kept files.
    """
    kept = list(_kept_directory(directory, ingest).glob(f"{stem}*"))
    for before in kept:
        name = before.name.removesuffix(ABSENT_SUFFIX)
        later = next((file for file in _kept_later(directory, ingest, name)), None)
        if later is None:
            _restore(directory / QUARANTINE / name, before)
            continue
        copy, absent = later.with_name(name), _absent(later.with_name(name))
        if before.name == name:
            _replace(copy, before)
            absent.unlink(missing_ok=True)
        else:
            absent.touch()
            copy.unlink(missing_ok=True)
    return bool(kept)


def _restore(file: Path, before: Path) -> None:
    if before.name == file.name:
        _replace(file, before)
    else:
        file.unlink(missing_ok=True)


def _kept_later(directory: Path, ingest: int, name: str) -> Iterator[Path]:
    """Yield what the ingests after one that were not undone kept of a file, the first one first."""
    numbers = sorted(int(folder.name) for folder in (directory / "undo").glob("[0-9]*"))
    for number in numbers:
        copy = _kept_directory(directory, number) / name
        if number > ingest and not (directory / "ingests" / f"{number:06d}.undone.json").exists():
            yield from (file for file in (copy, _absent(copy)) if file.exists())


def _kept_directory(directory: Path, ingest: int) -> Path:
    return directory / "undo" / str(ingest) / QUARANTINE


def _absent(file: Path) -> Path:
    return file.with_name(f"{file.name}{ABSENT_SUFFIX}")


def _replace(file: Path, source: Path) -> None:
    with atomic_write(file) as temporary:
        link_or_copy(source, temporary)
