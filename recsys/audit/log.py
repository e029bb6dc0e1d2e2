"""The files of the audit log: appended to by several processes, verified, and rotated.

A line that was changed or removed is noticed. Each line holds the hash of the line before it and its own, an
HMAC-SHA256 with a key that lies beside the log. A head file names the newest line, which else could be removed.
"""

import fcntl
import hmac
import os
import secrets
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import structlog
from msgspec import Struct, structs

from recsys.audit.chain import REPAIR, Action, Actor, AuditLine, Chain, digest, encode_line, has_hash, missing
from recsys.errors import AuditError
from recsys.files import RESTORE, atomic_write, flush, link_or_copy

AUDIT_FILE: Final = "audit.jsonl"
KEY_FILE: Final = "audit.key"
HEAD_FILE: Final = "audit.head"
ROTATE: Final = "audit_rotate"
"""The action of the line that names the log before."""
KEY_BYTES: Final = 32
USER_HASH_LENGTH: Final = 32
MAX_FAULTS: Final = 10
"""Faults of the file that are told at once."""
LOCK_SECONDS: Final = 5.0
WAIT_SECONDS: Final = 0.002

log = structlog.get_logger(__name__)


class _Head(Struct, frozen=True):
    """The newest line, and the size of the file with it."""

    number: int
    size: int
    hash: str
    seal: str = ""
    """Keyed hash of the other fields."""


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
        """Append one line, as `add_all`; `user_id` is the id under which the user is stored."""
        self.add_all([Action(actor, action, user_id, subject, detail)])

    def add_all(self, actions: Sequence[Action]) -> None:
        """Append a line for each action, and before them one for each fault of the file that is found now.

        Waits until the lines are on disk, together, and for other processes that append, at most `LOCK_SECONDS`.
        A line has the keyed hash of its user.
        """
        if not actions:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._locked(os.O_RDWR | os.O_APPEND | os.O_CREAT) as descriptor:
                chain, faults = self._find_end(descriptor)
                if faults:
                    log.warning("the audit log had faults, which a line now tells", faults=faults)
                lines = [encode_line(chain, actions[0].actor, REPAIR, None, None, fault) for fault in faults]
                lines += [self._encode(chain, action) for action in actions]
                is_new = not os.fstat(descriptor).st_size
                size = _append(descriptor, b"".join(lines))
                os.fsync(descriptor)
                if is_new:
                    flush([self._key_file])  # and the directory, which has the names of both files
                self._write_head(_Head(chain.number, size, chain.hash))
        except OSError as error:
            raise AuditError(f"{self.file}: cannot be written: {error.strerror or error}") from None

    def lines(self) -> Iterator[AuditLine]:
        """Yield the lines, oldest first, without those that have no hash."""
        if not self.file.exists():
            return
        with self.file.open("rb") as file:
            for raw in file:
                with suppress(msgspec.DecodeError, UnicodeDecodeError):
                    yield msgspec.json.decode(raw, type=AuditLine)

    def verify(self) -> Verified:
        """Follow the log from its first line to the newest, which may be added to meanwhile.

        Raises `AuditError` with the number of the first line that was changed, added, moved or removed.
        """
        if not self.file.exists():
            if self._head_file.exists():
                raise AuditError(f"{self.file}: it is missing; {RESTORE}")
            return Verified()
        try:
            with self._locked(os.O_RDONLY) as descriptor:
                size, head = os.fstat(descriptor).st_size, self._read_head()
                fcntl.flock(descriptor, fcntl.LOCK_UN)
                lines = _lines_between(descriptor, 0, size)
                if head is not None:
                    return self._follow(lines, head)
                if self._key_file.exists():
                    raise AuditError(f"{self._head_file}: it is missing or was changed; {RESTORE}")
                return self._count_older(lines)
        except OSError as error:
            raise AuditError(f"{self.file}: cannot be read: {error.strerror or error}") from None

    def rotate(self, actor: Actor, name: str) -> "AuditLog | None":
        """Move the log to a directory of this name beside it, and begin another one, in which a line names it.

        Returns the moved log; None if there is none.
        """
        if not self.file.exists():
            return None
        directory = self.file.parent / name
        try:
            with self._locked(os.O_RDWR) as descriptor:
                chain, _ = self._find_end(descriptor)
                self._write_head(_Head(chain.number, os.fstat(descriptor).st_size, chain.hash))
                directory.mkdir()
                # In this order, a killed process leaves a log that can be continued.
                link_or_copy(self._key_file, directory / KEY_FILE)
                self._head_file.replace(directory / HEAD_FILE)
                self.file.replace(directory / AUDIT_FILE)
                self._key_file.unlink()
        except OSError as error:
            raise AuditError(f"{directory}: cannot be written: {error.strerror or error}") from None
        self.add(actor, ROTATE, subject=name, detail=f"{chain.number} lines, the last with the hash {chain.hash}")
        return AuditLog(directory)

    def _follow(self, lines: Iterator[bytes], head: _Head) -> Verified:
        chain, raw = Chain(self._read_key()), b"\n"
        for raw in lines:
            problem = chain.follow(raw.removesuffix(b"\n"))
            if problem is None and chain.number == head.number and chain.hash != head.hash:
                problem = f"line {chain.number}: it was changed"
            if problem is not None:
                raise AuditError(f"{self.file}: {problem}")
        is_torn = chain.is_unchained and not raw.endswith(b"\n")
        if chain.number < head.number:
            gap = missing(head.number - chain.number)
            raise AuditError(f"{self.file}: line {chain.number + 1}: {gap} from here on")
        if chain.is_unchained and not is_torn:
            raise AuditError(f"{self.file}: line {chain.number}: it was changed or added")
        return Verified(chain.number - is_torn, tuple(chain.repairs), is_torn)

    def _count_older(self, lines: Iterator[bytes]) -> Verified:
        """Return the number of lines of a log that an older release wrote, without hashes."""
        count = 0
        for raw in lines:
            if has_hash(raw):
                raise AuditError(f"{self._key_file}: it is missing; {RESTORE}")
            count += 1
        return Verified(count)

    def _encode(self, chain: Chain, action: Action) -> bytes:
        user = None if action.user_id is None else self.user_hash(action.user_id)
        return encode_line(chain, action.actor, action.name, user, action.subject, action.detail)

    def user_hash(self, user_id: str) -> str:
        """Return what lines about a user have in place of the id."""
        return digest(self._read_key(), "user", user_id.encode())[:USER_HASH_LENGTH]

    def _find_end(self, descriptor: int) -> tuple[Chain, list[str]]:
        """Return the chain up to the last line, and what is wrong with the lines that the head does not cover."""
        size, head = os.fstat(descriptor).st_size, self._read_head()
        if head is None and not self._key_file.exists():
            self._create_key()
        chain, start, faults = Chain(self._read_key()), 0, list[str]()
        if head is not None:
            chain.number, chain.hash, start = head.number, head.hash, head.size
            if size < head.size:
                faults.append("lines were removed: the file is shorter than its head says")
        for raw in _lines_between(descriptor, start, size):
            problem = chain.follow(raw.removesuffix(b"\n"))
            if chain.is_unchained and (chain.has_hashes or head is not None):
                problem = f"line {chain.number}: it has no hash: a write was cut off, or another program wrote it"
            if problem is not None and len(faults) < MAX_FAULTS:
                faults.append(problem)
        if head is None and chain.has_hashes:
            faults.append(f"{HEAD_FILE} was missing or changed")
        return chain, faults

    @contextmanager
    def _locked(self, flags: int) -> Generator[int]:
        """Open the file and keep other processes from appending to it; raises `AuditError` if one does for long."""
        give_up_at = time.monotonic() + LOCK_SECONDS
        descriptor = os.open(self.file, flags, 0o600)
        try:
            while not self._try_lock(descriptor):
                if time.monotonic() > give_up_at:
                    raise AuditError(f"{self.file}: another process has locked it for {LOCK_SECONDS:g} seconds")
                time.sleep(WAIT_SECONDS)
                os.close(descriptor)
                descriptor = os.open(self.file, flags, 0o600)
            self._key = None  # it may be another log than at the last time
            yield descriptor
        finally:
            os.close(descriptor)  # unlocks it

    def _try_lock(self, descriptor: int) -> bool:
        """Lock the file; return False if another process has locked it or has rotated the log meanwhile."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.path.samestat(os.fstat(descriptor), self.file.stat())
        except (BlockingIOError, FileNotFoundError):
            return False

    def _read_head(self) -> _Head | None:
        """Return the head; None if there is none, or it is not ours."""
        try:
            head = msgspec.json.decode(self._head_file.read_bytes(), type=_Head)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        return head if hmac.compare_digest(head.seal.encode(), self._seal(head).encode()) else None

    def _write_head(self, head: _Head) -> None:
        with atomic_write(self._head_file) as temporary, temporary.open("wb") as out:
            out.write(msgspec.json.encode(structs.replace(head, seal=self._seal(head))) + b"\n")
            out.flush()
            os.fsync(out.fileno())  # else a power cut could leave an empty head; an older one is no fault

    def _seal(self, head: _Head) -> str:
        return digest(self._read_key(), "head", f"{head.number} {head.size} {head.hash}".encode())

    def _create_key(self) -> None:
        with atomic_write(self._key_file) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as out:
                out.write(secrets.token_hex(KEY_BYTES) + "\n")

    def _read_key(self) -> bytes:
        """Return the key of the hashes, which is read once."""
        if self._key is None:
            try:
                key = self._key_file.read_bytes().strip()
            except OSError as error:
                raise AuditError(f"{self._key_file}: cannot be read: {error.strerror}; {RESTORE}") from None
            if len(key) != 2 * KEY_BYTES:  # anybody could compute the hashes under an empty key
                raise AuditError(f"{self._key_file}: it is no key of an audit log; {RESTORE}")
            self._key = key
        return self._key


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


def _lines_between(descriptor: int, start: int, end: int) -> Iterator[bytes]:
    """Yield the lines of a file between two offsets, each with its line end; the last may have none."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(start)
        while start < end and (raw := file.readline(end - start)):
            start += len(raw)
            yield raw
