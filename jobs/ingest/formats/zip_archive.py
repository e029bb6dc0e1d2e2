"""Zip archives of source files. A member is copied to disk before it is read, one at a time."""

import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recsys.errors import SourceError

SUFFIX = ".zip"
MAX_MEMBER_BYTES = 64 * 2**30
BLOCK_BYTES = 2**20
ENCRYPTED = 0x1  # bit of a member's flags
FOLDER_OF_MACOS = "__MACOSX"
ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, UnicodeError)


@dataclass(frozen=True)
class ZipMember:
    """A file in an archive; `display_name` is the path of the archive and that of the member in it."""

    archive: Path
    member: str
    check_unchanged: Callable[[], None]
    """Raises `SourceError` when the archive has changed since it was found."""

    @property
    def name(self) -> str:
        """Return the name, which is matched with tables."""
        return PurePosixPath(self.member).name

    @property
    def display_name(self) -> str:
        """Return the name for messages."""
        return f"{self.archive}/{self.member}"

    def version(self) -> str:
        """Return an empty text: a member is known by its content only."""
        return ""

    def fetch(self, directory: Path) -> Path:
        """Copy the member into a directory; raises `SourceError` if it cannot be read or is too large."""
        directory.mkdir(parents=True, exist_ok=True)
        copy = directory / self.name
        size = 0
        try:
            with (
                zipfile.ZipFile(self.archive) as archive,
                archive.open(self.member) as read,
                copy.open("wb") as write,
            ):
                while block := read.read(BLOCK_BYTES):
                    size += len(block)
                    if size > MAX_MEMBER_BYTES:
                        raise SourceError(
                            f"{self.display_name}: it has more than {MAX_MEMBER_BYTES >> 30} GiB; extract it"
                        )
                    write.write(block)
        except (*ERRORS, KeyError) as error:
            raise SourceError(f"{self.display_name}: cannot be read as zip: {error}") from None
        self.check_unchanged()
        return copy


def list_members(
    archive: Path, check_unchanged: Callable[[], None], problem: Callable[[str], str | None]
) -> tuple[list[ZipMember], dict[str, str]]:
    """Return the members of an archive that can be read, and the display names of the others with the reasons.

    `problem` returns why a file of some name cannot be read. Raises `SourceError` if the archive cannot be read.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            infos = [info for info in opened.infolist() if not info.is_dir()]
    except ERRORS as error:
        raise SourceError(f"{archive}: cannot be read as zip: {error}") from None
    members: list[ZipMember] = []
    skipped: dict[str, str] = {}
    for info in infos:
        member = ZipMember(archive, info.filename, check_unchanged)
        reason = _problem(info, problem)
        if reason is None:
            members.append(member)
        else:
            skipped[member.display_name] = reason
    return members, skipped


def _problem(info: zipfile.ZipInfo, problem: Callable[[str], str | None]) -> str | None:
    path = PurePosixPath(info.filename)
    if path.parts[0] == FOLDER_OF_MACOS or any(part.startswith(".") for part in path.parts):
        return "it is hidden"
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted"
    if path.name.lower().endswith(SUFFIX):
        return "an archive in an archive is not read"
    return problem(path.name)
