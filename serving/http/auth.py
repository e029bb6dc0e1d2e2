"""Access: API keys with scopes and rate limits."""

import time
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Final

import structlog

from recsys.api_keys import ApiKey, ApiKeys, Scope, load_keys
from recsys.errors import ApiKeyError

Headers = Iterable[tuple[bytes, bytes]]

RELOAD_SECONDS: Final = 5.0
BURST_SECONDS: Final = 10.0
"""The rate limit of a key allows the requests of this many seconds at once."""

log = structlog.get_logger()


class AccessError(Exception):
    """A request without access: status, message and headers of its response."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Access:
    """The API keys of a server; without a file of keys it allows everything, and listens on loopback only."""

    def __init__(self, file: Path, workers: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys from `file`; each of `workers` processes allows its share of a key's requests."""
        self._file, self._workers, self._clock = file, workers, clock
        self._keys: ApiKeys | None = None
        self._file_state: tuple[int, ...] | None = None
        self._checked_at = -RELOAD_SECONDS
        self._buckets: dict[str, tuple[float, float]] = {}

    def check(self, headers: Headers, scope: Scope) -> ApiKey | None:
        """Return the key of a request, or None if no key is needed; raises `AccessError`."""
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
        """Return the keys of the file, read again when it has changed.

        If a file that existed is missing, no key has access. If the file cannot be read, the last keys stay valid.
        """
        now = self._clock()
        if now - self._checked_at >= RELOAD_SECONDS:
            self._checked_at = now
            try:
                state = _file_state(self._file)
                if state != self._file_state:
                    self._keys, self._file_state = load_keys(self._file), state
            except (ApiKeyError, OSError) as error:
                self._keys = self._keys or ApiKeys()
                log.error("API keys cannot be read; the previous ones stay valid", reason=str(error))
        return self._keys

    def _limit(self, key: ApiKey) -> None:
        if not key.requests_per_minute:
            return
        rate = key.requests_per_minute / 60 / self._workers
        capacity = max(1.0, rate * BURST_SECONDS)
        now = self._clock()
        tokens, updated_at = self._buckets.get(key.name, (capacity, now))
        tokens = min(capacity, tokens + (now - updated_at) * rate)
        if tokens < 1:
            self._buckets[key.name] = (tokens, now)
            wait = ceil((1 - tokens) / rate)
            raise AccessError(429, "too many requests with this API key", {"Retry-After": str(wait)})
        self._buckets[key.name] = (tokens - 1, now)


def _file_state(file: Path) -> tuple[int, ...] | None:
    """Return a value that differs after each change of a file; None if the file does not exist."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _token(headers: Headers) -> str:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
    return ""
