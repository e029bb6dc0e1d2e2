"""The audit log: who did what, when and from where, in a file in which a changed or removed line is noticed.

Each line is a JSON object with the hash of the line before it and its own, an HMAC-SHA256 with a key that lies beside
the log. A head file names the newest line, so that its removal is noticed. Several processes may append at once.
"""

import fcntl
import hmac
import os
import secrets
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct, structs

from recsys.errors import AuditError
from recsys.files import RESTORE, atomic_write

AUDIT_FILE: Final = "audit.jsonl"
KEY_FILE: Final = "audit.key"
HEAD_FILE: Final = "audit.head"
REPAIR: Final = "audit_repair"
"""The action of a line that tells of a fault of the file, found when something was added to it."""
KEY_BYTES: Final = 32
USER_HASH_LENGTH: Final = 32
MAX_FAULTS: Final = 10
"""Faults of the file that are told at once."""
LOCK_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 0.002
_HASH: Final = b',"hash":"'
_END: Final = b'"}'


@dataclass(frozen=True)
class Actor:
    """Who acts: the name of an API key, or a user of the operating system, and where the request comes from."""

    via: Literal["http", "command"]
    name: str | None
    """None for a request to a server without API keys."""
    origin: str
    """The address of the peer, or the name of the host on which a command runs."""
    request_id: str


class AuditLine(Struct, frozen=True, omit_defaults=True):
    """A line of the log, without its own hash."""

    number: int
    """Number of the line, from 1."""
    time: datetime
    via: str
    actor: str | None
    origin: str
    request_id: str
    action: str
    previous: str
    """Hash of the line before."""
    user: str | None = None
    """Keyed hash of the user whom the action is about."""
    subject: str | None = None
    """What else it is about: an item, the name of an API key, a version, the number of an ingest."""
    detail: str | None = None


class _Head(Struct, frozen=True):
    """The newest line, and the size of the file with it."""

    number: int
    size: int
    hash: str
    seal: str = ""
    """Keyed hash of the other fields."""


@dataclass
class _Chain:
    """Follows the lines of a log: the number and hash of the last, and what is wrong with them."""

    key: bytes
    number: int = 0
    hash: str = ""
    has_hashes: bool = False
    """Whether a line had a hash; those of older releases have none."""
    is_unchained: bool = False
    """Whether the last line has no hash."""
    repairs: list[int] = field(default_factory=list[int])
    """Numbers of the lines that tell of a fault."""

    def follow(self, raw: bytes) -> str | None:
        """Take in the next line; return what is wrong with it or the line before, None if nothing is."""
        body, separator, ending = raw.rpartition(_HASH)
        number, previous, after_unchained = self.number + 1, self.hash, self.is_unchained
        self.number, self.is_unchained = number, not (separator and ending.endswith(_END))
        if self.is_unchained:
            self.hash = _digest(self.key, "text", previous.encode() + raw)
            return None
        self.has_hashes, self.hash = True, ending.removesuffix(_END).decode("latin-1")
        if not hmac.compare_digest(_digest(self.key, "line", body).encode(), self.hash.encode()):
            return f"line {number}: it was changed"
        line = msgspec.json.decode(body + b"}", type=AuditLine)
        self.number = line.number
        if line.action == REPAIR:
            self.repairs.append(line.number)
        if line.number > number:
            return f"line {number}: {_missing(line.number - number)} before it"
        if line.number < number or line.previous != previous:
            return f"line {number - after_unchained}: it was changed, added or moved"
        return None


@dataclass(frozen=True)
class Verified:
    """A log in which no line was changed or removed."""

    lines: int = 0
    repairs: tuple[int, ...] = ()
    """Numbers of the lines that tell of a fault of the file."""
    is_torn: bool = False
    """Whether the last line is cut off; the next line that is added tells so."""


