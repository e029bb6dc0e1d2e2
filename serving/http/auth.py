"""Who may ask for what: API keys with scopes and limits, and the audit log of what administrators did."""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Final

import msgspec
import structlog

from recsys.api_keys import ApiKey, ApiKeys, Scope, load_keys
from recsys.errors import ApiKeyError

Headers = Iterable[tuple[bytes, bytes]]

RELOAD_SECONDS: Final = 5.0
BURST_SECONDS: Final = 10.0
"""A key may use what it is allowed in so long at once."""
AUDIT_FILE: Final = "audit.jsonl"

log = structlog.get_logger()


class AccessError(Exception):
    """The request is not let in."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Access:
    """The API keys of a server. Without any, everything is allowed: it listens on loopback only then."""

    def __init__(self, file: Path, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Each of `workers` processes allows its share of a key's requests."""
        self._file, self._workers, self._clock = file, workers, clock
        self._keys: ApiKeys | None = None
        self._state: tuple[int, ...] | None = None
        self._looked_at = -RELOAD_SECONDS
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, headers: Headers, scope: Scope) -> ApiKey | None:
        """The key that a request shows, None where none is needed; raises `AccessError`."""
        keys = self._current()
        if keys is None:
            return None
        key = keys.find(_token(headers))
        if key is None:
            raise AccessError(401, "a valid API key is needed", {"WWW-Authenticate": "Bearer"})
        if not key.allows(scope):
            raise AccessError(403, f"the API key lacks the scope {scope}", {})
        self._limit(key)
        return key

    def _current(self) -> ApiKeys | None:
        """The keys of the file, read again when it has changed.

        Where it was and is no longer, nobody is let in; where it cannot be read, who was let in before, if anybody.
        """
        now = self._clock()
        if now - self._looked_at >= RELOAD_SECONDS:
            self._looked_at = now
            try:
                state = _state(self._file)
                if state != self._state:
                    self._keys, self._state = load_keys(self._file), state
            except (ApiKeyError, OSError) as error:
                self._keys = self._keys or ApiKeys()
                log.error("the API keys cannot be read; those known before remain", reason=str(error))
        return self._keys

    def _limit(self, key: ApiKey) -> None:
        if not key.requests_per_minute:
            return
        rate = key.requests_per_minute / 60 / self._workers
        most = max(1.0, rate * BURST_SECONDS)
        now = self._clock()
        left, then = self._buckets.get(key.name, (most, now))
        left = min(most, left + (now - then) * rate)
        if left < 1:
            self._buckets[key.name] = (left, now)
            wait = ceil((1 - left) / rate)
            raise AccessError(429, "too many requests with this API key", {"Retry-After": str(wait)})
        self._buckets[key.name] = (left - 1, now)


class AuditLog:
    """A file that lines are only added to: which administrator's key did what, and to whom, by a hash."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, key: ApiKey | None, action: str, subject: str) -> None:
        """Append one line; lines of other processes are never mixed into it."""
        line = {
            "time": datetime.now(UTC).isoformat(),
            "key": None if key is None else key.name,
            "action": action,
            "subject": hashlib.sha256(subject.encode()).hexdigest()[:16],
        }
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(descriptor)


def _state(file: Path) -> tuple[int, ...] | None:
    """What is another after each change of a file; None where it is not there."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _token(headers: Headers) -> str:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
    return ""
