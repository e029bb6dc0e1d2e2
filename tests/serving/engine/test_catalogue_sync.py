"""Item changes applied to a catalogue, and a catalogue that follows the live version."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import polars as pl
import pytest
import redis

from recsys.settings import Settings
from recsys.store.catalogue import CATALOGUE_SCHEMA
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.engine.catalogue import Catalogue
from serving.engine.catalogue_sync import MAX_CHANGES_PER_READ, CatalogueSync, Facts
from serving.engine.stored_changes import apply_changes
from tests.serving.conftest import VERSION, Publish, Shop
from tests.waiting import PATIENCE_SECONDS, until_async

KEYS = Keys("recsys")
NEXT_VERSION = "20180102T000000Z"
BEFORE, AFTER = "2017-12-31T23:59:59Z", "2018-01-01T00:00:00Z"


@pytest.fixture
def catalogue() -> Catalogue:
    """Return the catalogue of one item, as of the first day of 2018."""
    rows = [{"item_id": "a", "price": 1.0, "brand": "X", "available": True}]
    return Catalogue(VERSION, pl.DataFrame(rows, schema=CATALOGUE_SCHEMA))


@asynccontextmanager
async def open_sync(settings: Settings, directory: Path) -> AsyncGenerator[CatalogueSync]:
    """Open a catalogue that follows the live version."""
    client = RedisClient(settings.redis, 5.0)
    await client.open()
    assert await client.wait_until_available(PATIENCE_SECONDS)
    sync = CatalogueSync(client, client, KEYS, directory, static_list=None)
    await sync.open()
    try:
        yield sync
    finally:
        await sync.close()
        await client.close()


def change(client: redis.Redis, item_id: str, facts: Facts) -> None:
    """Write an item's change as another worker does."""
    client.xadd(KEYS.item_changes, {item_id: msgspec.json.encode(facts)})


@pytest.mark.parametrize(
    ("changes", "price", "brand"),
    [
        ([], 1.0, "X"),
        ([{"price": 2.0, "updated_at": AFTER}], 2.0, "X"),
        ([{"price": 2.0, "updated_at": BEFORE}], 1.0, "X"),
        ([{"price": 2.0}], 2.0, "X"),
        ([{"price": 2.0, "updated_at": AFTER}, {"brand": "Y", "updated_at": AFTER}], 2.0, "Y"),
        ([{"price": 2.0, "updated_at": AFTER}, {"price": 3.0, "updated_at": AFTER}], 3.0, "X"),
        ([{"price": 2.0, "updated_at": AFTER}, {"price": None, "updated_at": AFTER}], None, "X"),
    ],
    ids=["none", "later", "before the version", "without a time", "of two facts", "in order", "back to none"],
)
def test_changes_since_the_version_are_applied_in_order(
    catalogue: Catalogue, changes: list[Facts], price: float | None, brand: str
) -> None:
    apply_changes(catalogue, [("a", facts) for facts in changes])
    facts = catalogue.facts("a")
    assert (facts["price"], facts["brand"]) == (price, brand)


def test_a_changed_item_that_is_new_is_the_least_popular(catalogue: Catalogue) -> None:
    apply_changes(catalogue, [("new", {"title": "Tea", "updated_at": AFTER}), ("old", {"updated_at": BEFORE})])
    assert list(catalogue.popular()) == ["a", "new"]
    assert catalogue.title("new") == "Tea"


