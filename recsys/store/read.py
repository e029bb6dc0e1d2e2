"""Reads published lists and versions; an unknown user or item is not an error."""

# redis-py leaves **kwargs without a type.
# pyright: reportUnknownMemberType=false

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from recsys.errors import StoreError
from recsys.store.client.connect import Client, store_errors
from recsys.store.encoding import decode_list, decode_text
from recsys.store.keys import TRENDING, Keys, popular_name

ListName = Literal["blend", "again", "new"]
"""A user's lists: all items, those to buy again, and those that the user has never bought."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Version:
    """A version with keys in Redis; `published_at` is None while it is being loaded or removed."""

    name: str
    published_at: datetime | None
    live: bool


@dataclass(frozen=True)
class UserItems:
    """Item ids, best first: a list of a user, or the popular list if the user has none."""

    items: list[str]
    source: Literal["personal", "again", "new", "popular"]
    version: str


def live_version(client: Client, keys: Keys) -> str:
    """Return the live version; raises `StoreError` if nothing has been published."""
    with store_errors(client):
        version = client.get(keys.live)
    if version is None:
        raise StoreError(f"{keys.live}: no version is live: run `recsys nightly` to publish one")
    return decode_text(version)


def versions(client: Client, keys: Keys) -> list[Version]:
    """Return all versions, the last to go live first, incomplete ones at the end."""
    with store_errors(client):
        live = client.get(keys.live)
        states = client.hgetall(keys.versions)
    all_versions = [
        Version(decode_text(name), _published_at(decode_text(state)), live=name == live)
        for name, state in sorted(states.items())
    ]
    return sorted(all_versions, key=lambda version: version.published_at or EPOCH, reverse=True)


def user_items(client: Client, keys: Keys, user_id: str, n: int, name: ListName = "blend") -> UserItems:
    """Return the first `n` items of a list of a user, or of the popular list if the user has none.

    A user who has nothing to buy again has an empty list of that.
    """
    version = live_version(client, keys)
    keys_and_sources: dict[ListName, tuple[Callable[[str, str], str], Literal["personal", "again", "new"]]] = {
        "blend": (keys.user_items, "personal"),
        "again": (keys.again_items, "again"),
        "new": (keys.new_items, "new"),
    }
    key, source = keys_and_sources[name]
    items = _items(client, key(version, user_id), n)
    if items or name == "again":
        return UserItems(items, source, version)
    return UserItems(_items(client, keys.ranking(version, popular_name()), n), "popular", version)


def similar_items(client: Client, keys: Keys, item_id: str, n: int) -> list[str]:
    """Return the first `n` items similar to an item, most similar first."""
    return _items(client, keys.similar_items(live_version(client, keys), item_id), n)


def bought_together_items(client: Client, keys: Keys, item_id: str, n: int) -> list[str]:
    """Return the first `n` items bought together with an item, strongest first."""
    return _items(client, keys.bought_together(live_version(client, keys), item_id), n)


def popular_items(client: Client, keys: Keys, n: int, category: str | None = None) -> list[str]:
    """Return the first `n` popular items, of a category path such as `GROCERY>MILK` or of all items."""
    return _items(client, keys.ranking(live_version(client, keys), popular_name(category)), n)


def trending_items(client: Client, keys: Keys, n: int) -> list[str]:
    """Return the first `n` trending items."""
    return _items(client, keys.ranking(live_version(client, keys), TRENDING), n)


def _items(client: Client, key: str, n: int) -> list[str]:
    with store_errors(client):
        return decode_list(client.get(key))[:n]


def _published_at(state: str) -> datetime | None:
    return EPOCH + timedelta(microseconds=int(state)) if state.isdecimal() else None
