"""Publishers that die, and servers that die, fill up, refuse or stall: what is live stays whole, the next try
succeeds."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from recsys.errors import StoreError
from recsys.store.client.connect import Client
from recsys.store.embedded import server_status, start_server
from recsys.store.keys import Keys
from recsys.store.publish.bulk_transfer import Channel
from recsys.store.publish.publish import publish
from recsys.store.publish.versions import roll_back
from recsys.store.read import live_version, versions
from tests.recsys.store.versions import FIRST, FOURTH, SECOND, THIRD, assert_live_and_whole

ListsOf = Callable[[str], Path]

# Publishes, in a process of its own each time, what it is asked to. The first is published before any process is
# forked: imports and compiled code, which take longest, are loaded once.
PUBLISHERS = """
import os, sys
from pathlib import Path
import redis
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish

def publish_lists(version, lists):
    with redis.Redis(port=int(sys.argv[1])) as client:
        publish(client, Keys("recsys"), version, Path(lists), 2)

publish_lists(*sys.stdin.readline().split())
print("published", flush=True)
for line in sys.stdin:
    process_id = os.fork()
    if process_id == 0:
        publish_lists(*line.split())
        os._exit(0)
    print(process_id, flush=True)
    os.waitpid(process_id, 0)
    print("ended", flush=True)
"""


class Killed(BaseException):
    """What nothing catches, as nothing runs in a process that is killed."""


@pytest.fixture
def new_client(new_own_client: Callable[[], redis.Redis]) -> Callable[[], redis.Redis]:
    return new_own_client


@pytest.fixture
def client(own_client: redis.Redis) -> redis.Redis:
    return own_client


@pytest.fixture
def publishers(client: redis.Redis) -> Iterator[subprocess.Popen[str]]:
    port = client.connection_pool.connection_kwargs["port"]
    command = [sys.executable, "-c", PUBLISHERS, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _publish_for(publishers: subprocess.Popen[str], version: str, lists: Path, seconds: float | None) -> float:
    """Publish in another process, which is killed after some seconds; return how long it ran."""
    assert publishers.stdin is not None
    assert publishers.stdout is not None
    publishers.stdin.write(f"{version} {lists}\n")
    publishers.stdin.flush()
    process_id = int(publishers.stdout.readline())
    started = time.perf_counter()
    if seconds is not None:
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGKILL)
    assert publishers.stdout.readline() == "ended\n"
    return time.perf_counter() - started


def _assert_nothing_is_left_over(client: redis.Redis, keys: Keys) -> None:
    """Every version is whole, and every key belongs to one of them."""
    known = versions(client, keys)
    assert all(version.published_at for version in known)
    own = {keys.live, keys.versions, keys.sizes, keys.removed_versions}
    result: list[Any] = list(client.scan_iter(count=10_000))
    owners = {key.decode().split(":")[1] for key in result if key.decode() not in own}
    assert owners == {version.name for version in known}
    sizes: list[Any] = client.hkeys(keys.sizes)
    assert {name.decode() for name in sizes} == owners


def test_a_publisher_may_be_killed_at_any_time(
    client: redis.Redis, keys: Keys, lists_of: ListsOf, publishers: subprocess.Popen[str]
) -> None:
    client.config_set("appendfsync", "no")  # it is not the server that is killed
    lists = {version: lists_of(version) for version in (FIRST, SECOND, THIRD)}
    assert publishers.stdin is not None
    assert publishers.stdout is not None
    publishers.stdin.write(f"{FIRST} {lists[FIRST]}\n")
    publishers.stdin.flush()
    assert publishers.stdout.readline() == "published\n"
    publish(client, keys, SECOND, lists[SECOND], 2)
    whole = _publish_for(publishers, THIRD, lists[THIRD], None)
    assert live_version(client, keys) == THIRD
    for tenths in (1, 2, 3, 4, 5, 6, 8, 10):
        # Whatever is live, the next is another one, and the oldest is removed.
        before = live_version(client, keys)
        after = {FIRST: SECOND, SECOND: THIRD, THIRD: FIRST}[before]
        _publish_for(publishers, after, lists[after], whole * tenths / 10)
        result = live_version(client, keys)
        assert result in (before, after)
        assert_live_and_whole(client, keys, result)
    _publish_for(publishers, FOURTH, lists_of(FOURTH), None)
    assert_live_and_whole(client, keys, FOURTH)
    _assert_nothing_is_left_over(client, keys)


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets so many more sends reach the server; the next one kills, and none comes after it."""
    left = 10**9
    send_command, write = AbstractConnection.send_packed_command, Channel.write

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == -1:
            raise Killed
        if left < 0:
            raise redis.ConnectionError("the process is dead")

    def counted_command(self: AbstractConnection, command: object, check_health: bool = True) -> None:
        count_down()
        send_command(self, command, check_health)

    def counted_write(self: Channel) -> None:
        count_down()
        write(self)

    def set_left(sends: int) -> None:
        nonlocal left
        left = sends

    monkeypatch.setattr(AbstractConnection, "send_packed_command", counted_command)
    monkeypatch.setattr(Channel, "write", counted_write)
    return set_left


def _was_killed(
    client: redis.Redis, keys: Keys, version: str, lists: Path, killed_after: Callable[[int], None]
) -> bool:
    try:
        publish(client, keys, version, lists, 2)
    except Killed:
        return True
    finally:
        killed_after(10**9)
    return False


