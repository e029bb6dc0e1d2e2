"""Publishing to, and reading from, a real Cluster of three servers."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import NoPermissionError

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.client.client import RedisClient
from recsys.store.client.connect import Client, connect, node_for_key, primaries
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.publish.versions import roll_back
from recsys.store.read import similar_items, user_items, versions
from tests.recsys.store.cluster import begin_to_move, finish_moving, slot_owner
from tests.recsys.store.versions import FIRST, SECOND, THIRD, USERS, assert_live_and_whole
from tests.waiting import wait_until

ListsOf = Callable[[str], Path]


@pytest.fixture
def slot_mover(cluster: RedisCluster, cluster_ports: list[int]) -> Iterator[Callable[[int, bool], None]]:
    """Moves a slot to another node, or begins to; what was begun is done in the end."""
    begun: list[int] = []

    def move(slot: int, whole: bool) -> None:
        source, target = places(slot)
        begin_to_move(cluster_ports, slot, source, target)
        begun.append(slot)
        if whole:
            finish_moving(cluster_ports, slot, source, target)

    def places(slot: int) -> tuple[int, int]:
        source = cluster_ports.index(_owner(cluster, slot))
        return source, (source + 1) % len(cluster_ports)

    yield move
    cluster.flushall(target_nodes=RedisCluster.PRIMARIES)
    for slot in begun:
        finish_moving(cluster_ports, slot, *places(slot))


def _owner(cluster: RedisCluster, slot: int) -> int:
    """Return the port of the node that has a slot, once all nodes know of it."""
    wait_until(lambda: len({slot_owner(node, slot) for node in primaries(cluster)}) == 1)
    cluster.nodes_manager.initialize()
    return slot_owner(primaries(cluster)[0], slot)


def _keys_in(client: Client, version: str) -> list[int]:
    return [sum(1 for _ in node.scan_iter(f"recsys:{version}:*")) for node in primaries(client)]


def test_lists_are_spread_over_the_nodes_and_read_back(
    cluster: RedisCluster, cluster_ports: list[int], keys: Keys, lists_of: ListsOf, tmp_path: Path
) -> None:
    for version in (FIRST, SECOND, THIRD):
        published = publish(cluster, keys, version, lists_of(version), 2)
    assert (published.previous, published.removed, published.keys) == (SECOND, (FIRST,), USERS + 2)
    assert sum(_keys_in(cluster, FIRST)) == 0
    assert all(USERS / 4 < count < USERS / 2 for count in _keys_in(cluster, THIRD))
    assert_live_and_whole(cluster, keys, THIRD)

    settings = Redis(url=f"redis://127.0.0.1:{cluster_ports[2]}", cluster=True)
    with connect(settings, tmp_path) as client:
        assert user_items(client, keys, "7", 1).items == [f"{THIRD}-7"]
        assert [version.name for version in versions(client, keys)] == [THIRD, SECOND]
        assert roll_back(client, keys).version == SECOND
    assert_live_and_whole(cluster, keys, SECOND)
    again = publish(cluster, keys, SECOND, lists_of(SECOND + "-again").parent / SECOND, 2)
    assert again.keys == USERS + 2


def test_ids_with_braces_are_published_and_read_by_one_command(
    cluster: RedisCluster, cluster_ports: list[int], keys: Keys, write_lists: Callable[..., Path]
) -> None:
    users = ["}x", "}", "a}b", "{x", "{}", "x"]
    directory = write_lists(FIRST, {user: [f"{user}-1"] for user in users}, {"}i": ["}j"]}, {"popular": ["p"]})
    history = pl.DataFrame({"user_id": users, "items": [[f"{user}-2"] for user in users]})
    history.write_parquet(directory / "history.parquet")
    publish(cluster, keys, FIRST, directory, 2)
    assert [user_items(cluster, keys, user, 1).items for user in users] == [[f"{user}-1"] for user in users]
    assert similar_items(cluster, keys, "}i", 1) == ["}j"]

    async def read() -> list[Any]:
        settings = Redis(url=f"redis://127.0.0.1:{cluster_ports[0]}", cluster=True)
        client = RedisClient(settings, 5.0)
        await client.open()
        assert await client.wait_until_available(5.0)
        commands = [("MGET", keys.user_items(FIRST, user), keys.history(FIRST, user)) for user in users]
        try:
            return await client.execute_each([(command[1], command) for command in commands])
        finally:
            await client.close()

    assert asyncio.run(read()) == [[f"{user}-1".encode(), f"{user}-2".encode()] for user in users]


def test_the_documented_users_may_publish_and_read(
    cluster: RedisCluster, cluster_ports: list[int], keys: Keys, lists_of: ListsOf, repository: Path, tmp_path: Path
) -> None:
    rules = (repository / "docker" / "redis-users.acl").read_text().splitlines()
    for user, *rule in (line.split()[1:] for line in rules if " default " not in line):
        for node in primaries(cluster):
            node.execute_command("ACL SETUSER", user, "on", ">word", *rule[1:])
    url = f"@127.0.0.1:{cluster_ports[0]}"
    with connect(Redis(url=f"redis://jobs:word{url}", cluster=True), tmp_path) as jobs:
        for version in (FIRST, SECOND, THIRD):
            publish(jobs, keys, version, lists_of(version), 2)
        assert_live_and_whole(jobs, keys, THIRD)
        assert roll_back(jobs, keys).version == SECOND

    async def read() -> Any:
        client = RedisClient(Redis(url=f"redis://server:word{url}", cluster=True), 5.0)
        await client.open()
        assert await client.wait_until_available(5.0)
        try:
            return await client.execute(keys.live, ("GET", keys.live))
        finally:
            await client.close()

    assert asyncio.run(read()) == [SECOND.encode()]
    with RedisCluster.from_url(f"redis://backend:word{url}", decode_responses=True) as backend:
        assert str(backend.get(keys.user_items(SECOND, "7"))).split()[0] == f"{SECOND}-7"
        with pytest.raises(NoPermissionError):
            backend.get(keys.profile(SECOND, "7"))


@pytest.mark.parametrize("whole", [True, False], ids=["moved", "being moved"])
def test_slots_that_move_meanwhile_are_followed(
    cluster: RedisCluster,
    keys: Keys,
    lists_of: ListsOf,
    slot_mover: Callable[[int, bool], None],
    whole: bool,
) -> None:
    users = [str(USERS - 1), str(USERS - 50), "5000"]
    slots = {key_slot(keys.user_items(FIRST, user).encode()) for user in users}
    moved: list[int] = []

    def move(_: int) -> None:
        if not moved:
            for slot in slots:
                slot_mover(slot, whole)
                moved.append(slot)

    publish(cluster, keys, FIRST, lists_of(FIRST), 2, move)
    assert moved
    assert_live_and_whole(cluster, keys, FIRST)
    assert sum(_keys_in(cluster, FIRST)) == USERS + 2


def test_one_node_that_is_full_keeps_the_version_from_going_live(
    cluster: RedisCluster, keys: Keys, lists_of: ListsOf
) -> None:
    publish(cluster, keys, FIRST, lists_of(FIRST), 2)
    busy = [node_for_key(cluster, key) for key in (keys.live, keys.versions, keys.sizes)]
    node = next(node for node in primaries(cluster) if node not in busy)
    node.config_set("maxmemory", 1)
    with pytest.raises(StoreError, match=f"version {SECOND}: Redis refused .* lists, the first as: OOM"):
        publish(cluster, keys, SECOND, lists_of(SECOND), 2)
    assert_live_and_whole(cluster, keys, FIRST)
    assert sum(_keys_in(cluster, SECOND)) == 0
    node.config_set("maxmemory", 0)
    publish(cluster, keys, SECOND, lists_of(SECOND + "-again").parent / SECOND, 2)
    assert_live_and_whole(cluster, keys, SECOND)


def test_a_cluster_that_the_settings_do_not_know_of_is_named(
    cluster_ports: list[int], keys: Keys, lists_of: ListsOf, tmp_path: Path
) -> None:
    for port in cluster_ports:
        client = connect(Redis(url=f"redis://127.0.0.1:{port}"), tmp_path)
        with pytest.raises(StoreError, match=r"is a node of a Cluster: set redis\.cluster = true"):
            publish(client, keys, FIRST, lists_of(f"{FIRST}-{port}").parent / f"{FIRST}-{port}", 2)


def test_a_server_that_is_no_cluster_is_named_without_the_password(client: redis.Redis, tmp_path: Path) -> None:
    port = client.connection_pool.connection_kwargs["port"]
    with pytest.raises(StoreError, match=f"Redis Cluster at 127.0.0.1:{port}: ") as error:
        connect(Redis(url=f"redis://:secret@127.0.0.1:{port}", cluster=True), tmp_path)
    assert "secret" not in str(error.value)
