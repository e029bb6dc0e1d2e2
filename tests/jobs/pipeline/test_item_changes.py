"""Lake, Redis and HTTP agree on the catalogue: nights between changes by the feed and by HTTP."""

import asyncio
from collections.abc import Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import redis

from jobs.ingest.ingest import MAX_CLOCK_SKEW, ingest
from jobs.ingest.stream import archive
from jobs.lake.lake import Lake, open_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.pipeline import STEPS
from jobs.pipeline.run import open_run
from jobs.pipeline.trending import trending_items
from jobs.progress import LogProgress
from recsys.settings import Redis, Settings, Table, load_settings
from recsys.store.encoding import decode_list, decode_text
from recsys.store.keys import Keys
from tests.jobs.conftest import SHOP_SETTINGS
from tests.serving.conftest import application, ids
from tests.shop import DAYS, ITEMS, write_shop_events
from tests.waiting import until

KEYS = Keys("recsys")
LATEST = datetime(2030, 1, 1, tzinfo=UTC)
ALL = frozenset(f"item{number}" for number in range(ITEMS))
STEP_NAMES = frozenset(step.name for step in STEPS) - {"report"}  # it takes seconds, and nothing reads it
FEED = Table(
    "feed",
    "items",
    "feed.csv",
    {"item_id": "sku", "title": "sku", "available": "on_sale", "stock": "qty"},
    complete=True,
)
EVENTS = Table(
    "events",
    "events",
    "events.parquet",
    {name: name for name in ("user_id", "item_id", "event", "timestamp", "price", "quantity")},
)


@dataclass
class ShopInTime:
    """A shop whose feed is read in nights, and whose server runs in between with a clock of its own."""

    settings: Settings
    directory: Path
    client: redis.Redis
    feed: dict[str, tuple[str, str]] = field(default_factory=lambda: dict.fromkeys(sorted(ALL), ("", "")))
    """Item -> `on_sale` and `qty` in the feed."""
    seconds: float = 0.0

    @property
    def lake(self) -> Lake:
        """The lake."""
        return open_lake(self.settings)

    def set_clock(self, time: str) -> None:
        """Set the time of the server, in April 2026."""
        self.seconds = datetime.fromisoformat(f"2026-04-{time}+00:00").timestamp()

    def archive(self) -> None:
        """Move what was changed online into the lake."""
        archive(self.lake, self.settings.sources, self.client, KEYS, LATEST)

    def ingest(self, time: str) -> None:
        """Read the feed and the events at a time in April 2026."""
        latest = datetime.fromisoformat(f"2026-04-{time}+00:00") + MAX_CLOCK_SKEW
        rows = [f"{item_id},{on_sale},{quantity}\n" for item_id, (on_sale, quantity) in self.feed.items()]
        (self.directory / "feed.csv").write_text("sku,on_sale,qty\n" + "".join(rows))
        ingest((str(self.directory),), self.settings.sources, self.lake, latest)

    def publish(self, as_of: str) -> str:
        """Run all steps of a night as of a time in April 2026, and return the version."""
        moment = datetime.fromisoformat(f"2026-04-{as_of}+00:00")
        with open_run(self.settings, self.lake, moment) as run:
            context = RunContext(run, self.lake, self.settings, LogProgress())
            for step in STEPS:
                if step.name in STEP_NAMES:
                    context = step.work(context)
            return run.id

    def night(self, day: str) -> str:
        """Archive, ingest and publish at three o'clock, as `recsys nightly` does, what was before midnight."""
        self.archive()
        self.ingest(f"{day}T03:00:00")
        return self.publish(f"{day}T00:00:00")

    def published(self, version: str) -> set[str]:
        """Return the items of all lists of a version that are shown."""
        kept = [key for key in self.client.scan_iter(f"recsys:{version}:*") if key.split(b":")[2] != b"history"]
        keys = [key for key in kept if b"profile" not in key]
        values = [self.client.get(key) for key in keys if self.client.type(key) == b"string"]
        return {item_id for value in values for item_id in decode_list(value)}

    def unavailable(self) -> set[str]:
        """Return what backends that read lists leave out."""
        return {decode_text(item_id) for item_id in self.client.smembers(KEYS.unavailable)}


@pytest.fixture
def shop(valkey: redis.Redis, tmp_path: Path) -> ShopInTime:
    """Return a shop with events up to 7 April 2026, before its first night."""
    directory = tmp_path / "shop"
    directory.mkdir()
    write_shop_events(directory / "events.parquet", 60, DAYS - 3)
    config = tmp_path / "recsys.toml"
    config.write_text(SHOP_SETTINGS.format(repeat="allow").replace(', "item_knn", "repurchase"', ""))
    settings = load_settings(config, {})
    port = valkey.connection_pool.connection_kwargs["port"]
    settings = replace(
        settings,
        directory=tmp_path / "var",
        redis=Redis(url=f"redis://127.0.0.1:{port}/0"),
        sources=replace(settings.sources, tables=(EVENTS, FEED)),
        serving=replace(settings.serving, read_timeout_ms=500.0, impressions=False),
    )
    return ShopInTime(settings, directory, valkey)