def test_a_publisher_may_be_killed_before_any_of_its_commands(
    client: redis.Redis,
    new_client: Callable[[], redis.Redis],
    keys: Keys,
    write_lists: Callable[..., Path],
    killed_after: Callable[[int], None],
) -> None:
    lists = {
        version: write_lists(version, {"1": [version]}, {"a": [version]}, {"popular": [version]})
        for version in (FIRST, SECOND, THIRD)
    }

    def live_and_whole() -> str:
        version = live_version(client, keys)
        names = (keys.user_items(version, "1"), keys.similar_items(version, "a"), keys.ranking(version, "popular"))
        assert client.mget(names) == [version.encode()] * 3
        return version

    client.config_set("appendfsync", "no")  # it is not the server that is killed
    lived: set[str] = set()
    commands = 0
    while True:
        client.flushall()
        for version in (FIRST, SECOND):
            publish(client, keys, version, lists[version], 2)
        dying = new_client()
        dying.ping()
        killed_after(commands)
        if not _was_killed(dying, keys, THIRD, lists[THIRD], killed_after):
            break
        commands += 1
        lived.add(live_and_whole())
        roll_back(client, keys)
        live_and_whole()
        publish(client, keys, THIRD, lists[THIRD], 2)
        assert live_and_whole() == THIRD
        _assert_nothing_is_left_over(client, keys)
    assert lived == {SECOND, THIRD}
    assert commands > 20


def test_a_server_that_is_killed_comes_back_with_what_was_live(
    client: redis.Redis, server_directory: Path, keys: Keys, lists_of: ListsOf
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)

    status = server_status(server_directory)
    assert status is not None

    def kill(_: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(status.process_id, signal.SIGKILL)

    hasty: Client = redis.Redis(port=client.connection_pool.connection_kwargs["port"], retry=Retry(NoBackoff(), 0))
    with pytest.raises(StoreError, match=r"Redis at .*:[0-9]+: "):
        publish(hasty, keys, SECOND, lists_of(SECOND), 2, kill)
    start_server(server_directory)
    assert_live_and_whole(client, keys, FIRST)
    publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert_live_and_whole(client, keys, THIRD)
    _assert_nothing_is_left_over(client, keys)


def test_a_full_server_makes_room_by_what_a_killed_publisher_left(
    client: redis.Redis, keys: Keys, lists_of: ListsOf
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    client.hset(keys.versions, SECOND, "loading by a command that was killed")
    for start in range(0, 20_000, 2_000):
        client.mset({keys.user_items(SECOND, str(user)): "half " * 20 for user in range(start, start + 2_000)})
    client.config_set("maxmemory", client.info()["used_memory"] - 1)
    with pytest.raises(redis.OutOfMemoryError):
        client.set("key", "value")
    published = publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert published.removed == (SECOND,)
    assert_live_and_whole(client, keys, THIRD)
    _assert_nothing_is_left_over(client, keys)


def _become_replica(client: redis.Redis, refuse: bool) -> None:
    # Of a server that is not there: it keeps what it has and takes no writes.
    client.execute_command("REPLICAOF", *(("127.0.0.1", 1) if refuse else ("NO", "ONE")))


def _want_replicas(client: redis.Redis, refuse: bool) -> None:
    client.config_set("min-replicas-to-write", int(refuse))


def _fill_up(client: redis.Redis, refuse: bool) -> None:
    client.config_set("maxmemory", int(refuse))


@pytest.mark.parametrize(
    ("let", "message"),
    [(_become_replica, "READONLY"), (_want_replicas, "NOREPLICAS"), (_fill_up, "OOM")],
    ids=["replica", "without replicas", "full"],
)
@pytest.mark.parametrize("at", ["start", "middle"])
def test_a_server_that_refuses_writes_is_published_to_when_it_takes_them_again(
    client: redis.Redis,
    new_client: Callable[[], redis.Redis],
    keys: Keys,
    lists_of: ListsOf,
    let: Callable[[redis.Redis, bool], None],
    message: str,
    at: str,
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    other = new_client()
    if at == "start":
        let(other, True)
        with pytest.raises(StoreError, match=r"Redis at .*(write|maxmemory|replicas)"):
            publish(client, keys, SECOND, lists_of(SECOND), 2)
    else:
        with pytest.raises(
            StoreError, match=f"version {SECOND}: Redis refused [0-9]+ lists, the first as: {message}"
        ):
            publish(client, keys, SECOND, lists_of(SECOND), 2, lambda _: let(other, True))
    assert_live_and_whole(client, keys, FIRST)
    let(other, False)
    assert_live_and_whole(client, keys, FIRST)
    publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert_live_and_whole(client, keys, THIRD)
    _assert_nothing_is_left_over(client, keys)


def _stall(client: redis.Redis, milliseconds: int) -> Callable[[int], None]:
    """Writes wait for so long from each block on."""

    def stall(_: int) -> None:
        client.client_pause(milliseconds, all=False)

    return stall


def test_a_server_that_stalls_for_too_long_is_given_up(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: ListsOf
) -> None:
    publish(client, keys, FIRST, lists_of(FIRST), 2)
    other = new_client()
    port = client.connection_pool.connection_kwargs["port"]
    hasty: Client = redis.Redis(port=port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))
    with pytest.raises(StoreError, match=rf"Redis at .*:{port}: no answer in 0\.3 seconds"):
        publish(hasty, keys, SECOND, lists_of(SECOND), 2, _stall(other, 60_000))
    assert_live_and_whole(client, keys, FIRST)
    other.client_unpause()
    publish(client, keys, THIRD, lists_of(THIRD), 2)
    assert_live_and_whole(client, keys, THIRD)
    _assert_nothing_is_left_over(client, keys)


def test_a_server_that_is_slow_is_waited_for(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, lists_of: ListsOf
) -> None:
    other = new_client()
    published = publish(client, keys, FIRST, lists_of(FIRST), 2, _stall(other, 300))
    assert published.seconds > 0.3
    assert_live_and_whole(client, keys, FIRST)