class AuditLog:
    """The audit log of a data directory; each method raises `AuditError` if the files cannot be used."""

    def __init__(self, directory: Path) -> None:
        """Create it, without touching the files in the data directory."""
        self.file, self._key_file = directory / AUDIT_FILE, directory / KEY_FILE
        self._head_file = directory / HEAD_FILE
        self._key: bytes | None = None

    def add(
        self,
        actor: Actor,
        action: str,
        *,
        user_id: str | None = None,
        subject: str | None = None,
        detail: str | None = None,
    ) -> None:
        """Append one line, and before it one for each fault of the file that is found now.

        `user_id` is the id under which the user is stored; the line has its keyed hash. Waits for other processes
        that append, at most `LOCK_SECONDS`.
        """
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
                chain, faults = self._find_end(os.fstat(descriptor).st_size)
                user = None if user_id is None else self.user_hash(user_id)
                lines = [_encode(chain, actor, REPAIR, None, None, fault) for fault in faults]
                lines.append(_encode(chain, actor, action, user, subject, detail))
                size = _append(descriptor, b"".join(lines))
                self._write_head(_Head(chain.number, size, chain.hash))
        except OSError as error:
            raise AuditError(f"{self.file}: cannot be written: {error.strerror or error}") from None

    def lines(self) -> Iterator[AuditLine]:
        """Yield the lines, oldest first, without those that have no hash."""
        for raw in self._raw_lines() if self.file.exists() else ():
            try:
                yield msgspec.json.decode(raw, type=AuditLine)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue

    def verify(self) -> Verified:
        """Follow the log from its first line to the newest, which may be added to meanwhile.

        Raises `AuditError` with the number of the first line that was changed, added, moved or removed.
        """
        if not self.file.exists():
            if self._head_file.exists():
                raise AuditError(f"{self.file}: it is missing; {RESTORE}")
            return Verified()
        with self._locked(os.O_RDONLY) as descriptor:
            size, head = os.fstat(descriptor).st_size, self._read_head()
        if head is None:
            if self._key_file.exists():
                raise AuditError(f"{self._head_file}: it is missing or was changed; {RESTORE}")
            return self._count_older(size)
        chain, raw = _Chain(self._read_key()), b"\n"
        for raw in self._raw_lines(0, size):
            problem = chain.follow(raw.removesuffix(b"\n"))
            if problem is None and chain.number == head.number and chain.hash != head.hash:
                problem = f"line {chain.number}: it was changed"
            if problem is not None:
                raise AuditError(f"{self.file}: {problem}")
        is_torn = chain.is_unchained and not raw.endswith(b"\n")
        if chain.number < head.number:
            raise AuditError(
                f"{self.file}: line {chain.number + 1}: {_missing(head.number - chain.number)} from here on"
            )
        if chain.is_unchained and not is_torn:
            raise AuditError(f"{self.file}: line {chain.number}: it was changed or added")
        return Verified(chain.number - is_torn, tuple(chain.repairs), is_torn)

    def _count_older(self, size: int) -> Verified:
        """Return the number of lines of a log that an older release wrote, without hashes."""
        count = 0
        for raw in self._raw_lines(0, size):
            if _HASH in raw:
                raise AuditError(f"{self._key_file}: it is missing; {RESTORE}")
            count += 1
        return Verified(count)

    def user_hash(self, user_id: str) -> str:
        """Return what lines about a user have in place of the id."""
        return _digest(self._read_key(), "user", user_id.encode())[:USER_HASH_LENGTH]

    def _find_end(self, size: int) -> tuple[_Chain, list[str]]:
        """Return the chain up to the last line, and what is wrong with the lines that the head does not cover."""
        head = self._read_head()
        if head is None and not self._key_file.exists():
            self._create_key()
        chain, start, faults = _Chain(self._read_key()), 0, list[str]()
        if head is not None:
            chain.number, chain.hash, start = head.number, head.hash, head.size
            if size < head.size:
                faults.append("lines were removed: the file is shorter than its head says")
        for raw in self._raw_lines(start, size):
            problem = chain.follow(raw.removesuffix(b"\n"))
            if chain.is_unchained and (chain.has_hashes or head is not None):
                problem = f"line {chain.number}: it has no hash: a write was cut off, or another program wrote it"
            if problem is not None and len(faults) < MAX_FAULTS:
                faults.append(problem)
        if head is None and chain.has_hashes:
            faults.append(f"{HEAD_FILE} was missing or changed")
        return chain, faults

    def _raw_lines(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the lines between two offsets, each with its line end; the last may have none."""
        with self.file.open("rb") as file:
            file.seek(start)
            while (end is None or start < end) and (raw := file.readline()):
                start += len(raw)
                yield raw

    @contextmanager
    def _locked(self, flags: int) -> Generator[int]:
        """Open the file and keep other processes from appending to it; raises `AuditError` if one does for long."""
        descriptor = os.open(self.file, flags, 0o600)
        try:
            give_up_at = time.monotonic() + LOCK_SECONDS
            while not _try_lock(descriptor):
                if time.monotonic() > give_up_at:
                    raise AuditError(f"{self.file}: another process has locked it for {LOCK_SECONDS:g} seconds")
                time.sleep(WAIT_SECONDS)
            yield descriptor
        finally:
            os.close(descriptor)  # unlocks it

    def _read_head(self) -> _Head | None:
        """Return the head; None if there is none, or it is not ours."""
        try:
            head = msgspec.json.decode(self._head_file.read_bytes(), type=_Head)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return head if hmac.compare_digest(head.seal.encode(), self._seal(head).encode()) else None

    def _write_head(self, head: _Head) -> None:
        with atomic_write(self._head_file) as temporary:
            temporary.write_bytes(msgspec.json.encode(structs.replace(head, seal=self._seal(head))) + b"\n")

    def _seal(self, head: _Head) -> str:
        return _digest(self._read_key(), "head", f"{head.number} {head.size} {head.hash}".encode())

    def _create_key(self) -> None:
        with atomic_write(self._key_file) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(secrets.token_hex(KEY_BYTES) + "\n")

    def _read_key(self) -> bytes:
        """Return the key of the hashes, which is read once."""
        if self._key is None:
            try:
                self._key = self._key_file.read_bytes().strip()
            except OSError as error:
                raise AuditError(f"{self._key_file}: cannot be read: {error.strerror}; {RESTORE}") from None
        return self._key


def _encode(
    chain: _Chain, actor: Actor, action: str, user: str | None, subject: str | None, detail: str | None
) -> bytes:
    """Return the next line, and take it into the chain."""
    line = AuditLine(
        chain.number + 1,
        datetime.now(UTC),
        actor.via,
        actor.name,
        actor.origin,
        actor.request_id,
        action,
        chain.hash,
        user,
        subject,
        detail,
    )
    body = msgspec.json.encode(line).removesuffix(b"}")
    chain.number, chain.hash = line.number, _digest(chain.key, "line", body)
    return body + _HASH + chain.hash.encode() + _END + b"\n"


def _append(descriptor: int, data: bytes) -> int:
    """Append whole lines or nothing, and end a line that was cut off; return the size of the file then."""
    size = written = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        data = b"\n" + data
    try:
        while written < size + len(data):
            written += os.write(descriptor, data[written - size :])
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise
    return written


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _digest(key: bytes, purpose: str, data: bytes) -> str:
    """Return an HMAC that differs by purpose, so that none stands for another."""
    return hmac.digest(key, purpose.encode() + b"\n" + data, "sha256").hex()


def _missing(count: int) -> str:
    return "1 line is missing" if count == 1 else f"{count} lines are missing"
