"""The file of API keys, the file that says whether requests need a key, and when each key was used last.

The state is `required` once a key has been created, and stays so if the file of keys is lost: then no request has
access. Only `recsys keys disable` says `disabled`, on purpose.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, cast

from pydantic import TypeAdapter, ValidationError

from recsys.api_keys import FORMER_SCOPES, ApiKey, ApiKeys
from recsys.errors import ApiKeyError
from recsys.files import atomic_write, flush

API_KEYS_FILE: Final = "api_keys.json"
STATE_SUFFIX: Final = ".state"
FORMAT: Final = 2
"""Number of the format of the file. In the first, an array, a scope included those before it."""

State = Literal["required", "disabled"]

STORED_KEYS: Final = TypeAdapter(tuple[ApiKey, ...])


@dataclass(frozen=True)
class KeyFile:
    """The files of the API keys of an installation."""

    path: Path
    """The file of keys."""

    @classmethod
    def of(cls, directory: Path) -> "KeyFile":
        """Return the files of the data directory of an installation."""
        return cls(directory / API_KEYS_FILE)

    @property
    def state_path(self) -> Path:
        """Return the file that holds the state."""
        return self.path.with_name(self.path.name + STATE_SUFFIX)

    def state(self) -> State | None:
        """Return whether requests need a key; None if there has never been a key.

        A file of keys whose state was lost, or which is older than the state, is `required`, as is a state that
        cannot be read. If both files are lost, the directory of the notes of use tells that there were keys.
        """
        if os.path.lexists(self.path):
            return "required"
        try:
            text = self.state_path.read_text()
        except FileNotFoundError:
            return "required" if os.path.lexists(self._use_directory) else None
        except (OSError, UnicodeDecodeError):
            return "required"
        return "disabled" if text.strip() == "disabled" else "required"

    def load(self) -> ApiKeys | None:
        """Return the keys; None if requests need none, no keys if the file of keys is lost.

        Raises `ApiKeyError` if the file cannot be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return ApiKeys() if self.state() == "required" else None
        except OSError as error:
            raise ApiKeyError(f"{self.path}: cannot be read: {error.strerror}") from None
        return ApiKeys({key.name: key for key in _parse(self.path, content)})

    def load_all(self) -> ApiKeys:
        """Return the keys, also where requests need none; raises `ApiKeyError` if the file cannot be read."""
        return self.load() or ApiKeys()

    def save(self, keys: ApiKeys) -> None:
        """Write the state, then the keys, atomically, readable by the current user only."""
        self.require()
        stored = sorted(keys.keys.values(), key=lambda key: key.name)
        content = {"format": FORMAT, "keys": STORED_KEYS.dump_python(tuple(stored), mode="json")}
        _write(self.path, json.dumps(content, indent=2) + "\n")

    def require(self) -> None:
        """Write down that requests need a key, whatever becomes of the file of keys."""
        if not self.state_path.exists() or self.state_path.read_bytes().strip() != b"required":
            _write(self.state_path, "required\n")
        self._use_directory.mkdir(parents=True, exist_ok=True)

    def keep_state(self) -> None:
        """Write the state of a file of keys, should it have been lost; a failure is not reported."""
        if self.path.exists():
            with suppress(OSError):
                self.require()

    def disable(self) -> None:
        """Remove all keys on purpose: requests need none from then on."""
        _write(self.state_path, "disabled\n")
        self.path.unlink(missing_ok=True)

    def version(self) -> tuple[object, ...]:
        """Return a value that differs after each change of the files."""
        return _file_version(self.path), _file_version(self.state_path)

    def note_use(self, name: str) -> None:
        """Write down that a key is used now; a failure is not reported."""
        file = self._use_path(name)
        with suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    def last_use(self, name: str) -> datetime | None:
        """Return when a key was used last, to the minute; None if it has not been."""
        try:
            seconds = self._use_path(name).stat().st_mtime
        except OSError:
            return None
        return datetime.fromtimestamp(seconds, UTC).replace(second=0, microsecond=0)

    def forget_use(self, name: str) -> None:
        """Forget when a key was used."""
        with suppress(OSError):
            self._use_path(name).unlink()

    @property
    def _use_directory(self) -> Path:
        return self.path.parent / "serving" / "key_use"

    def _use_path(self, name: str) -> Path:
        return self._use_directory / f"{name}.used"


def _parse(file: Path, content: bytes) -> tuple[ApiKey, ...]:
    """Return the keys of a file of either format; raises `ApiKeyError`."""
    try:
        values: Any = json.loads(content)
        if isinstance(values, list):
            return STORED_KEYS.validate_python(_converted(cast(list[Any], values)))
        if not isinstance(values, dict) or cast(Mapping[str, Any], values).get("format") != FORMAT:
            raise ApiKeyError(f"{file}: is not a file of API keys: expected format {FORMAT}, or a valid array")
        return STORED_KEYS.validate_python(values["keys"])
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ApiKeyError(f"{file}: is not a file of API keys: Invalid JSON: {error}") from None
    except KeyError:
        raise ApiKeyError(f"{file}: is not a file of API keys: keys: Field required") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ApiKeyError(f"{file}: is not a file of API keys: {where and f'{where}: '}{first['msg']}") from None


def _converted(values: list[Any]) -> list[Any]:
    """Return the keys of the first format with the scopes that allow the same now."""
    return [
        _with_new_scopes(cast(Mapping[str, Any], value)) if isinstance(value, dict) else value for value in values
    ]


def _with_new_scopes(key: Mapping[str, Any]) -> Mapping[str, Any]:
    former: Any = key.get("scopes")
    if not isinstance(former, list):
        return key
    scopes = [scope for name in cast(list[str], former) for scope in FORMER_SCOPES.get(str(name), (name,))]
    return {**key, "scopes": scopes}


def _write(file: Path, text: str) -> None:
    with atomic_write(file) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
    flush([file])


def _file_version(file: Path) -> tuple[int, ...] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
