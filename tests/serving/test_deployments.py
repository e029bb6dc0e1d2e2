"""Answers over Sentinels and over a Cluster: real servers with failovers and moving slots."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from redis.cluster import RedisCluster
from redis.crc import key_slot

from recsys.settings import Redis, Settings
from recsys.store.client.connect import Client, connect
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from tests.recsys.store.cluster import begin_to_move, finish_moving, launch_node, move_keys, running_cluster
from tests.recsys.store.sentinels import HOST, NAME, PASSWORD, Watched, running_sentinel
from tests.serving.conftest import VERSION, Shop, application, ids, write_shop
from tests.serving.processes import free_port
from tests.waiting import until, wait_until

KEYS = Keys("recsys")
LATER = "20180102T000000Z"
USERS = tuple(str(number) for number in range(1, 31))
"""Enough to have some in every part of a Cluster."""
SHOP = Shop(users=USERS, history={user: ["ap1"] for user in USERS}, facts=({"item_id": "a3", "available": False},))


def settings_of(redis_settings: Redis, directory: Path) -> Settings:
    """Patient, for machines that do much at once."""
    given = Settings(directory=directory, redis=redis_settings)
    return replace(given, serving=replace(given.serving, read_timeout_ms=300.0))


@asynccontextmanager
async def served(settings: Settings, tmp_path: Path) -> AsyncGenerator[tuple[httpx.AsyncClient, Client]]:
    """The application over a published shop, and a client of its Redis."""
    with connect(settings.redis, tmp_path) as client:
        publish(client, KEYS, VERSION, write_shop(tmp_path / "lists", SHOP), keep_versions=2)
        async with application(settings) as http:
            await until(lambda: all_fresh(http))
            yield http, client


async def all_fresh(http: httpx.AsyncClient) -> bool:
    """Whether every user has the own list, as Redis has it now."""
    return not any([(await answer(http, user))["degraded"] for user in USERS])


async def is_degraded(http: httpx.AsyncClient) -> bool:
    """Whether the server has noticed that Redis does not answer."""
    return (await http.get("/ready")).json()["status"] == "degraded"


async def answer(http: httpx.AsyncClient, user: str) -> dict[str, Any]:
    """A user's answer, which always is one."""
    response = await http.get(f"/v1/recommendations/{user}?n=40")
    result = ids(response)
    assert result
    assert not {"a3", "ap1"} & set(result)
    return response.json()


async def takes_all(http: httpx.AsyncClient, number: int) -> bool:
    """Whether an event of every user is taken."""
    events = [{"user_id": user, "event": "view", "item_id": "a1", "event_id": f"{number}-{user}"} for user in USERS]
    return (await http.post("/v1/events", json=events)).status_code == 202


@asynccontextmanager
async def watching(http: httpx.AsyncClient) -> AsyncGenerator[None]:
    """Request the lists of all users repeatedly: every answer has items."""
    ended = asyncio.Event()

    async def ask() -> None:
        while not ended.is_set():
            for user in USERS:
                await answer(http, user)
                await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        ended.set()
        await asking


async def assert_whole(http: httpx.AsyncClient, client: Client, number: int) -> None:
    """Lists, sessions, events, item changes and the stream are as they should be."""
    before = client.xlen(KEYS.events)
    assert await takes_all(http, number)
    assert client.xlen(KEYS.events) >= before + len(USERS)
    for user in USERS:
        result = await answer(http, user)
        assert {"personal", "session", "bought_with"} >= {item["source"] for item in result["items"][:5]}
        assert {"an1", "aw1"} <= {item["item_id"] for item in result["items"]}
    for available in (False, True):
        response = await http.put("/v1/items/ap2", json={"available": available})
        assert response.status_code == 200
        assert ("ap2" in ids(await http.get("/v1/popular?n=3"))) is available
    session = (await http.get("/v1/users/7")).json()["session"]
    assert session[0]["item_id"] == "a1"


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with running_sentinel(tmp_path / "sentinels") as watched:
        yield watched


def test_a_failover_is_followed(watched: Watched, tmp_path: Path) -> None:
    # The Sentinel asks for no password, as the servers do.
    url = f"redis://:{PASSWORD}@{HOST}:{watched.sentinel}/0"
    settings = settings_of(Redis(url=url, sentinel=NAME), tmp_path / "var")

    async def scenario() -> None:
        async with served(settings, tmp_path) as (http, client):
            await assert_whole(http, client, 0)
            first = watched.primary()
            async with watching(http):
                await asyncio.to_thread(watched.fail_over)
                await until(lambda: takes_all(http, 1))
                await until(lambda: all_fresh(http))
            assert watched.primary() != first
            with redis.Redis(port=watched.primary(), password=PASSWORD) as primary:
                await assert_whole(http, primary, 2)

    asyncio.run(scenario())


