from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from recsys.errors import StoreError
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.read import (
    UserItems,
    Version,
    live_version,
    popular_items,
    similar_items,
    trending_items,
    user_items,
    versions,
)

VERSION = "20171231T000000Z"


@pytest.fixture
def published(client: redis.Redis, keys: Keys, write_lists: Callable[..., Path]) -> redis.Redis:
    lists = write_lists(
        "lists",
        {"7": ["a", "b", "c"], "nothing": []},
        {"a": ["b", "c"]},
        {"popular": ["p", "q", "r"], "popular:GROCERY>SOFT DRINKS": ["m"], "trending": ["t", "u"]},
    )
    publish(client, keys, VERSION, lists, keep_versions=2)
    return client


def test_a_user_has_a_personal_list_and_everyone_else_the_popular_one(published: redis.Redis, keys: Keys) -> None:
    assert user_items(published, keys, "7", 2) == UserItems(["a", "b"], "personal", VERSION)
    assert user_items(published, keys, "7", 10) == UserItems(["a", "b", "c"], "personal", VERSION)
    assert user_items(published, keys, "unknown", 2) == UserItems(["p", "q"], "popular", VERSION)
    assert user_items(published, keys, "nothing", 1) == UserItems(["p"], "popular", VERSION)


def test_lists_of_items_and_of_everyone(published: redis.Redis, keys: Keys) -> None:
    assert similar_items(published, keys, "a", 1) == ["b"]
    assert similar_items(published, keys, "unknown", 1) == []
    assert popular_items(published, keys, 2) == ["p", "q"]
    assert popular_items(published, keys, 2, "GROCERY>SOFT DRINKS") == ["m"]
    assert popular_items(published, keys, 2, "TOYS") == []
    assert trending_items(published, keys, 5) == ["t", "u"]


def test_any_backend_needs_two_gets_and_a_split(published: redis.Redis) -> None:
    version = published.get("recsys:live")
    assert version == VERSION.encode()
    items = published.get(f"recsys:{VERSION}:user:{{7}}")
    assert isinstance(items, bytes)
    assert items.split(b" ") == [b"a", b"b", b"c"]


def test_without_a_live_version_every_read_says_what_to_do(client: redis.Redis, keys: Keys) -> None:
    for read in (
        lambda: live_version(client, keys),
        lambda: user_items(client, keys, "7", 1),
        lambda: similar_items(client, keys, "a", 1),
        lambda: popular_items(client, keys, 1),
        lambda: trending_items(client, keys, 1),
    ):
        with pytest.raises(StoreError, match="recsys:live: no version is live: run `recsys nightly`"):
            read()
    assert versions(client, keys) == []


def test_versions_come_newest_first_and_half_ones_last(published: redis.Redis, keys: Keys) -> None:
    published.hset(keys.versions, mapping={"20170101T000000Z": "1000000", "20180101T000000Z": "loading x"})
    newest, *others = versions(published, keys)
    assert (newest.name, newest.live) == (VERSION, True)
    assert newest.published_at is not None
    assert abs(datetime.now(UTC) - newest.published_at) < timedelta(minutes=1)
    assert others == [
        Version("20170101T000000Z", datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), live=False),
        Version("20180101T000000Z", None, live=False),
    ]
