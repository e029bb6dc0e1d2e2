"""API keys of the server and their scopes. Only hashes are stored; a token is shown once, when it is created.

A token is `rk_<name>_<43 random characters>`. Its key is looked up by name and verified by the SHA-256 of the
token: 32 random bytes need no slow hash.
"""

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from recsys.errors import ApiKeyError
from recsys.files import atomic_write

Scope = Literal["read", "write", "admin"]

API_KEYS_FILE: Final = "api_keys.json"
SCOPES: Final[tuple[Scope, ...]] = ("read", "write", "admin")
"""Each scope includes those before it."""
NAME_PATTERN: Final = r"^[A-Za-z0-9.-]{1,32}$"
TOKEN_BYTES: Final = 32
PREFIX: Final = "rk"
UNMATCHED_HASH: Final = "0" * 64
"""Hash that a token with an unknown name is compared with; no token has it."""


@dataclass(frozen=True)
class ApiKey:
    """An API key as it is stored."""

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] = field(repr=False)
    """SHA-256 of the whole token, in hexadecimal."""
    scopes: frozenset[Scope]
    requests_per_minute: Annotated[int, Field(ge=0)]
    """Rate limit; 0 for none."""
    created_at: AwareDatetime

    def allows(self, scope: Scope) -> bool:
        """Return whether the key has this scope; admin includes write, and write includes read."""
        return any(SCOPES.index(granted) >= SCOPES.index(scope) for granted in self.scopes)


@dataclass(frozen=True)
class ApiKeys:
    """All API keys, by name."""

    keys: Mapping[str, ApiKey] = field(default_factory=dict[str, ApiKey])

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    def find(self, token: str) -> ApiKey | None:
        """Return the key of a token, None for an invalid one, in time that does not depend on the stored hashes."""
        digest = _digest(token)
        _, _, rest = token.partition("_")
        key = self.keys.get(rest.partition("_")[0])
        same = hmac.compare_digest(digest, UNMATCHED_HASH if key is None else key.sha256)
        return key if same else None

    def with_key(self, key: ApiKey) -> "ApiKeys":
        """Return the keys and one more; raises `ApiKeyError` if its name is taken."""
        if key.name in self.keys:
            raise ApiKeyError(f"key {key.name!r}: exists already; revoke it first, or choose another name")
        return ApiKeys({**self.keys, key.name: key})

    def without_key(self, name: str) -> "ApiKeys":
        """Return the keys without one; raises `ApiKeyError` if there is no key of this name."""
        if name not in self.keys:
            names = ", ".join(sorted(self.keys)) or "none"
            raise ApiKeyError(f"key {name!r}: there is no such key; existing keys: {names}")
        return ApiKeys({other: key for other, key in self.keys.items() if other != name})


STORED_KEYS: Final = TypeAdapter(tuple[ApiKey, ...])


def create_key(
    name: str, scopes: Collection[Scope], requests_per_minute: int, created_at: datetime
) -> tuple[ApiKey, str]:
    """Return a new key and its token, which is not stored anywhere.

    Raises `ApiKeyError` if the name is not 1 to 32 letters, digits, dots and hyphens, or no scope is given.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise ApiKeyError(f"key {name!r}: expected a name of 1 to 32 letters, digits, dots and hyphens")
    if not scopes:
        raise ApiKeyError(f"key {name!r}: expected at least one scope of {', '.join(SCOPES)}")
    token = f"{PREFIX}_{name}_{secrets.token_urlsafe(TOKEN_BYTES)}"
    return ApiKey(name, _digest(token), frozenset(scopes), requests_per_minute, created_at), token


def load_keys(file: Path) -> ApiKeys:
    """Load the keys of a file, no keys if it does not exist; raises `ApiKeyError` if it cannot be read."""
    try:
        keys = STORED_KEYS.validate_json(file.read_bytes())
    except FileNotFoundError:
        return ApiKeys()
    except OSError as error:
        raise ApiKeyError(f"{file}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ApiKeyError(f"{file}: is not a file of API keys: {where and f'{where}: '}{first['msg']}") from None
    return ApiKeys({key.name: key for key in keys})


def save_keys(file: Path, keys: ApiKeys) -> None:
    """Write the keys atomically, readable by the current user only."""
    stored = sorted(keys.keys.values(), key=lambda key: key.name)
    with atomic_write(file) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(STORED_KEYS.dump_json(tuple(stored), indent=2) + b"\n")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
