"""A shop with variants from its files to its answers: ingest, a night, Redis and HTTP."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import redis

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake, open_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.pipeline import STEPS
from jobs.pipeline.run import Run, open_run
from jobs.pipeline.trending import trending_items
from jobs.progress import LogProgress
from recsys.settings import Redis, Settings, Table, load_settings
from recsys.store.encoding import decode_list
from recsys.store.keys import TRENDING, Keys, popular_name
from tests.jobs.conftest import SHOP_SETTINGS
from tests.serving.conftest import application, ids

KEYS = Keys("recsys")
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 60
AS_OF = FIRST_DAY + timedelta(days=DAYS)
SIZES = ("S", "M", "L")
PRODUCTS = 12
UNAVAILABLE = {"p2-M", "p3-S", "p3-M", "p3-L"}
STEP_NAMES = frozenset(step.name for step in STEPS) - {"report"}  # it takes seconds, and nothing reads it
ITEMS = Table(
    "products",
    "items",
    "products.csv",
    {"item_id": "sku", "group_id": "handle", "title": "name", "category": "shelf", "available": "on_sale",
     "attributes": ("size",)},
)  # fmt: skip
ORDERS = Table(
    "orders", "events", "orders.parquet", {name: name for name in ("user_id", "item_id", "event", "timestamp")}
)


def write_shop(directory: Path) -> None:
    """Write products in three sizes, titles on the first row only, and users who buy one size each.

    Users of even numbers buy the first half of the products, the others the second half. Two more users have one
    order each, of two variants of product 0.
    """
    directory.mkdir()
    rows: list[str] = []
    for product in range(PRODUCTS):
        for size in SIZES:
            sku = f"p{product}-{size}"
            facts = f"Product {product},shelf {product % 2}" if size == "S" else ","
            rows.append(f"{sku},p{product},{facts},{size},{'no' if sku in UNAVAILABLE else ''}")
    (directory / "products.csv").write_text(
        "\n".join(["sku,handle,name,shelf,size,on_sale", *rows, "solo,,Solo,,,"])
    )
    generator = np.random.default_rng(0)
    orders: list[tuple[str, str, str, datetime]] = []
    for day in range(DAYS):
        for user in generator.integers(30, size=12).tolist():
            product = int(generator.integers(PRODUCTS // 2)) + user % 2 * (PRODUCTS // 2)
            when = FIRST_DAY + timedelta(days=day, seconds=int(generator.integers(86_400)))
            orders.append((f"user{user}", f"p{product}-{SIZES[user % 3]}", "purchase", when))
            orders.append((f"user{user}", "solo", "view", when))
    orders += [  # product 4 is on the rise
        (f"user{user}", f"p4-{SIZES[user % 3]}", "view", AS_OF - timedelta(hours=user + 1))
        for user in range(0, 30, 2)
    ]
    when = AS_OF - timedelta(days=40)
    orders += [("small", "p0-S", "purchase", when), ("large", "p0-L", "purchase", when)]
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(orders, schema=columns, orient="row").write_parquet(directory / "orders.parquet")


@dataclass(frozen=True)
class VariantShop:
    """A shop after its first night."""

    settings: Settings
    lake: Lake
    run: Run
    client: redis.Redis

    def read(self, key: str) -> list[str]:
        """Read a list from Redis."""
        return decode_list(self.client.get(key))

    def owners(self, kind: str) -> list[str]:
        """Return the owners of all lists of a kind."""
        prefix = f"recsys:{self.run.id}:{kind}:{{"
        return sorted(key.decode().removeprefix(prefix)[:-1] for key in self.client.scan_iter(f"{prefix}*"))


def group(item_id: str) -> str:
    return item_id.partition("-")[0]


def assert_one_of_each_group(item_ids: Iterable[str]) -> None:
    groups = [group(item_id) for item_id in item_ids]
    assert groups
    assert len(groups) == len(set(groups))


@pytest.fixture
def shop(valkey: redis.Redis, tmp_path: Path) -> VariantShop:
    directory = tmp_path / "shop"
    write_shop(directory)
    config = tmp_path / "recsys.toml"
    config.write_text(SHOP_SETTINGS.format(repeat="exclude").replace(', "repurchase"', ""))
    settings = load_settings(config, {})
    port = valkey.connection_pool.connection_kwargs["port"]
    settings = replace(
        settings,
        directory=tmp_path / "var",
        redis=Redis(url=f"redis://127.0.0.1:{port}/0"),
        sources=replace(settings.sources, tables=(ITEMS, ORDERS), exclude_events=("purchase",)),
        lists=replace(settings.lists, variant_attributes=("size",)),
        serving=replace(settings.serving, read_timeout_ms=500.0, impressions=False),
        anomalies=replace(settings.anomalies, min_support=1),
    )
    lake = open_lake(settings)
    ingest((str(directory),), settings.sources, lake, AS_OF)
    with open_run(settings, lake, AS_OF) as run:
        context = RunContext(run, lake.by_group(), settings, LogProgress())
        for step in STEPS:
            if step.name in STEP_NAMES:
                context = step.work(context)
    return VariantShop(settings, lake, run, valkey)


def test_lists_and_answers_hold_one_variant_of_a_product_in_the_size_that_the_user_buys(shop: VariantShop) -> None:
    check_lists(shop)
    asyncio.run(check_answers(shop))


def check_lists(shop: VariantShop) -> None:
    """Check that lists have one available variant of each product, in the user's size, none of an owned product."""
    interactions = read_interactions(shop.run, shop.settings.sources)
    assert interactions.items.values.to_list() == sorted(
        [f"p{product}-L" for product in range(PRODUCTS)] + ["solo"]
    )
    owned = interactions.owned.toarray()
    small, large = (owned[interactions.users.values.to_list().index(user)] for user in ("small", "large"))
    assert (small == large).all()

    version = shop.run.id
    users = shop.owners("user")
    assert {"small", "large", "user1"} <= set(users)
    for user in users:
        listed = shop.read(KEYS.user_items(version, user))
        assert_one_of_each_group(listed)
        assert not UNAVAILABLE & set(listed)
        size = {"small": "S", "large": "L"}.get(user) or SIZES[int(user.removeprefix("user")) % 3]
        others = {item for item in listed if item not in ("solo", f"{group(item)}-{size}")}
        assert {group(item) for item in others} <= {"p2"}
        assert len(others) == (size == "M" and "p2" in map(group, listed))
        owned_products = {
            group(item)
            for item in interactions.items.ids(
                interactions.owned[interactions.users.rows(pl.Series([user]))].indices
            )
        }
        assert not owned_products & set(map(group, listed))
    # What others bought beside another variant of the product is close to the two who bought it once.
    for user in ("small", "large"):
        assert {group(item) for item in shop.read(KEYS.user_items(version, user))[:4]} <= {
            f"p{product}" for product in range(PRODUCTS // 2)
        }

    catalogue = [f"p{product}-{size}" for product in range(PRODUCTS) for size in SIZES]
    assert set(catalogue) <= set(shop.owners("item"))
    for item_id in catalogue:
        similar = shop.read(KEYS.similar_items(version, item_id))
        assert_one_of_each_group([item_id, *similar])
        assert similar == shop.read(KEYS.similar_items(version, f"{group(item_id)}-S"))
    for name in (popular_name(), TRENDING, popular_name("shelf 0")):
        listed = shop.read(KEYS.ranking(version, name))
        assert_one_of_each_group(listed)
        assert not UNAVAILABLE & set(listed)
    assert_one_of_each_group(trending_items(shop.lake.by_group(), shop.settings, AS_OF))
    history = shop.read(KEYS.history(version, "small"))
    assert history == ["p0-L"]


async def check_answers(shop: VariantShop) -> None:
    """Check that another variant replaces one that is switched off, and that a product is hidden once bought."""
    async with application(shop.settings, (AS_OF + timedelta(hours=8)).timestamp) as http:

        async def answer(path: str) -> list[str]:
            listed = ids(await http.get(f"/v1/{path}?n=100"))
            assert_one_of_each_group(listed)
            assert not UNAVAILABLE & set(listed)
            return listed

        first = await answer("recommendations/small")
        assert all(item == "solo" or item.endswith("-S") for item in first)
        assert "p0" not in set(map(group, first))
        assert (await http.put(f"/v1/items/{first[0]}", json={"available": False})).status_code == 200
        second = await answer("recommendations/small")
        assert second[1:] == first[1:]
        assert group(second[0]) == group(first[0])
        assert second[0] != first[0]
        event = {"user_id": "small", "item_id": f"{group(first[1])}-M", "event": "purchase"}
        assert (await http.post("/v1/events", json=event)).status_code == 202
        third = await answer("recommendations/small")
        assert set(map(group, third)) == set(map(group, second)) - {group(first[1])}
        for path in ("recommendations/nobody", "trending", "popular", "similar/p5-M"):
            assert first[0] not in await answer(path)
        assert "p5" not in set(map(group, await answer("similar/p5-M")))