async def put(http: httpx.AsyncClient, item_id: str, **facts: object) -> None:
    """Change an item over HTTP."""
    assert (await http.put(f"/v1/items/{item_id}", json=facts)).status_code == 200


async def served(http: httpx.AsyncClient, version: str) -> set[str]:
    """Return the items of answers, once the server has adopted a version."""

    async def is_adopted() -> bool:
        return (await http.get("/ready")).json()["version"] == version

    await until(is_adopted)
    paths = ("recommendations/user1", "recommendations/nobody", "similar/item3", "trending", "popular")
    return {item_id for path in paths for item_id in ids(await http.get(f"/v1/{path}?n=100"))}


async def off(shop: ShopInTime, http: httpx.AsyncClient, version: str) -> Set[str]:
    """Return the items that are in no answer, which a server that has just been started agrees with."""
    running = ALL - await served(http, version)
    async with application(shop.settings, lambda: shop.seconds) as restarted:
        assert ALL - await served(restarted, version) == running
    return running


def test_the_latest_word_on_an_item_wins(shop: ShopInTime) -> None:
    shop.feed |= {"item1": ("true", ""), "item2": ("true", ""), "item5": ("", "0"), "item6": ("", "4")}

    async def scenario() -> None:
        first = shop.night("09")
        shop.set_clock("09T12:00:00")
        async with application(shop.settings, lambda: shop.seconds) as http:
            assert await off(shop, http, first) == {"item5"}
            for item_id in ("item1", "item2"):
                await put(http, item_id, available=False)
            await put(http, "item5", stock=2)
            await put(http, "item6", stock=0)
            assert await off(shop, http, first) == {"item1", "item2", "item6"} == shop.unavailable()

            # The feed repeats what it said, and no longer holds item3.
            del shop.feed["item3"]
            second = shop.night("10")
            assert await off(shop, http, second) == {"item1", "item2", "item3", "item6"}
            assert shop.published(second) == ALL - {"item1", "item2", "item3", "item6"}
            assert shop.unavailable() == {"item1", "item2", "item6"}
            assert "item3" not in trending_items(shop.lake, shop.settings, datetime(2026, 4, 10, tzinfo=UTC))
            assert shop.client.exists(KEYS.similar_items(second, "item3"))  # its events still count

            # After midnight, up to which the night reads events, HTTP is followed by the feed; item6 is sold again.
            shop.set_clock("11T00:30:00")
            await put(http, "item4", available=False)
            shop.feed |= {"item2": ("false", ""), "item4": ("true", ""), "item6": ("", "7")}
            third = shop.night("11")
            assert await off(shop, http, third) == {"item1", "item2", "item3"}
            assert shop.unavailable() == {"item1", "item2"}

            shop.feed |= {"item2": ("true", ""), "item3": ("", "")}
            fourth = shop.night("12")
            assert await off(shop, http, fourth) == {"item1"} == shop.unavailable()
            shop.set_clock("12T12:00:00")
            # Another fact does not bring back what was said of availability before.
            await put(http, "item2", price=5.0)
            await put(http, "item3", stock=0)
            assert await off(shop, http, fourth) == {"item1", "item3"} == shop.unavailable()
            await put(http, "item2", available=False)
            switched_off = {"item1", "item2", "item3"}
            assert await off(shop, http, fourth) == switched_off == shop.unavailable()
            assert await off(shop, http, shop.night("13")) == switched_off == shop.unavailable()

    asyncio.run(scenario())


def test_a_change_between_the_archive_and_the_time_of_the_run_is_not_lost(shop: ShopInTime) -> None:
    async def scenario() -> None:
        first = shop.night("10")
        shop.set_clock("10T23:59:58")
        async with application(shop.settings, lambda: shop.seconds) as http:
            await put(http, "item1", available=False)
            shop.archive()
            shop.set_clock("10T23:59:59")
            await put(http, "item2", available=False)
            assert await off(shop, http, first) == {"item1", "item2"}
            shop.ingest("11T00:00:00")
            second = shop.publish("11T00:00:00.000001")
            assert await off(shop, http, second) == {"item1", "item2"} == shop.unavailable()
            third = shop.night("12")
            assert await off(shop, http, third) == {"item1", "item2"}

    asyncio.run(scenario())
