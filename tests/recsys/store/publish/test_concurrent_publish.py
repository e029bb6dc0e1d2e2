"""Publishes that run at the same time, are killed, or run beside readers."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import redis
from redis.client import Pipeline

from recsys.errors import StoreError
from recsys.store.encoding import decode_text
from recsys.store.keys import Keys
from recsys.store.publish import removal
from recsys.store.publish.list_files import BLOCK_LISTS
from recsys.store.publish.publish import publish
from recsys.store.publish.versions import begin_load, roll_back
from recsys.store.read import live_version, user_items, versions
from tests.recsys.store.versions import FIRST, FOURTH, SECOND, THIRD, USERS
from tests.waiting import wait_until

# Publishes until it is killed: it stops for good after the first block and says so.
PUBLISHER = """
import sys, time
from pathlib import Path
import redis
from redis.client import Pipeline
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish

def hold(lists):
    print(lists, flush=True)
    time.sleep(600)

publish(redis.Redis(port=int(sys.argv[1])), Keys("recsys"), sys.argv[2], Path(sys.argv[3]), 2, hold)
"""

WriteLists = Callable[[str, Mapping[str, Sequence[str]], dict[str, list[str]], dict[str, list[str]]], Path]


def _keys_of(client: redis.Redis, version: str) -> set[bytes | str]:
    return set(client.keys(f"recsys:{version}:*"))


def test_the_pointer_moves_only_from_where_it_was(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    other = new_client()

    def move(_: int) -> None:
        other.set(keys.live, THIRD)

    with pytest.raises(StoreError, match="another publish or rollback came between"):
        publish(client, keys, SECOND, lists_of(SECOND), 2, move)
    assert client.get(keys.live) == THIRD.encode()
    assert _keys_of(client, SECOND) == set()


@pytest.mark.parametrize("other_does", ["rolls back", "loads the same version"])
def test_what_happens_in_the_moment_of_the_move_stops_it(
    client: redis.Redis,
    new_client: Callable[[], redis.Redis],
    keys: Keys,
    lists_of: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    other_does: str,
) -> None:
    for version in (FIRST, SECOND):
        publish(client, keys, version, lists_of(version), 2)
    other = new_client()
    loaded: list[int] = []
    multi = Pipeline.multi

    def act_before(pipeline: Pipeline) -> None:
        # After the publish has read pointer and mark and before its transaction.
        if loaded:
            loaded.clear()
            if other_does == "rolls back":
                roll_back(other, keys, FIRST)
            else:
                begin_load(other, keys, THIRD)
        multi(pipeline)

    monkeypatch.setattr(Pipeline, "multi", act_before)
    with pytest.raises(StoreError, match="another publish or rollback came between"):
        publish(client, keys, THIRD, lists_of(THIRD), 2, loaded.append)
    assert not loaded
    assert live_version(client, keys) == (FIRST if other_does == "rolls back" else SECOND)
    assert {FIRST, SECOND} <= {version.name for version in versions(client, keys) if version.published_at}


def test_of_two_loads_of_one_version_the_later_wins_and_stays_whole(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    lists = lists_of(FIRST)
    other = new_client()

    def overtake(done: int) -> None:
        if done == BLOCK_LISTS:
            publish(other, keys, FIRST, lists, 2)

    with pytest.raises(StoreError, match="another publish or rollback came between"):
        publish(client, keys, FIRST, lists, 2, overtake)
    assert live_version(client, keys) == FIRST
    assert len(_keys_of(client, FIRST)) == USERS + 2


def test_a_load_does_not_go_live_while_another_of_the_same_version_goes_on(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    other = new_client()

    def begin_load(_: int) -> None:
        other.hset(keys.versions, FIRST, "loading by another")

    with pytest.raises(StoreError, match="another publish or rollback came between"):
        publish(client, keys, FIRST, lists_of(FIRST), 2, begin_load)
    assert client.get(keys.live) is None
    assert client.hget(keys.versions, FIRST) == b"loading by another"
    assert len(_keys_of(client, FIRST)) == USERS + 2


def test_of_publishes_that_race_one_goes_live(
    new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    barrier = threading.Barrier(3)
    outcomes: dict[str, str] = {}

    def run(version: str, client: redis.Redis, lists: Path) -> None:
        # By the first block each has read the pointer.
        def meet(done: int) -> None:
            if done == BLOCK_LISTS:
                barrier.wait(30)

        try:
            publish(client, keys, version, lists, 2, meet)
        except StoreError as error:
            outcomes[version] = str(error)
        else:
            outcomes[version] = "live"

    threads = [
        threading.Thread(target=run, args=(version, new_client(), lists_of(version)))
        for version in (FIRST, SECOND, THIRD)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    client = new_client()
    (winner,) = [version for version, outcome in outcomes.items() if outcome == "live"]
    assert live_version(client, keys) == winner
    assert len(_keys_of(client, winner)) == USERS + 2
    assert len(outcomes) == 3


def test_a_killed_publish_is_taken_up_by_the_next(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path], write_lists: WriteLists
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    port = client.connection_pool.connection_kwargs["port"]
    command = [sys.executable, "-c", PUBLISHER, str(port), SECOND, str(lists_of(SECOND))]
    connections = _connections(client)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == BLOCK_LISTS
        process.kill()
    _wait_for_connections(client, connections)
    assert 0 < len(_keys_of(client, SECOND)) <= BLOCK_LISTS
    assert live_version(client, keys) == FIRST
    assert versions(client, keys)[-1].published_at is None

    fewer = write_lists("fewer", {"0": ["new"]}, {}, {"popular": ["p"]})
    published = publish(client, keys, SECOND, fewer, 2)
    assert (published.keys, published.previous, published.removed) == (2, FIRST, ())
    assert len(_keys_of(client, SECOND)) == 2
    assert user_items(client, keys, "0", 9).items == ["new"]


def _connections(client: redis.Redis) -> int:
    return len(cast(list[Any], client.client_list()))


def _wait_for_connections(client: redis.Redis, maximum: int) -> None:
    """Wait until the server has read what a killed process sent, and has dropped its connections."""
    wait_until(lambda: _connections(client) <= maximum, 30)


def test_what_a_killed_publish_left_is_removed_by_one_of_another_version(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    client.hset(keys.versions, SECOND, "loading by a command that was killed")
    client.set(keys.user_items(SECOND, "1"), "half")
    published = publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert (published.previous, published.removed) == (FIRST, (SECOND,))
    assert _keys_of(client, SECOND) == set()


def test_keys_that_a_removed_publisher_wrote_before_it_was_killed_are_removed_too(
    client: redis.Redis, keys: Keys, lists_of: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = map(lists_of, (FIRST, SECOND, THIRD))
    client.hset(keys.versions, SECOND, "loading by a command that was stopped for a while")
    publish(client, keys, FIRST, first, 2)
    client.set(keys.user_items(SECOND, "1"), "written late")
    assert publish(client, keys, FIRST, first, 2).removed == ()
    assert _keys_of(client, SECOND) == set()

    assert publish(client, keys, SECOND, second, 2).removed == ()
    assert client.exists(keys.removed_versions) == 0
    publish(client, keys, THIRD, third, 3)
    assert len(_keys_of(client, SECOND)) == len(_keys_of(client, THIRD))

    client.hset(keys.versions, FOURTH, "loading by a command that was killed")
    monkeypatch.setattr(removal, "WATCH_SECONDS", -1)
    for is_kept in (1, 0):
        publish(client, keys, THIRD, third, 3)
        assert client.exists(keys.removed_versions) == is_kept


def test_readers_never_see_a_missing_or_mixed_list(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: Callable[[str], Path]
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    seen: set[str] = set()
    wrong: list[object] = []
    done = threading.Event()

    def read(reader: redis.Redis, user: int) -> None:
        while not done.is_set():
            version = decode_text(reader.get("recsys:live") or b"")
            seen.add(version)
            expires = time.monotonic() + 0.1
            while time.monotonic() < expires:
                user = (user + 911) % USERS
                items = reader.get(f"recsys:{version}:user:{{{user}}}")
                if items != f"{version}-{user} {version}-x".encode():
                    wrong.append((version, user, items))

    readers = [threading.Thread(target=read, args=(new_client(), start)) for start in (0, 5_000)]
    for reader in readers:
        reader.start()
    for version in (SECOND, THIRD, FOURTH):
        publish(client, keys, version, lists_of(version), 2)
        wait_until(lambda version=version: version in seen)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert seen == {FIRST, SECOND, THIRD, FOURTH}
