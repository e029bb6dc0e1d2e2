"""Access by API key."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import structlog

from recsys.api_key_file import KeyFile
from recsys.api_keys import ApiKey, ApiKeys, Scope
from recsys.errors import ApiKeyError
from serving.http.client_address import ClientAddresses, Headers
from serving.http.failed_attempts import FailedAttempts

Reason = Literal["missing", "invalid", "expired", "network"]
"""Why an attempt has failed."""

RELOAD_SECONDS: Final = 5.0
NOTE_SECONDS: Final = 60.0
"""Time between two notes of the use of a key."""

log = structlog.get_logger()


class AccessError(Exception):
    """A request without access: status, message and headers of its response."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers


class Access:
    """The API keys of a server; if there has never been one, requests need none on a loopback address."""

    def __init__(
        self,
        file: KeyFile,
        is_public: bool,
        failures: FailedAttempts,
        addresses: ClientAddresses,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the keys from `file`; a public server never answers without them. `now` returns Unix seconds."""
        self._file, self._is_public = file, is_public
        self._failures, self._addresses = failures, addresses
        self._clock, self._now = clock, now
        self._keys: ApiKeys | None = None
        self._version: tuple[object, ...] | None = None
        self._checked_at = -RELOAD_SECONDS
        self._noted_at: dict[str, float] = {}
        """Name of a key -> when its use was last written down."""

    def check(self, headers: Headers, peer: str, scopes: Sequence[Scope]) -> ApiKey | None:
        """Return the key of a request, or None if no key is needed; raises `AccessError`.

        The key needs one of the scopes. `peer` is the address of the connection.
        """
        keys = self._current()
        if keys is None:
            return None
        token, now = _token(headers), self._now()
        key = keys.find(token, now)
        if key is None:
            raise self._failure(headers, peer, "invalid" if token else "missing", None)
        if key.is_expired(now):
            raise self._failure(headers, peer, "expired", key)
        if key.networks and not key.allows_address(self._addresses.find(peer, headers)):
            raise self._failure(headers, peer, "network", key)
        if not key.allows(*scopes):
            raise AccessError(403, f"the API key lacks the scope {scopes[0]}", {})
        if now - self._noted_at.get(key.name, 0.0) >= NOTE_SECONDS:
            self._noted_at[key.name] = now
            self._file.note_use(key.name)
        return key

    def _failure(self, headers: Headers, peer: str, reason: Reason, key: ApiKey | None) -> AccessError:
        """Count a failed attempt; return the error that tells it."""
        address = self._addresses.find(peer, headers)
        wait = self._failures.add(address, reason, None if key is None else key.name)
        if wait is not None:
            return AccessError(429, "too many requests without a valid API key", {"Retry-After": str(wait)})
        if reason == "network":
            return AccessError(403, "the API key may not be used from this address", {})
        message = "the API key has expired" if reason == "expired" else "a valid API key is needed"
        return AccessError(401, message, {"WWW-Authenticate": "Bearer"})

    def _current(self) -> ApiKeys | None:
        """Return the keys of the file, read again when it has changed.

        No key has access if the file is lost or cannot be read: a key in it may have been revoked.
        """
        now = self._clock()
        if now - self._checked_at >= RELOAD_SECONDS:
            self._checked_at = now
            try:
                version = self._file.version()
                if version != self._version or self._version is None:
                    self._keys, self._version = self._load(), version
            except (ApiKeyError, OSError) as error:
                self._keys, self._version = ApiKeys(), None
                log.error("API keys cannot be read; requests are refused", reason=str(error))
        return self._keys

    def _load(self) -> ApiKeys | None:
        keys = self._file.load()
        if keys is None and (self._is_public or (self._keys is not None and self._file.state() is None)):
            log.error("API keys are lost; requests are refused")
            return ApiKeys()
        return keys


def _token(headers: Headers) -> str:
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].decode("latin-1").strip()
        if name == b"x-api-key":
            return value.decode("latin-1").strip()
    return ""
