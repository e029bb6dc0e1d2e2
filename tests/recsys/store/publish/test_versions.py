import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.client import Pipeline

from recsys.errors import StoreError
from recsys.store.client.connect import Client
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.publish.removal import remove_version
from recsys.store.publish.versions import roll_back
from recsys.store.read import live_version, versions
from tests.recsys.store.versions import FIRST, FOURTH, SECOND, THIRD, USERS, assert_live_and_whole

ListsOf = Callable[[str], Path]


def _whole(client: Client, keys: Keys) -> list[str]:
    return [version.name for version in versions(client, keys) if version.published_at]


def test_the_version_that_was_live_before_is_live_again(client: redis.Redis, keys: Keys, lists_of: ListsOf) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    done = roll_back(client, keys)
    assert (done.version, done.previous) == (FIRST, SECOND)
    assert_live_and_whole(client, keys, FIRST)
    assert [(version.name, version.live) for version in versions(client, keys)] == [(FIRST, True), (SECOND, False)]
    assert roll_back(client, keys).version == SECOND
    assert_live_and_whole(client, keys, SECOND)


def test_a_version_can_be_named(client: redis.Redis, keys: Keys, lists_of: ListsOf) -> None:
    for version in (FIRST, SECOND, THIRD):
        publish(client, keys, version, lists_of(version), 3)
    assert roll_back(client, keys, FIRST).previous == THIRD
    assert_live_and_whole(client, keys, FIRST)
    assert _whole(client, keys) == [FIRST, THIRD, SECOND]


@pytest.mark.parametrize(
    ("keep", "left"), [(2, [FOURTH, FIRST]), (3, [FOURTH, FIRST, THIRD]), (4, [FOURTH, FIRST, THIRD, SECOND])]
)
def test_the_next_publish_goes_on_from_there(
    client: redis.Redis, keys: Keys, lists_of: ListsOf, keep: int, left: list[str]
) -> None:
    for version in (FIRST, SECOND, THIRD):
        publish(client, keys, version, lists_of(version), 3)
    roll_back(client, keys, FIRST)
    published = publish(client, keys, FOURTH, lists_of(FOURTH), keep)
    assert published.previous == FIRST
    assert _whole(client, keys) == left
    assert_live_and_whole(client, keys, FOURTH)
    roll_back(client, keys)
    assert_live_and_whole(client, keys, FIRST)


@pytest.mark.parametrize(
    ("wanted", "problem"),
    [
        ("20170101T000000Z", f"version '20170101T000000Z' is not in Redis; versions to go back to: {FIRST}"),
        ("nonsense\n", f"version 'nonsense\\n' is not in Redis; versions to go back to: {FIRST}"),
        (SECOND, f"version {SECOND} is live already; versions to go back to: {FIRST}"),
        (THIRD, f"version {THIRD!r} is not complete; versions to go back to: {FIRST}"),
    ],
)
def test_what_is_no_version_to_go_back_to_is_refused(
    client: redis.Redis, keys: Keys, lists_of: ListsOf, wanted: str, problem: str
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    client.hset(keys.versions, THIRD, "loading by a command that was killed")
    with pytest.raises(StoreError) as error:
        roll_back(client, keys, wanted)
    assert str(error.value) == problem
    assert live_version(client, keys) == SECOND


def test_without_a_version_to_go_back_to_it_says_so(client: redis.Redis, keys: Keys, lists_of: ListsOf) -> None:
    with pytest.raises(StoreError, match="recsys:live: no version is live"):
        roll_back(client, keys)
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    with pytest.raises(StoreError, match=f"version {FIRST} is live and there is no complete version to go back to"):
        roll_back(client, keys)


def test_a_version_that_is_removed_in_the_moment_of_the_move_does_not_go_live(
    client: redis.Redis,
    new_client: Callable[[], redis.Redis],
    keys: Keys,
    lists_of: ListsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    other = new_client()
    multi = Pipeline.multi

    def remove_before(pipeline: Pipeline) -> None:
        monkeypatch.setattr(Pipeline, "multi", multi)
        assert remove_version(other, keys, FIRST)
        multi(pipeline)

    monkeypatch.setattr(Pipeline, "multi", remove_before)
    with pytest.raises(StoreError, match=f"version {FIRST}: the live version or this one has changed meanwhile"):
        roll_back(client, keys)
    assert_live_and_whole(client, keys, SECOND)


def test_a_version_that_goes_live_in_the_moment_of_its_removal_stays(
    client: redis.Redis,
    new_client: Callable[[], redis.Redis],
    keys: Keys,
    lists_of: ListsOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    other = new_client()
    hset = redis.Redis.hset

    def go_live_before(self: redis.Redis, *arguments: Any) -> object:
        monkeypatch.setattr(redis.Redis, "hset", hset)
        roll_back(other, keys, FIRST)
        return hset(self, *arguments)

    monkeypatch.setattr(redis.Redis, "hset", go_live_before)
    assert not remove_version(client, keys, FIRST)
    assert_live_and_whole(client, keys, FIRST)
    assert _whole(client, keys) == [FIRST, SECOND]


def test_a_publisher_killed_before_it_notes_the_time_leaves_a_whole_version(
    client: redis.Redis, keys: Keys, lists_of: ListsOf
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    client.hset(keys.versions, SECOND, "loading by a command that was killed")
    assert [version.live for version in versions(client, keys)] == [False, True]
    roll_back(client, keys)
    roll_back(client, keys)
    assert_live_and_whole(client, keys, SECOND)
    client.hset(keys.versions, SECOND, "loading by a command that was killed")
    assert publish(client, keys, THIRD, lists_of(THIRD), 2).previous == SECOND
    assert _whole(client, keys) == [THIRD, SECOND]


def test_readers_see_whole_versions_while_the_pointer_goes_back_and_forth(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: ListsOf
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    wrong: list[object] = []
    seen: set[str] = set()
    done = threading.Event()

    def read(reader: redis.Redis, user: int) -> None:
        while not done.is_set():
            version = decode_text(reader.get(keys.live) or b"")
            seen.add(version)
            for _ in range(20):
                user = (user + 911) % USERS
                items = reader.get(keys.user_items(version, str(user)))
                if items != f"{version}-{user} {version}-x".encode():
                    wrong.append((version, user, items))

    readers = [threading.Thread(target=read, args=(new_client(), start)) for start in (0, 3_000, 6_000)]
    for reader in readers:
        reader.start()
    seconds: list[float] = []
    for _ in range(10):
        started = time.perf_counter()
        roll_back(client, keys)
        seconds.append(time.perf_counter() - started)
        time.sleep(0.02)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen == {FIRST, SECOND}
    assert max(seconds) < 1
