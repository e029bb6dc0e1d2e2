"""Source files: find them by path, directory or glob, and match them with the tables that read them."""

import glob
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import takewhile
from pathlib import Path, PurePath

from jobs.ingest.formats.registry import EXPECTED, FORMATS, format_of
from jobs.ingest.formats.zip_archive import SUFFIX
from recsys.contract import Events, Identities, Items, Users
from recsys.errors import SourceError
from recsys.schema import EVENT, GUEST_ID, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Kind, Sources, Table

SCHEMAS: dict[Kind, type[Events] | type[Items] | type[Users] | type[Identities]] = {
    "events": Events,
    "items": Items,
    "users": Users,
    "identities": Identities,
}
REQUIRED = {
    "events": (USER_ID, ITEM_ID, EVENT, TIMESTAMP),
    "items": (ITEM_ID,),
    "users": (USER_ID,),
    "identities": (GUEST_ID, USER_ID, TIMESTAMP),
}

SUCCESS = "_SUCCESS"  # a program writes this file when all others in the directory are whole
INCOMPLETE = ("*.part", "*.partial", "*.tmp", "*.crdownload", "*.download", "~$*", ".~lock*")
ARCHIVES = (".rar", ".7z", ".tar", ".tar.gz", ".tgz")
MANIFESTS = ("manifest.json", "*.manifest")
NO_TABLE = "no table reads a file of this name"


@dataclass(frozen=True)
class SkippedFile:
    """A file that an ingest found and did not read, with the reason."""

    file: str
    reason: str


@dataclass(frozen=True)
class FoundFile:
    """A file as it was when it was found."""

    path: Path
    size: int
    modified_ns: int

    @property
    def name(self) -> str:
        """Return the name, which is matched with tables."""
        return self.path.name

    @property
    def display_name(self) -> str:
        """Return the name for messages."""
        return str(self.path)

    def check_unchanged(self) -> None:
        """Raise `SourceError` when the file has changed since it was found."""
        try:
            status = self.path.stat()
        except OSError:
            raise SourceError(f"{self.path}: the file was removed while it was read") from None
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise SourceError(
                f"{self.path}: the file changed while it was read ({self.size} bytes, then {status.st_size}); "
                "read it once it is complete"
            )


def find_files(
    paths: Iterable[str], require_success: bool = False, lakes: Collection[Path] = ()
) -> tuple[list[FoundFile], list[SkippedFile]]:
    """Return every readable file under the given files, directories and globs, and the files that are skipped.

    Both are sorted and without duplicates. With `require_success`, files of a directory without a file `_SUCCESS`
    are skipped. Files of lakes, by their directories, are no sources. Raises `SourceError` for a path
    without a readable file, or a directory that cannot be listed.
    """
    files: set[Path] = set()
    skipped: dict[Path, str] = {}
    for path in paths:
        found, reasons = _expand(path, require_success, lakes)
        files |= set(found)
        skipped |= reasons
    found_files = [FoundFile(file, *_state(file)) for file in sorted(files)]
    return found_files, [SkippedFile(_printable(file), skipped[file]) for file in sorted(skipped.keys() - files)]


def skip_reason(file: PurePath, root: PurePath, has_marker: Callable[[PurePath], bool] | None) -> str | None:
    """Return why a file that was found under `root` is not read; None if it is.

    `has_marker` returns whether a directory has a file `_SUCCESS`; None if files need none.
    """
    if any(fnmatch(file.name, pattern) for pattern in INCOMPLETE):
        return name_problem(file.name)
    if not _is_utf_8(str(file.parent)):
        return "the name of its directory is not UTF-8"
    hidden = next((part for part in file.relative_to(root).parts if part.startswith(".")), None)
    if hidden is not None:
        return "it is hidden" if hidden == file.name else f"its directory {hidden} is hidden"
    folders = [folder for folder in file.parents if folder.is_relative_to(root)]
    if has_marker is not None and not any(map(has_marker, folders)):
        return name_problem(file.name) or f"its directory has no file {SUCCESS}"
    return name_problem(file.name)