def test_a_refresh_reads_the_changes_of_other_workers(
    settings: Settings, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop()
    client.hset(KEYS.items, "ap1", msgspec.json.encode({"price": 4.0, "updated_at": AFTER}))
    client.sadd(KEYS.unavailable, "ap2")

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            assert sync.catalogue is not None
            assert sync.catalogue.facts("ap1")["price"] == 4.0
            assert list(sync.catalogue.popular())[:2] == ["ap1", "ap3"]
            change(client, "ap1", {"available": False, "updated_at": AFTER})
            client.xadd(KEYS.item_changes, {"ap3": b"not JSON"})
            change(client, "ap4", {"price": 5.0, "updated_at": AFTER})
            await sync.refresh()
            assert list(sync.catalogue.popular())[:2] == ["ap3", "ap4"]
            assert sync.catalogue.facts("ap4")["price"] == 5.0

    asyncio.run(scenario())


OFF, ON = ({"available": is_available, "updated_at": AFTER} for is_available in (False, True))
OTHER: Facts = {"price": 5.0, "updated_at": AFTER}


def change_many(client: redis.Redis, changes: Sequence[tuple[str, Facts]], max_length: int | None = None) -> None:
    """Write changes as another worker does, to the stream and the hash; the stream keeps the last ones."""
    with client.pipeline(transaction=False) as pipeline:
        for item_id, facts in changes:
            pipeline.xadd(KEYS.item_changes, {item_id: msgspec.json.encode(facts)})
        pipeline.hset(
            KEYS.items, mapping={item_id: msgspec.json.encode(facts) for item_id, facts in dict(changes).items()}
        )
        if max_length is not None:
            pipeline.xtrim(KEYS.item_changes, maxlen=max_length, approximate=False)
        pipeline.execute()


def test_a_refresh_reads_more_changes_than_one_reply_has(
    settings: Settings, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            assert sync.catalogue is not None
            change_many(client, [("ap2", OTHER)] * (2 * MAX_CHANGES_PER_READ) + [("ap1", OFF)])
            await sync.refresh()
            assert "ap1" in sync.catalogue.unavailable

    asyncio.run(scenario())


def test_a_worker_that_starts_does_not_go_through_the_past(
    settings: Settings, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop()
    others = [("ap2", OTHER)] * (MAX_CHANGES_PER_READ + 1)
    change_many(client, [("ap1", OFF), *others, ("ap1", ON), *others, ("ap1", OFF)])

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            assert sync.catalogue is not None
            for _ in range(5):
                assert "ap1" in sync.catalogue.unavailable
                await sync.refresh()

    asyncio.run(scenario())


def test_a_worker_that_was_stopped_for_long_learns_of_changes_that_have_left_the_stream(
    settings: Settings, publish_shop: Publish, client: redis.Redis, tmp_path: Path
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            catalogue = sync.catalogue
            assert catalogue is not None
            kept = 2 * MAX_CHANGES_PER_READ
            change_many(client, [("ap1", OFF), *[("ap2", OTHER)] * kept], kept)
            await until_async(lambda: "ap1" in catalogue.unavailable)

    asyncio.run(scenario())


def test_callers_in_one_turn_of_the_event_loop_share_a_refresh(
    settings: Settings, publish_shop: Publish, tmp_path: Path
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            first = sync.refresh()
            assert sync.refresh() is first
            await first
            assert sync.refresh() is not first

    asyncio.run(scenario())


def test_a_new_version_is_adopted_beside_the_one_before(
    settings: Settings, publish_shop: Publish, tmp_path: Path
) -> None:
    publish_shop()

    async def scenario() -> None:
        async with open_sync(settings, tmp_path / "snapshot") as sync:
            publish_shop(Shop(letter="b"), NEXT_VERSION)
            await until_async(lambda: sync.catalogue is not None and sync.catalogue.version == NEXT_VERSION)
            assert sync.pointer == NEXT_VERSION
            old, new = sync.find_version(VERSION), sync.find_version(NEXT_VERSION)
            assert old is not None
            assert new is not None
            assert (next(old.popular()), next(new.popular())) == ("ap1", "bp1")
            assert sync.find_version("20180103T000000Z") is None
            # A change is applied to both, by this worker at once.
            sync.apply_local("ap1", {"available": False})
            sync.apply_local("bp1", {"available": False})
            assert (next(old.popular()), next(new.popular())) == ("ap2", "bp2")
            snapshot = tmp_path / "snapshot" / f"catalogue-{NEXT_VERSION}.parquet"
            await until_async(lambda: list(snapshot.parent.glob("*.parquet")) == [snapshot])

    asyncio.run(scenario())
