"""Data of the online half, published with the lists of its version."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
from redis.cluster import RedisCluster

from recsys.errors import StoreError
from recsys.store import catalogue
from recsys.store.catalogue import CATALOGUE_SCHEMA, VECTOR_SCHEMA, read_catalogue, write_catalogue
from recsys.store.client.connect import Client, used_memory
from recsys.store.keys import Keys
from recsys.store.publish.memory import MemoryForecast
from recsys.store.publish.publish import publish
from recsys.store.publish.versions import roll_back
from recsys.store.read import bought_together_items, live_version
from tests.recsys.store.versions import FIRST, SECOND, THIRD
from tests.waiting import wait_until

ListsOf = Callable[..., Path]

PROFILE = '{"events":3,"purchases":1,"categories":["Soft  drinks & \\"more\\" >É"],"brands":["Ben & Jerry"]}'
HISTORY = [f"h{number}" for number in range(1_500)]


def catalogue_of(items: int, vectors: bool = False) -> pl.DataFrame:
    """Return facts of a number of items."""
    row = pl.int_range(items, eager=True)
    facts = {
        "item_id": row.cast(pl.String),
        "group_id": [f"g{number // 3}" for number in range(items)],
        "title": [f"Thing {number}" if number % 3 else None for number in range(items)],
        "category": [None if number % 7 == 0 else "Food>Tea" for number in range(items)],
        "brand": [None] * items,
        "price": row / 4,
        "available": row % 5 != 0,
        "stock": row / 2,
        "valid_from": [None] * items,
        "valid_until": row * 10**15,
        "changed_online_at": row * 10**14,
        "repeat_days": row / 3,
        "categories": [["A>B", "C"] if number % 2 else None for number in row],
        "product_type": [None if number % 7 == 0 else "Food>Tea" for number in range(items)],
        "attributes": [None if number % 3 else ['"color":"red"', f'"volume":{number / 2}'] for number in row],
    }
    table = pl.DataFrame(facts).select(pl.col(name).cast(dtype) for name, dtype in CATALOGUE_SCHEMA.items())
    if not vectors:
        return table
    drawn = np.random.default_rng(0).integers(-127, 128, (items, 32)).astype(np.int8)
    return table.with_columns(pl.Series("vector", drawn))


@pytest.fixture
def online_lists_of(write_lists: Callable[..., Path]) -> ListsOf:
    """The files of a version whose lists say that they are its, those of the online half too."""

    def write(version: str, items: int = 4, vectors: bool = False) -> Path:
        directory = write_lists(version, {"1": [f"{version}-u"]}, {}, {"popular": ["p"]})
        for file, owner, lists in (
            ("bought_with", "item_id", {"a": [f"{version}-b", "c"], "none": []}),
            ("history", "user_id", {"1": HISTORY}),
            ("profiles", "user_id", {"1": [PROFILE], "é {2}": [PROFILE + version]}),
        ):
            schema = {owner: pl.String, "items": pl.List(pl.String)}
            table = pl.DataFrame({owner: list(lists), "items": list(lists.values())}, schema=schema)
            table.write_parquet(directory / f"{file}.parquet")
        catalogue_of(items, vectors).write_parquet(directory / "catalogue.parquet")
        return directory

    return write


def _keys_of(client: redis.Redis, version: str) -> set[bytes | str]:
    return set(client.keys(f"recsys:{version}:*"))


def _assert_whole(client: Client, keys: Keys, version: str, items: int = 4) -> None:
    assert live_version(client, keys) == version
    assert bought_together_items(client, keys, "a", 9) == [f"{version}-b", "c"]
    assert bought_together_items(client, keys, "none", 9) == []
    assert client.get(keys.history(version, "1")) == " ".join(HISTORY).encode()
    assert client.get(keys.profile(version, "1")) == PROFILE.encode()
    assert client.get(keys.profile(version, "é {2}")) == (PROFILE + version).encode()
    parts: Any = client.hgetall(keys.catalogue(version))
    assert read_catalogue(parts).equals(catalogue_of(items))


def test_all_is_published_compared_rolled_back_and_removed(
    client: redis.Redis, keys: Keys, online_lists_of: ListsOf
) -> None:
    lists = online_lists_of(FIRST)
    published = publish(client, keys, FIRST, lists, 2)
    assert published.keys == len(_keys_of(client, FIRST)) == 7
    _assert_whole(client, keys, FIRST)
    again = publish(client, keys, FIRST, lists, 2)
    assert (again.keys, again.bytes) == (published.keys, published.bytes)
    others = _keys_of(client, FIRST) - {keys.catalogue(FIRST).encode()}
    values = sum(client.strlen(key) for key in others)
    assert published.bytes == values + client.hstrlen(keys.catalogue(FIRST), "0")

    publish(client, keys, SECOND, online_lists_of(SECOND), 2)
    _assert_whole(client, keys, SECOND)
    roll_back(client, keys)
    _assert_whole(client, keys, FIRST)
    assert publish(client, keys, THIRD, online_lists_of(THIRD), 2).removed == (SECOND,)
    assert _keys_of(client, SECOND) == set()
    _assert_whole(client, keys, THIRD)


@pytest.mark.parametrize(
    "change", ["profile", "history", "bought with", "part", "broken part", "another part", "gone"]
)
def test_a_version_that_is_live_with_something_else_is_refused(
    client: redis.Redis, keys: Keys, online_lists_of: ListsOf, change: str
) -> None:
    lists = online_lists_of(FIRST)
    publish(client, keys, FIRST, lists, 2)
    key = keys.catalogue(FIRST)
    part = client.hget(key, "0")
    assert isinstance(part, bytes)
    if change == "profile":
        client.set(keys.profile(FIRST, "1"), PROFILE.replace("  ", " "))
    elif change == "history":
        client.set(keys.history(FIRST, "1"), " ".join(HISTORY[:-1]))
    elif change == "bought with":
        client.set(keys.bought_together(FIRST, "none"), "c")
    elif change == "gone":
        client.delete(key)
    elif change == "another part":
        client.hset(key, "1", part)
    elif change == "broken part":
        client.hset(key, "0", part[:-9])
    else:
        other = lists / "catalogue.parquet"
        catalogue_of(3).write_parquet(other)
        write_catalogue(client, keys, FIRST, other)
        catalogue_of(4).write_parquet(other)
    with pytest.raises(StoreError, match=f"version {FIRST}: "):
        publish(client, keys, FIRST, lists, 2)
    assert live_version(client, keys) == FIRST


def test_a_catalogue_changed_on_the_way_keeps_the_version_from_going_live(
    client: redis.Redis, keys: Keys, online_lists_of: ListsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(*arguments: Any) -> int:
        size = write_catalogue(*arguments)
        client.hdel(keys.catalogue(FIRST), "0")
        return size

    monkeypatch.setattr("recsys.store.publish.publish.write_catalogue", lose)
    with pytest.raises(StoreError, match=f"part 0 of recsys:{FIRST}:catalogue is missing in Redis"):
        publish(client, keys, FIRST, online_lists_of(FIRST), 2)
    assert client.get(keys.live) is None
    assert _keys_of(client, FIRST) == set()


def test_what_a_run_without_history_or_items_leaves_out_is_no_key(
    client: redis.Redis, keys: Keys, online_lists_of: ListsOf
) -> None:
    lists = online_lists_of(FIRST, items=0)
    (lists / "profiles.parquet").unlink()
    pl.read_parquet(lists / "history.parquet").clear().write_parquet(lists / "history.parquet")
    assert publish(client, keys, FIRST, lists, 2).keys == 3
    assert publish(client, keys, FIRST, lists, 2).keys == 3
    assert not client.exists(keys.catalogue(FIRST))
    assert read_catalogue({}).equals(catalogue_of(0))


def test_a_large_catalogue_is_in_parts_in_order(
    client: redis.Redis, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "ITEMS_PER_PART", 512)
    items = catalogue_of(11 * 512 + 5, vectors=True)
    items.write_parquet(tmp_path / "catalogue.parquet", row_group_size=400)
    size = write_catalogue(client, keys, FIRST, tmp_path / "catalogue.parquet")
    values: Any = client.hgetall(keys.catalogue(FIRST))
    assert size == sum(len(value) for value in values.values())
    assert set(values) == {str(number).encode() for number in range(12)}
    result = read_catalogue(dict(sorted(values.items())))  # "10" before "2"
    assert result.schema == pl.Schema({**CATALOGUE_SCHEMA, **VECTOR_SCHEMA})
    assert result.equals(items)


def test_no_buffer_that_a_catalogue_came_through_stays(client: redis.Redis, keys: Keys, tmp_path: Path) -> None:
    catalogue_of(20_000, vectors=True).write_parquet(tmp_path / "catalogue.parquet")
    size = write_catalogue(client, keys, FIRST, tmp_path / "catalogue.parquet")
    assert size > 500_000
    connections: Any = client.client_list()
    assert all(int(connection["tot-mem"]) < size / 4 for connection in connections)


def test_a_cluster_has_all_of_it(cluster: RedisCluster, keys: Keys, online_lists_of: ListsOf) -> None:
    lists = online_lists_of(FIRST)
    assert publish(cluster, keys, FIRST, lists, 2).keys == 7
    _assert_whole(cluster, keys, FIRST)
    assert publish(cluster, keys, FIRST, lists, 2).keys == 7


def test_memory_is_forecast_and_only_lists_to_recommend_are_cut(
    own_client: redis.Redis, keys: Keys, online_lists_of: ListsOf
) -> None:
    lists = online_lists_of(FIRST, items=50_000, vectors=True)
    users = [str(user) for user in range(10_000)]
    names = pl.Series([f"{number:07d}" for number in range(2_000)])
    long = [names[start : start + 40].to_list() for start in range(1_000)] * 10
    for file, rows in (
        ("user_items", long),
        ("history", [[*row, *row] for row in long]),
        ("profiles", [[f"{PROFILE} {user} {row}"] for user, row in zip(users, long, strict=True)]),
    ):
        pl.DataFrame({"user_id": users, "items": rows}).write_parquet(lists / f"{file}.parquet")
    forecast = MemoryForecast.from_files(own_client, keys, FIRST, lists)
    assert forecast.longest == 40
    foretold, short = forecast.bytes(40), forecast.bytes(15)
    before = used_memory(own_client)
    published = publish(own_client, keys, FIRST, lists, 2)
    assert foretold == pytest.approx(used_memory(own_client) - before, rel=0.05)
    own_client.flushall()
    # The server gives up later the buffers that all this came through.
    wait_until(lambda: used_memory(own_client) <= before + 500_000, 10)
    budget = used_memory(own_client) + 2 * short
    published = publish(own_client, keys, SECOND, lists, 2, max_memory=budget)
    assert published.cut_to == pytest.approx(15, abs=3)
    assert own_client.get(keys.profile(SECOND, "7")) == f"{PROFILE} 7 {long[7]}".encode()
    assert own_client.get(keys.history(SECOND, "7")) == " ".join([*long[7], *long[7]]).encode()
    assert publish(own_client, keys, SECOND, lists, 2).cut_to == published.cut_to
