import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import redis
from redis.asyncio.client import Pipeline

from recsys.errors import NothingPublishedError, StoreError
from recsys.settings import Redis
from recsys.store.connection_async import connect_async
from recsys.store.keys import Keys
from recsys.store.read import UserItems
from serving.lists import LOOKS, Lists
from tests.serving.conftest import Publish

KEYS = Keys("recsys")
V1, V2, V3 = (f"2017010{day}T000000Z" for day in (1, 2, 3))


def with_lists(url: str, use: Callable[[Lists], Awaitable[Any]], connections: int = 4, seconds: float = 5.0) -> Any:
    """What `use` makes of a worker's lists."""

    async def run() -> Any:
        lists = Lists(connect_async(Redis(url=url), connections), KEYS, seconds, connections)
        try:
            return await use(lists)
        finally:
            await lists.close()

    return asyncio.run(run())


def calls(client: redis.Redis, command: str) -> int:
    statistics: Any = client.info("commandstats")
    return statistics.get(f"cmdstat_{command}", {"calls": 0})["calls"]


def reads(client: redis.Redis) -> int:
    statistics: Any = client.info("stats")
    return statistics["total_reads_processed"]


def items(letter: str) -> list[str]:
    return [f"{letter}{rank}" for rank in range(1, 31)]


def test_a_user_has_a_personal_list_and_everyone_else_the_popular_one(url: str, publish_lists: Publish) -> None:
    publish_lists(V1, "a")
    known, unknown = with_lists(url, lambda lists: asyncio.gather(lists.user("7"), lists.user("nobody")))
    assert known == UserItems(items("a"), "personal", V1)
    assert unknown == UserItems(items("ap"), "popular", V1)


def test_a_user_takes_one_round_trip_known_or_not(url: str, client: redis.Redis, publish_lists: Publish) -> None:
    publish_lists(V1, "a")
    client.config_resetstat()
    read_before = reads(client)

    async def many(lists: Lists) -> None:
        for user_id in ["7", *(f"nobody{number}" for number in range(20))]:
            await lists.user(user_id)

    with_lists(url, many)
    # The first request learns which version is live, the first unknown user which items are popular.
    assert calls(client, "get") == 1 + 2 * 22
    assert 23 <= reads(client) - read_before < 23 + 10  # some for connecting and for what is asked here


def test_a_publish_is_seen_by_the_next_request(url: str, publish_lists: Publish) -> None:
    publish_lists(V1, "a")

    async def across(lists: Lists) -> list[UserItems]:
        before = [await lists.user("7"), await lists.user("nobody")]
        await asyncio.to_thread(publish_lists, V2, "b")
        return [*before, await lists.user("nobody"), await lists.user("7")]

    found = with_lists(url, across)
    assert [(each.version, each.items[0]) for each in found] == [(V1, "a1"), (V1, "ap1"), (V2, "bp1"), (V2, "b1")]


def test_a_version_that_was_removed_meanwhile_is_not_taken_for_a_user_without_a_list(
    url: str, client: redis.Redis, publish_lists: Publish
) -> None:
    publish_lists(V1, "a")

    async def across(lists: Lists) -> UserItems:
        await lists.user("nobody")
        for version in (V2, V3):
            await asyncio.to_thread(publish_lists, version, "b")
        return await lists.user("7")

    assert with_lists(url, across) == UserItems(items("b"), "personal", V3)
    assert not client.exists(KEYS.user_items(V1, "7"))


@pytest.fixture
def after_each_read(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Lets something happen whenever Redis has answered."""
    read = Pipeline.execute

    def interrupt(happens: Callable[[], object]) -> None:
        async def read_and_interrupt(pipeline: Pipeline) -> Any:
            found = await read(pipeline)
            await asyncio.to_thread(happens)
            return found

        monkeypatch.setattr(Pipeline, "execute", read_and_interrupt)

    return interrupt


def test_a_publish_between_the_user_s_list_and_the_popular_one_mixes_nothing(
    url: str, publish_lists: Publish, after_each_read: Callable[[Callable[[], object]], None]
) -> None:
    publish_lists(V1, "a")
    versions = iter([V2, V3])

    def replace_twice() -> None:
        for version in versions:
            publish_lists(version, "b")

    after_each_read(replace_twice)
    assert with_lists(url, lambda lists: lists.user("nobody")) == UserItems(items("bp"), "popular", V3)


def test_a_pointer_that_never_stands_still_is_given_up(
    url: str,
    client: redis.Redis,
    publish_lists: Publish,
    after_each_read: Callable[[Callable[[], object]], None],
) -> None:
    publish_lists(V1, "a")
    moves = iter(range(100))

    def move() -> None:
        client.set(KEYS.live, f"v{next(moves)}")

    after_each_read(move)
    with pytest.raises(StoreError, match=f"moved {LOOKS} times"):
        with_lists(url, lambda lists: lists.user("nobody"))


def test_a_popular_list_does_not_outlive_the_pointer(url: str, client: redis.Redis, publish_lists: Publish) -> None:
    publish_lists(V1, "a")

    async def across(lists: Lists) -> None:
        await lists.user("nobody")
        await asyncio.to_thread(client.delete, KEYS.live)
        await lists.user("nobody")

    with pytest.raises(NothingPublishedError, match="run `recsys nightly`"):
        with_lists(url, across)


def test_a_worker_opens_no_more_connections_than_it_may(
    url: str, client: redis.Redis, publish_lists: Publish
) -> None:
    publish_lists(V1, "a")

    async def many(lists: Lists) -> tuple[list[UserItems], int]:
        before = len(await asyncio.to_thread(client.client_list))
        found = await asyncio.gather(*(lists.user("7") for _ in range(50)))
        return found, len(await asyncio.to_thread(client.client_list)) - before

    found, opened = with_lists(url, many, connections=3)
    assert {each.source for each in found} == {"personal"}
    assert opened <= 3


def test_a_silent_redis_is_given_up_in_time(url: str, client: redis.Redis, publish_lists: Publish) -> None:
    publish_lists(V1, "a")

    async def while_silent(lists: Lists) -> list[Any]:
        await asyncio.to_thread(client.client_pause, 2_000)
        # More than there are connections: those that wait for one have no more time than the others.
        failed = await asyncio.gather(*(lists.user("7") for _ in range(5)), return_exceptions=True)
        await asyncio.to_thread(client.client_unpause)
        found = await lists.user("7")
        return [*failed, found]

    *failed, found = with_lists(url, while_silent, connections=2, seconds=0.3)
    assert {(type(each), "no answer within 0.3 s" in str(each)) for each in failed} == {(StoreError, True)}
    assert found.source == "personal"


@pytest.mark.parametrize("address", ["http://:secret@host", "redis://:pass:secret"])
def test_an_address_that_is_none_is_not_shown(address: str) -> None:
    with pytest.raises(StoreError, match=r"redis\.url = \(not shown\)") as error:
        connect_async(Redis(url=address), 1)
    assert "secret" not in str(error.value)
