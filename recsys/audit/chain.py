"""The lines of the audit log, and the chain that their hashes make."""

import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

REPAIR: Final = "audit_repair"
"""The action of a line that tells of a fault of the file, found when something was added to it."""
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


@dataclass(frozen=True)
class Action:
    """What somebody is about to do."""

    actor: Actor
    name: str
    user_id: str | None = None
    """The id under which the user is stored whom the action is about."""
    subject: str | None = None
    """What else it is about."""
    detail: str | None = None


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


@dataclass
class Chain:
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
            self.hash = digest(self.key, "text", previous.encode() + raw)
            return None
        self.has_hashes, self.hash = True, ending.removesuffix(_END).decode("latin-1")
        if not hmac.compare_digest(digest(self.key, "line", body).encode(), self.hash.encode()):
            return f"line {number}: it was changed"
        line = msgspec.json.decode(body + b"}", type=AuditLine)
        self.number = line.number
        if line.action == REPAIR:
            self.repairs.append(line.number)
        if line.number > number:
            return f"line {number}: {missing(line.number - number)} before it"
        if line.number < number or line.previous != previous:
            return f"line {number - after_unchained}: it was changed, added or moved"
        return None


def has_hash(raw: bytes) -> bool:
    """Return whether a line has a hash, right or wrong."""
    return _HASH in raw


def encode_line(
    chain: Chain, actor: Actor, action: str, user: str | None, subject: str | None, detail: str | None
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
    chain.number, chain.hash = line.number, digest(chain.key, "line", body)
    return body + _HASH + chain.hash.encode() + _END + b"\n"


def digest(key: bytes, purpose: str, data: bytes) -> str:
    """Return an HMAC that differs by purpose, so that none stands for another."""
    return hmac.digest(key, purpose.encode() + b"\n" + data, "sha256").hex()


def missing(count: int) -> str:
    """Return in words how many lines are missing."""
    return "1 line is missing" if count == 1 else f"{count} lines are missing"
