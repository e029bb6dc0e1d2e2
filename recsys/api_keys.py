"""API keys of the server: their scopes, expiry, networks, and tokens. Only hashes of tokens are stored.

A token is `rk_<name>_<43 random characters>`. Its key is looked up by name and verified by the SHA-256 of the
token: 32 random bytes need no slow hash.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field
from pydantic.dataclasses import dataclass

from recsys.errors import ApiKeyError
from recsys.settings.types import Network

Scope = Literal["recommend", "events", "catalogue", "admin"]

SCOPES: Final[tuple[Scope, ...]] = ("recommend", "events", "catalogue", "admin")
"""Each allows its own routes only; a key may have several."""
FORMER_SCOPES: Final[Mapping[str, tuple[Scope, ...]]] = {
    "read": ("recommend",),
    "write": ("recommend", "events", "catalogue"),
    "admin": SCOPES,
}
"""Scope of a file of keys before scopes were separate -> the scopes that allow the same."""
NAME_PATTERN: Final = r"^[A-Za-z0-9.-]{1,32}$"
TOKEN_BYTES: Final = 32
PREFIX: Final = "rk"
UNMATCHED_HASH: Final = "0" * 64
"""Hash that a token with an unknown name is compared with; no token has it."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class ApiKey:
    """An API key as it is stored."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    sha256: Sha256 = field(repr=False)
    """SHA-256 of the whole token, in hexadecimal."""
    scopes: frozenset[Scope]
    requests_per_minute: Annotated[int, Field(ge=0)]
    """Quota; 0 for none."""
    created_at: AwareDatetime
    expires_at: AwareDatetime | None = None
    """When the key ends; None for never."""
    networks: tuple[Network, ...] = ()
    """Networks of the clients that may use the key; empty for any."""
    previous_sha256: Sha256 | None = field(default=None, repr=False)
    """SHA-256 of the token before the last rotation."""
    previous_until: AwareDatetime | None = None
    """When the previous token ends."""

    def allows(self, *scopes: Scope) -> bool:
        """Return whether the key has one of these scopes."""
        return not self.scopes.isdisjoint(scopes)

    def is_expired(self, now: float) -> bool:
        """Return whether the key has ended by a moment, in Unix seconds."""
        return self.expires_at is not None and self.expires_at.timestamp() <= now

    def allows_address(self, address: str) -> bool:
        """Return whether a client of this IP address may use the key."""
        if not self.networks:
            return True
        try:
            client = ip_address(address)
        except ValueError:
            return False
        if isinstance(client, IPv6Address):
            client = client.ipv4_mapped or client
        return any(client in network for network in self._parsed_networks)

    @cached_property
    def _parsed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(map(ip_network, self.networks))


@dataclass(frozen=True)
class ApiKeys:
    """All API keys, by name."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict[str, ApiKey])

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    def find(self, token: str, now: float) -> ApiKey | None:
        """Return the key of a token, None for an invalid one, in time that does not depend on the stored hashes.

        The token before the last rotation is valid until the end of the overlap; `now` is in Unix seconds.
        """
        digest = digest_token(token)
        _, _, rest = token.partition("_")
        key = self.keys.get(rest.partition("_")[0])
        is_current = hmac.compare_digest(digest, UNMATCHED_HASH if key is None else key.sha256)
        if key is None or is_current or key.previous_sha256 is None or key.previous_until is None:
            return key if is_current else None
        is_previous = hmac.compare_digest(digest, key.previous_sha256)
        return key if is_previous and now < key.previous_until.timestamp() else None

    def get(self, name: str) -> ApiKey:
        """Return the key of a name; raises `ApiKeyError` if there is none."""
        if name not in self.keys:
            names = ", ".join(sorted(self.keys)) or "none"
            raise ApiKeyError(f"key {name!r}: there is no such key; existing keys: {names}")
        return self.keys[name]

    def with_key(self, key: ApiKey) -> "ApiKeys":
        """Return the keys and one more; raises `ApiKeyError` if its name is taken."""
        if key.name in self.keys:
            raise ApiKeyError(f"key {key.name!r}: exists already; revoke it first, or choose another name")
        return ApiKeys({**self.keys, key.name: key})

    def with_replaced(self, key: ApiKey) -> "ApiKeys":
        """Return the keys with another key in the place of the one of its name."""
        return ApiKeys({**self.keys, key.name: key})

    def without_key(self, name: str) -> "ApiKeys":
        """Return the keys without one; raises `ApiKeyError` if there is no key of this name."""
        self.get(name)
        return ApiKeys({other: key for other, key in self.keys.items() if other != name})


def create_key(
    name: str,
    scopes: Collection[Scope],
    requests_per_minute: int,
    created_at: datetime,
    expires_at: datetime | None = None,
    networks: Sequence[str] = (),
) -> tuple[ApiKey, str]:
    """Return a new key and its token, which is not stored anywhere.

    Raises `ApiKeyError` if the name is not 1 to 32 letters, digits, dots and hyphens, no scope is given, the key
    has ended before it is created, or a network is none.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ApiKeyError(f"key {name!r}: expected a name of 1 to 32 letters, digits, dots and hyphens")
    if not scopes:
        raise ApiKeyError(f"key {name!r}: expected at least one scope of {', '.join(SCOPES)}")
    _check_expiry(name, created_at, expires_at)
    token = _new_token(name)
    key = ApiKey(
        name,
        digest_token(token),
        frozenset(scopes),
        requests_per_minute,
        created_at,
        expires_at,
        tuple(_parse_network(name, network) for network in networks),
    )
    return key, token


def rotate_key(key: ApiKey, overlap: timedelta, now: datetime, expires_at: datetime | None) -> tuple[ApiKey, str]:
    """Return the key with a new token, and the token; the token before stays valid for `overlap`.

    A token from before an earlier rotation ends at once. `expires_at` replaces the end of the key, if given.
    Raises `ApiKeyError` if the key has ended, or would have.
    """
    end = expires_at or key.expires_at
    _check_expiry(key.name, now, end)
    token = _new_token(key.name)
    rotated = replace(
        key,
        sha256=digest_token(token),
        expires_at=end,
        previous_sha256=key.sha256 if overlap else None,
        previous_until=now + overlap if overlap else None,
    )
    return rotated, token


def parse_scope(text: str) -> Scope:
    """Return a scope; raises `ApiKeyError`, which says what to use in place of a former scope."""
    for scope in SCOPES:
        if scope == text:
            return scope
    if text in FORMER_SCOPES:
        replacements = " ".join(f"--scope {scope}" for scope in FORMER_SCOPES[text])
        raise ApiKeyError(f"scope {text!r} is now {replacements}: each scope allows its own routes only")
    raise ApiKeyError(f"scope {text!r}: expected one of {', '.join(SCOPES)}")


def digest_token(token: str) -> str:
    """Return the SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _new_token(name: str) -> str:
    return f"{PREFIX}_{name}_{secrets.token_urlsafe(TOKEN_BYTES)}"


def _check_expiry(name: str, now: datetime, expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= now:
        raise ApiKeyError(f"key {name!r}: ended at {expires_at:%Y-%m-%d %H:%M} UTC; expected a later end")


def _parse_network(name: str, network: str) -> str:
    try:
        return str(ip_network(network))
    except ValueError:
        raise ApiKeyError(f"key {name!r}: network {network!r}: expected a network such as 10.0.0.0/8") from None
