"""Versions whose lists say which version they belong to."""

from functools import cache
from typing import Any

from redis.cluster import RedisCluster

from recsys.store.client.connect import Client
from recsys.store.keys import Keys
from recsys.store.publish.list_files import BLOCK_LISTS
from recsys.store.read import live_version, popular_items, similar_items

FIRST, SECOND, THIRD, FOURTH = (f"201712{day}T000000Z" for day in (28, 29, 30, 31))
USERS = 2 * BLOCK_LISTS + 100


@cache
def user_lists(version: str) -> dict[str, list[str]]:
    """A list for each of `USERS` users."""
    return {str(user): [f"{version}-{user}", f"{version}-x"] for user in range(USERS)}


def assert_live_and_whole(client: Client, keys: Keys, version: str) -> None:
    """`version` is live, and each of its lists is what was written."""
    assert live_version(client, keys) == version
    users = user_lists(version)
    names = [keys.user_items(version, user) for user in users]
    assert _values(client, names) == [" ".join(items).encode() for items in users.values()]
    assert similar_items(client, keys, "i", 9) == [f"{version}-j"]
    assert popular_items(client, keys, 9) == [f"{version}-p"]


def _values(client: Client, names: list[str]) -> list[Any]:
    """Read many keys: at once from one server, which takes a tenth of the time of one command for each key."""
    if not isinstance(client, RedisCluster):
        return client.mget(names)
    pipeline: Any = client.pipeline(transaction=False)
    for name in names:
        pipeline.get(name)
    return pipeline.execute()
