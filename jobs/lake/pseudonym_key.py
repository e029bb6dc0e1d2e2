"""The key of the pseudonyms under which a lake holds its users: one key for the whole life of the lake."""

from pathlib import Path
from typing import Final

from recsys.errors import SettingsError
from recsys.files import read_json, write_json
from recsys.pseudonyms import key_check
from recsys.settings.types import REDACTED

FILE: Final = "pseudonyms.json"


def check_pseudonym_key(directory: Path, key: str | None) -> None:
    """Raise `SettingsError` when a lake holds users by their ids, or by the pseudonyms of another key."""
    file = directory / FILE
    stored = read_json(file) if file.exists() else None
    expected = None if key is None else key_check(key)
    if stored == expected or (stored is None and not any(directory.glob("[!.]*"))):
        return
    origin = "without pseudonyms" if stored is None else f"with {'another key' if expected else 'pseudonyms'}"
    raise SettingsError(
        f"pseudonym_key = {REDACTED if expected else None}: {directory} was created {origin}, which must "
        "not be mixed; ingest into another directory"
    )


def store_pseudonym_key(directory: Path, key: str | None) -> None:
    """Store what recognizes the key of a lake with pseudonyms."""
    if key is not None:
        write_json(directory / FILE, key_check(key))
