"""Which pseudonyms the ids in Redis are: the first process that writes ids says so, and others must agree."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from typing import Any, Final

from recsys.errors import SettingsError
from recsys.pseudonyms import NO_KEY, Pseudonyms, stored_fingerprint
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys

ROTATING: Final = "rotating"
"""Stands for the fingerprint while ids are rewritten to other pseudonyms."""
REMEDY: Final = "use the settings that filled it, or another redis.namespace"


def check_store(client: Client, keys: Keys, pseudonyms: Pseudonyms | None) -> None:
    """Raise `SettingsError` when Redis holds ids of another kind; note the kind if it does not say any."""
    with store_errors(client):
        client.set(keys.pseudonyms, stored_fingerprint(pseudonyms), nx=True)
    check_store_unchanged(client, keys, pseudonyms)


def check_store_unchanged(client: Client, keys: Keys, pseudonyms: Pseudonyms | None) -> None:
    """Raise `SettingsError` when Redis holds ids of another kind; a Redis that does not say any is left so."""
    stored = read_store_fingerprint(client, keys)
    problem = None if stored is None else describe_mismatch(stored, pseudonyms)
    if problem is not None:
        raise SettingsError(problem)


def read_store_fingerprint(client: Client, keys: Keys) -> str | None:
    """Return the fingerprint of the ids that Redis holds; None if it does not say any."""
    with store_errors(client):
        stored: Any = client.get(keys.pseudonyms)
    return None if stored is None else decode_text(stored)


def store_rotating(client: Client, keys: Keys) -> None:
    """Tell every process that writes ids to stop, until `store_rotated`."""
    with store_errors(client):
        client.set(keys.pseudonyms, ROTATING)


def store_rotated(client: Client, keys: Keys, pseudonyms: Pseudonyms | None) -> None:
    """Store the fingerprint of the ids that Redis holds from now on."""
    with store_errors(client):
        client.set(keys.pseudonyms, stored_fingerprint(pseudonyms))


def describe_mismatch(stored: str, pseudonyms: Pseudonyms | None) -> str | None:
    """Return in one line why pseudonyms do not fit the fingerprint that Redis holds; None if they do."""
    if stored == stored_fingerprint(pseudonyms):
        return None
    if stored == ROTATING:
        return "pseudonym_key: Redis is on its way to other pseudonyms: run `recsys pseudonyms rotate` to its end"
    if pseudonyms is None:
        return f"pseudonym_key is not set: Redis holds users by pseudonyms; {REMEDY}"
    if stored == NO_KEY:
        return f"pseudonym_key is set: Redis holds users by their own ids; {REMEDY}"
    if pseudonyms.count_of(stored):
        return "pseudonym_key: Redis holds pseudonyms of former_pseudonym_keys: run `recsys pseudonyms rotate`"
    return f"pseudonym_key: Redis holds users by the pseudonyms of another key; {REMEDY}"
