"""The keys of the pseudonyms under which a lake holds its users: the same for the whole lake."""

import hmac
from contextlib import suppress
from pathlib import Path
from typing import Final

from recsys.errors import SettingsError, StoreError
from recsys.files import read_json, write_json
from recsys.pseudonyms import NO_KEY, Pseudonyms, has_form_of_pseudonym, stored_fingerprint
from recsys.schema import is_id
from recsys.settings import Settings
from recsys.settings.types import REDACTED
from recsys.store.client.connect import connect
from recsys.store.embedded import server_status
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import check_store_unchanged

FILE: Final = "pseudonyms.json"
ROTATION_DIRECTORY: Final = "pseudonym_rotation"
"""Directory beside the lake that exists during a rotation."""
ROTATING: Final = "rotating"
"""Stands for the fingerprint of a lake whose rotation to other keys has begun."""


def check_fingerprint(directory: Path, pseudonyms: Pseudonyms | None) -> None:
    """Raise `SettingsError` when a lake holds users by their ids, or by the pseudonyms of other keys."""
    stored = read_fingerprint(directory)
    if stored is None or stored == stored_fingerprint(pseudonyms):
        return
    if stored == ROTATING:
        raise SettingsError(f"{directory} is on its way to other pseudonyms: run `recsys pseudonyms rotate`")
    shown = REDACTED if pseudonyms else None
    if pseudonyms and stored == first_fingerprint(pseudonyms.keys[0]):
        raise SettingsError(
            f"pseudonym_key = {shown}: {directory} was made by an earlier version and holds ids of events and "
            "sessions as they came: run `recsys pseudonyms rotate`"
        )
    if pseudonyms and pseudonyms.count_of(stored):
        raise SettingsError(
            f"pseudonym_key = {shown}: {directory} holds pseudonyms of former_pseudonym_keys: "
            "run `recsys pseudonyms rotate`"
        )
    origin = "without pseudonyms" if stored == NO_KEY else f"with {'another key' if pseudonyms else 'pseudonyms'}"
    raise SettingsError(
        f"pseudonym_key = {shown}: {directory} was created {origin}, which must "
        "not be mixed; ingest into another directory"
    )


def check_store_if_running(settings: Settings, pseudonyms: Pseudonyms | None) -> None:
    """Raise `SettingsError` when Redis holds ids of another kind; one that does not answer is not waited for.

    The embedded server is not started.
    """
    if settings.redis.url is None and server_status(settings.directory / "valkey") is None:
        return
    with suppress(StoreError):
        client = connect(settings.redis, settings.directory)
        check_store_unchanged(client, Keys(settings.redis.namespace), pseudonyms)


def stored_user_id(pseudonyms: Pseudonyms | None, user: str, is_pseudonym: bool) -> str:
    """Return the id under which a user is stored; `is_pseudonym` says that it is given by that id.

    Raises `SettingsError` for what is no id, or no pseudonym.
    """
    if not is_id(user):
        raise SettingsError(
            f"USER = {user!r}: expected 1 to 128 characters, none white space or a control character"
        )
    if not is_pseudonym:
        return user if pseudonyms is None else pseudonyms.user(user)
    if pseudonyms is None or not has_form_of_pseudonym(user):
        expected = "a pseudonym of 32 hexadecimal digits" if pseudonyms else "a pseudonym_key in the settings"
        raise SettingsError(f"USER = {user!r} with --pseudonym: expected {expected}")
    return user


def read_fingerprint(directory: Path) -> str | None:
    """Return the fingerprint of the keys of a lake; None if there is no lake yet.

    It is `ROTATING` once a rotation has begun to write the lake again, also while it puts the new one in place.
    """
    file = directory / FILE
    if file.exists():
        return str(read_json(file))
    if not directory.exists() and (directory.parent / ROTATION_DIRECTORY).exists():
        return ROTATING
    return NO_KEY if any(directory.glob("[!.]*")) else None


def store_fingerprint(directory: Path, pseudonyms: Pseudonyms | None) -> None:
    """Store what recognizes the keys of a lake with pseudonyms."""
    if pseudonyms is not None:
        write_fingerprint(directory, pseudonyms.fingerprint())


def write_fingerprint(directory: Path, fingerprint: str) -> None:
    """Store a fingerprint of a lake."""
    write_json(directory / FILE, fingerprint)


def first_fingerprint(key: str) -> str:
    """Return what the first version stored of a key, when it made pseudonyms of users only."""
    return hmac.digest(key.encode(), b"recsys", "sha256").hex()[:16]