def name_problem(name: str) -> str | None:
    """Return why a file of this name cannot be read; None if it can."""
    if not _is_utf_8(name):
        return "its name is not UTF-8"
    if any(fnmatch(name, pattern) for pattern in INCOMPLETE):
        return "it is still being written, by its name"
    if is_manifest(name):
        return "a manifest is read when it is named as a source"
    if format_of(name) is not None or name.lower().endswith(SUFFIX):
        return None
    if name.lower().endswith(ARCHIVES):
        return "archives are not read; extract its files"
    return f"unknown format; expected one of {EXPECTED}"


def no_file_error(path: str, skipped: Mapping[Path, str] | Mapping[str, str]) -> SourceError:
    """Return the error for a path under which every file is skipped, or that has none."""
    example = next((f"; {Path(str(file)).name}: {reason}" for file, reason in skipped.items()), "")
    return SourceError(f"{path}: no {', '.join(FORMATS)} file found{example}")


def check_format(path: str, name: str) -> None:
    """Raise `SourceError` with the path when a file of this name cannot be read."""
    problem = name_problem(name)
    if problem is not None:
        raise SourceError(f"{path}: {problem}")


def is_manifest(name: str) -> bool:
    """Return whether a file of this name lists the files of a source."""
    return any(fnmatch(name.lower(), pattern) for pattern in MANIFESTS)


def absolute_path(file: Path) -> Path:
    """Return the absolute path of a file; a link keeps its own name, by which tables are matched."""
    return file.parent.resolve() / file.name


def matching_tables(name: str, sources: Sources) -> list[Table]:
    """Return the tables that read a file of this name; without tables, files have the contract's own columns."""
    return [table for table in sources.file_tables or contract_tables() if fnmatch(name, table.files)]


def contract_tables() -> list[Table]:
    """Return the tables that read files if the settings have none: by the contract's own column names."""
    return [
        Table(kind, kind, f"{kind}*", {name: name for name in schema.column_names()})
        for kind, schema in SCHEMAS.items()
    ]


def _expand(path: str, require_success: bool, lakes: Collection[Path]) -> tuple[list[Path], dict[Path, str]]:
    if not path.strip():
        raise SourceError("a source is empty; expected a file, a directory or a glob")
    location = Path(path)
    if location.is_file():
        check_format(path, location.name)
        return [absolute_path(location)], {}
    root = location if location.is_dir() else _fixed_part(location)
    found = _walk(location) if location.is_dir() else map(Path, glob.glob(path, recursive=True))  # noqa: PTH207
    has_marker = _has_marker if require_success else None
    files: list[Path] = []
    skipped: dict[Path, str] = {}
    for file in found:
        is_directory = file.is_dir() and not file.is_symlink()
        if is_directory or any(absolute_path(file).is_relative_to(lake) for lake in lakes):
            continue
        reason = skip_reason(file, root, has_marker) if file.is_file() else "it is not a regular file"
        if reason is None:
            files.append(absolute_path(file))
        elif file.name != SUCCESS:
            skipped[absolute_path(file)] = reason
    if not files:
        raise no_file_error(path, skipped)
    return files, skipped


def _walk(directory: Path) -> Iterator[Path]:
    """Yield every file under a directory, and every link to a directory, which is not followed."""

    def stop(error: OSError) -> None:
        raise SourceError(f"{error.filename}: the directory cannot be listed: {error.strerror}")

    for folder, directories, names in os.walk(directory, onerror=stop):
        links = [name for name in directories if (Path(folder) / name).is_symlink()]
        yield from (Path(folder) / name for name in [*names, *links])


def _is_utf_8(name: str) -> bool:
    """Return whether the bytes of a name are UTF-8; Python has surrogates for those that are not."""
    return _printable(name) == name


def _printable(name: str | Path) -> str:
    return str(name).encode(errors="replace").decode()


def _fixed_part(pattern: Path) -> Path:
    """Return the directories of a glob before its first wildcard."""
    parts = list(takewhile(lambda part: not glob.has_magic(part), pattern.parts[:-1]))
    return Path(*parts)


def _has_marker(directory: PurePath) -> bool:
    return (Path(directory) / SUCCESS).is_file()


def _state(file: Path) -> tuple[int, int]:
    """Return the size in bytes and the time of the last change in nanoseconds."""
    try:
        status = file.stat()
    except OSError as error:
        raise SourceError(f"{file}: the file went while sources were listed: {error.strerror}") from None
    return status.st_size, status.st_mtime_ns
