import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest
import redis

from recsys.errors import StoreError
from recsys.store.keys import Keys
from recsys.store.publish.list_files import BLOCK_LISTS
from recsys.store.publish.publish import publish
from recsys.store.read import live_version, popular_items, similar_items, user_items, versions
from tests.recsys.store.versions import FIRST, FOURTH, SECOND, THIRD, USERS

WriteLists = Callable[[str, Mapping[str, Sequence[str]], dict[str, list[str]], dict[str, list[str]]], Path]


def _keys_of(client: redis.Redis, version: str) -> set[bytes | str]:
    return set(client.keys(f"recsys:{version}:*"))


def test_publish_reports_what_it_wrote(client: redis.Redis, keys: Keys, write_lists: WriteLists) -> None:
    lists = write_lists("lists", {"1": ["a", "bc"], "2": [], "3": ["é"]}, {"a": ["bc"]}, {"trending": ["a"]})
    done: list[int] = []
    published = publish(client, keys, FIRST, lists, 2, done.append)
    assert (published.version, published.previous, published.removed) == (FIRST, None, ())
    assert published.keys == 4
    assert published.bytes == len("a bc") + len("é".encode()) + len("bc") + len("a")
    assert published.seconds > 0
    assert done == [2, 3, 4]
    assert client.get("recsys:live") == FIRST.encode()
    assert _keys_of(client, FIRST) == {
        f"recsys:{FIRST}:{rest}".encode() for rest in ("user:{1}", "user:{3}", "item:{a}", "trending")
    }


def test_ids_of_any_letters_come_back_as_they_were(
    client: redis.Redis, keys: Keys, write_lists: WriteLists
) -> None:
    odd = ["a:b", "{x}", "}{", "*", "[a-z]?", "\\", "Ünï-日本", "🙂", "user:{1}", "a>b", "%s", '"quoted"']
    lists = write_lists(
        "odd",
        {name: [name, *odd] for name in odd},
        {name: list(reversed(odd)) for name in odd},
        {"popular:GROCERY>SOFT DRINKS, ÆØÅ": odd},
    )
    publish(client, keys, FIRST, lists, 2)
    for name in odd:
        assert user_items(client, keys, name, 99).items == [name, *odd]
        assert similar_items(client, keys, name, 99) == list(reversed(odd))
    assert popular_items(client, keys, 99, "GROCERY>SOFT DRINKS, ÆØÅ") == odd


def test_the_previous_version_stays_and_older_ones_go(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    client.set("recsys:session:{1}", "kept")
    for version in (FIRST, SECOND, THIRD):
        published = publish(client, keys, version, lists_of(version), 2)
    assert (published.previous, published.removed) == (SECOND, (FIRST,))
    assert [version.name for version in versions(client, keys)] == [THIRD, SECOND]
    assert len(_keys_of(client, THIRD)) == len(_keys_of(client, SECOND)) == USERS + 2
    assert _keys_of(client, FIRST) == set()
    assert client.get("recsys:session:{1}") == b"kept"


def test_more_versions_stay_where_configured(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    for version in (FIRST, SECOND, THIRD, FOURTH):
        publish(client, keys, version, lists_of(version), 3)
    assert [version.name for version in versions(client, keys)] == [FOURTH, THIRD, SECOND]


def test_after_a_rollback_the_version_that_was_live_stays(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    client.set(keys.live, FIRST)
    published = publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert (published.previous, published.removed) == (FIRST, (SECOND,))
    assert len(_keys_of(client, FIRST)) == USERS + 2


def test_a_version_that_is_live_is_compared_and_left(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    lists = lists_of(SECOND)
    first = publish(client, keys, SECOND, lists, 2)
    client.hset(keys.versions, THIRD, "loading by a command that was killed")
    client.set(keys.user_items(THIRD, "1"), "half")
    again = publish(client, keys, SECOND, lists, 2)
    assert (again.previous, again.keys, again.bytes) == (FIRST, first.keys, first.bytes)
    assert again.removed == (THIRD,)
    assert len(_keys_of(client, SECOND)) == USERS + 2


@pytest.mark.parametrize("change", ["value", "extra"])
def test_a_version_that_is_live_with_other_lists_is_refused(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path], change: str
) -> None:
    lists = lists_of(FIRST)
    publish(client, keys, FIRST, lists, 2)
    # No list that a sample would hold.
    key = keys.user_items(FIRST, "77")
    if change == "value":
        client.set(key, "other")
    else:
        client.set(keys.user_items(FIRST, "another"), "other")
    before = _keys_of(client, FIRST)
    with pytest.raises(StoreError, match=f"version {FIRST}: "):
        publish(client, keys, FIRST, lists, 2)
    assert _keys_of(client, FIRST) == before
    assert live_version(client, keys) == FIRST


def _assert_nothing_changed(client: redis.Redis, keys: Keys) -> None:
    """FIRST is live and whole; of SECOND nothing is left."""
    assert live_version(client, keys) == FIRST
    assert [version.name for version in versions(client, keys)] == [FIRST]
    assert len(_keys_of(client, FIRST)) == USERS + 2
    assert _keys_of(client, SECOND) == set()


def test_a_list_lost_on_the_way_keeps_the_version_from_going_live(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    other = new_client()

    def lose(done: int) -> None:
        if done == BLOCK_LISTS:
            # The list has been sent, but the server may not have stored it yet.
            deadline = time.monotonic() + 10
            while other.delete(keys.user_items(SECOND, "77")) == 0:
                assert time.monotonic() < deadline

    with pytest.raises(StoreError, match=f"{USERS + 2} lists to publish but {USERS + 1} keys in Redis"):
        publish(client, keys, SECOND, lists_of(SECOND), 2, lose)
    _assert_nothing_changed(client, keys)


def test_a_list_changed_on_the_way_keeps_the_version_from_going_live(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    other = new_client()

    def change(_: int) -> None:
        other.set(keys.user_items(SECOND, "0"), "changed")

    with pytest.raises(StoreError, match=r"user:\{0\} is another list in Redis"):
        publish(client, keys, SECOND, lists_of(SECOND), 2, change)
    _assert_nothing_changed(client, keys)


def test_a_user_listed_twice_is_an_error(client: redis.Redis, keys: Keys, write_lists: WriteLists) -> None:
    lists = write_lists("lists", {"1": ["a"]}, {"1": ["b"]}, {"trending": ["a"], "popular": ["a"]})
    once = pl.read_parquet(lists / "user_items.parquet")
    pl.concat([once, once]).write_parquet(lists / "user_items.parquet")
    with pytest.raises(StoreError, match="5 lists to publish but 4 keys in Redis"):
        publish(client, keys, FIRST, lists, 2)


def test_a_server_that_is_full_refuses_and_keeps_what_it_had(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    client.config_set("maxmemory", client.info()["used_memory"] + 300_000)
    with pytest.raises(StoreError, match=f"version {SECOND}: Redis refused .* lists, the first as: .*maxmemory"):
        publish(client, keys, SECOND, lists_of(SECOND), 2)
    _assert_nothing_changed(client, keys)
    client.config_set("maxmemory", 0)
    publish(client, keys, SECOND, lists_of(SECOND + "-again"), 2)
    assert live_version(client, keys) == SECOND


def test_a_missing_file_is_an_error_before_anything_is_written(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    lists = lists_of(FIRST)
    (lists / "popular.parquet").unlink()
    with pytest.raises(StoreError, match=r"popular\.parquet: there is no such file"):
        publish(client, keys, FIRST, lists, 2)
    assert client.dbsize() == 0