@pytest.mark.usefixtures("short_periods")
def test_a_sentinel_that_does_not_answer_is_passed_over(
    watched: Watched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hanging() as port:
        url = f"redis://:{PASSWORD}@{HOST}:{port},{HOST}:{watched.sentinel}/0"
        settings = settings_of(Redis(url=url, sentinel=NAME), tmp_path / "var")

        async def scenario() -> None:
            async with application(settings) as http:

                async def there() -> bool:
                    response = await http.get("/v1/recommendations/7")
                    assert response.json()["error"].startswith("no version is live")
                    return (await http.get("/metrics")).text.count("recsys_redis_able 1.0") == 1

                await until(there)

        asyncio.run(scenario())
    unknown = Redis(url=f"redis://:{PASSWORD}@{HOST}:{watched.sentinel}/0", sentinel="other")

    async def without_primary() -> None:
        async with application(settings_of(unknown, tmp_path / "var")):
            pass

    asyncio.run(without_primary())
    logged = "".join(capsys.readouterr())
    assert "no Sentinel knows a primary other" in logged
    assert PASSWORD not in logged


@contextmanager
def hanging() -> Generator[int]:
    """A port where connections are accepted, and nothing is answered."""
    with socket.create_server((HOST, 0)) as listening:
        yield listening.getsockname()[1]


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[list[int]]:
    """Of a Cluster of this test's own."""
    with running_cluster(tmp_path / "cluster") as ports:
        yield ports


def holder(client: Client, key: str) -> int:
    """The port of the server that has a key."""
    assert isinstance(client, RedisCluster)
    client.nodes_manager.initialize()
    node: Any = client.get_node_from_key(key)
    return int(node.port)


def kill(port: int) -> None:
    """End a server of this test without a word."""
    with redis.Redis(port=port) as client:
        facts: Any = client.info("server")
    os.kill(int(facts["process_id"]), signal.SIGKILL)


def test_a_cluster_whose_slots_move_is_followed(ports: list[int], tmp_path: Path) -> None:
    settings = settings_of(Redis(url=f"redis://{HOST}:{ports[1]}", cluster=True), tmp_path / "var")
    moving = [KEYS.flag("7"), KEYS.live, KEYS.events, KEYS.items, KEYS.item_changes]

    async def scenario() -> None:
        async with served(settings, tmp_path) as (http, client):
            await assert_whole(http, client, 0)
            async with watching(http):
                for key in moving:
                    slot, source = key_slot(key.encode()), ports.index(holder(client, key))
                    move = (ports, slot, source, (source + 1) % 3)
                    await asyncio.to_thread(begin_to_move, *move)
                    await asyncio.to_thread(move_keys, *move)
                    # A moved key is read from its new server before the Cluster has agreed.
                    await until(lambda: takes_all(http, 1))
                    if key != KEYS.flag("7"):
                        await until(lambda: all_fresh(http))
                    await asyncio.to_thread(finish_moving, *move)
                    await until(lambda: takes_all(http, 2))
                    await until(lambda: all_fresh(http))
            await assert_whole(http, client, 3)

            slot, source = (
                key_slot(KEYS.catalogue(LATER).encode()),
                ports.index(holder(client, KEYS.catalogue(LATER))),
            )
            await asyncio.to_thread(finish_moving, ports, slot, source, (source + 1) % 3)
            lists = write_shop(tmp_path / "later", replace(SHOP, letter="b"))
            await asyncio.to_thread(publish, client, KEYS, LATER, lists, 2)

            async def adopted() -> bool:
                return (await answer(http, "7"))["version"] == LATER

            await until(adopted)

    asyncio.run(scenario())


def test_a_cluster_that_loses_nodes_is_served_on(ports: list[int], tmp_path: Path) -> None:
    settings = settings_of(Redis(url=f"redis://{HOST}:{ports[0]}", cluster=True), tmp_path / "var")

    async def scenario() -> None:
        async with served(settings, tmp_path) as (http, client):
            await assert_whole(http, client, 0)
            first = holder(client, KEYS.live)
            with replica_of(first, ports, tmp_path / "replica"):
                async with watching(http):
                    kill(first)
                    await until(lambda: takes_all(http, 1))
                    await until(lambda: all_fresh(http))
                await assert_whole(http, client, 2)
                # This one has no replica.
                kill(next(port for port in ports if port != first))
                async with watching(http):
                    await until(lambda: is_degraded(http))
                assert (await answer(http, "7"))["items"][0]["source"] in ("personal", "session", "bought_with")

    asyncio.run(scenario())


@contextmanager
def replica_of(primary: int, ports: list[int], directory: Path) -> Generator[None]:
    """One more server, which follows one of a Cluster and may take its place."""
    port = free_port()
    with launch_node(directory, port) as process, redis.Redis(port=port, decode_responses=True) as node:
        try:
            wait_until(lambda: answers(node))
            with redis.Redis(port=primary, decode_responses=True) as followed:
                facts: Any = followed.config_get("cluster-port")
                name: Any = followed.execute_command("CLUSTER MYID")
            node.execute_command("CLUSTER MEET", HOST, primary, facts["cluster-port"])
            wait_until(lambda: knows(node, name, len(ports) + 1))
            node.execute_command("CLUSTER REPLICATE", name)
            wait_until(lambda: follows(node))
            for each in ports:
                with redis.Redis(port=each, decode_responses=True) as other:
                    wait_until(lambda other=other: has_replica(other, port))
            yield
        finally:
            process.kill()


def answers(node: redis.Redis) -> bool:
    try:
        return bool(node.ping())
    except redis.ConnectionError:
        return False


def knows(node: redis.Redis, name: str, count: int) -> bool:
    """Whether a server knows another one, and so many in all."""
    nodes: Any = node.execute_command("CLUSTER NODES")
    return len(nodes) == count and any(each["node_id"] == name for each in nodes.values())


def follows(node: redis.Redis) -> bool:
    """Whether a replica has all that its primary has."""
    facts: Any = node.info("replication")
    return facts["master_link_status"] == "up"


def has_replica(node: redis.Redis, port: int) -> bool:
    """Whether a server knows the one at a port as a replica."""
    nodes: Any = node.execute_command("CLUSTER NODES")
    return "slave" in nodes.get(f"{HOST}:{port}", {}).get("flags", "")
