"""The trending list is renewed in place, always of the version that is live."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from recsys.errors import StoreError
from recsys.store.keys import TRENDING, Keys
from recsys.store.publish.publish import publish
from recsys.store.publish.trending import replace_trending
from recsys.store.read import live_version, trending_items

WriteLists = Callable[..., Path]
FIRST, SECOND = "20260101T000000Z", "20260102T000000Z"


@pytest.fixture
def lists(write_lists: WriteLists) -> Path:
    return write_lists("a", {"7": ["a", "b"]}, {"a": ["b"]}, {"popular": ["a"], "trending": ["old"]})


def test_the_list_of_the_live_version_is_replaced(client: redis.Redis, keys: Keys, lists: Path):
    publish(client, keys, FIRST, lists, 2)
    publish(client, keys, SECOND, lists, 2)
    assert replace_trending(client, keys, ["c", "a"]) == SECOND
    assert trending_items(client, keys, 9) == ["c", "a"]
    assert client.get(keys.ranking(FIRST, TRENDING)) == b"old"


def test_where_nothing_rises_there_is_no_list(client: redis.Redis, keys: Keys, lists: Path):
    publish(client, keys, FIRST, lists, 2)
    assert replace_trending(client, keys, []) == FIRST
    assert not client.exists(keys.ranking(FIRST, TRENDING))
    assert replace_trending(client, keys, []) == FIRST
    assert replace_trending(client, keys, ["a"]) == FIRST
    assert trending_items(client, keys, 9) == ["a"]


def test_without_a_live_version_nothing_is_written(client: redis.Redis, keys: Keys):
    with pytest.raises(StoreError, match="no version is live"):
        replace_trending(client, keys, ["a"])
    assert client.dbsize() == 0


def test_a_version_that_goes_live_meanwhile_gets_the_list(client: redis.Redis, keys: Keys, lists: Path):
    class Meanwhile(list[str]):
        """Items that are read after the live version was: just then another one goes live."""

        def __iter__(self) -> Iterator[str]:
            if live_version(client, keys) == FIRST:
                publish(client, keys, SECOND, lists, 2)
            return super().__iter__()

    publish(client, keys, FIRST, lists, 2)
    assert replace_trending(client, keys, Meanwhile(["new"])) == SECOND
    assert trending_items(client, keys, 9) == ["new"]


@pytest.mark.parametrize("renewed", [["new"], []])
def test_a_version_with_a_renewed_list_is_still_the_one_that_was_published(
    client: redis.Redis, keys: Keys, lists: Path, renewed: list[str]
):
    publish(client, keys, FIRST, lists, 2)
    replace_trending(client, keys, renewed)
    assert publish(client, keys, FIRST, lists, 2).version == FIRST
    assert trending_items(client, keys, 9) == renewed
    client.set(keys.user_items(FIRST, "7"), b"other")
    with pytest.raises(StoreError, match="is another list in Redis"):
        publish(client, keys, FIRST, lists, 2)
