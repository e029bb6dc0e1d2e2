from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import redis
from redis.cluster import RedisCluster

from recsys.errors import StoreError
from recsys.store.client.connect import used_memory
from recsys.store.keys import Keys
from recsys.store.publish.memory import MemoryForecast
from recsys.store.publish.publish import publish
from recsys.store.read import live_version, popular_items, versions
from tests.recsys.store.versions import FIRST, SECOND, THIRD
from tests.waiting import wait_until

WriteLists = Callable[..., Path]
Generate = Callable[..., Path]


@pytest.fixture
def new_client(new_own_client: Callable[[], redis.Redis]) -> Callable[[], redis.Redis]:
    return new_own_client


@pytest.fixture
def client(own_client: redis.Redis) -> redis.Redis:
    return own_client


@pytest.fixture
def generate(write_lists: WriteLists) -> Generate:
    """Lists of random length and random ids for so many users."""

    def write(users: int, longest: int, id_length: int = 7, seed: int = 0) -> Path:
        generator = np.random.default_rng(seed)
        lengths = generator.integers(1, longest + 1, users)
        ids = pl.Series([f"{number:0{id_length}d}" for number in range(5_000)])
        directory = write_lists(f"{users}-{longest}-{id_length}", {}, {"a": ["b"]}, {"popular": ["p"] * 200})
        flat = ids[generator.integers(0, len(ids), lengths.sum())]
        owners = pl.Series(np.repeat(np.arange(users), lengths)).cast(pl.String)
        lists = (
            pl.DataFrame({"user_id": owners, "items": flat}).group_by("user_id", maintain_order=True).agg("items")
        )
        lists.write_parquet(directory / "user_items.parquet", row_group_size=20_000)
        return directory

    return write


@pytest.mark.parametrize(
    ("users", "longest", "cut", "id_length"),
    [(100_000, 20, 20, 7), (100_000, 4, 4, 7), (20_000, 100, 100, 7), (20_000, 100, 37, 7), (20_000, 20, 20, 40)],
)
def test_memory_is_forecast_within_a_twentieth(
    client: redis.Redis, keys: Keys, generate: Generate, users: int, longest: int, cut: int, id_length: int
) -> None:
    lists = generate(users, longest, id_length)
    forecast = MemoryForecast.from_files(client, keys, FIRST, lists)
    assert forecast.longest == longest
    foretold = forecast.bytes(cut)
    assert client.dbsize() == 0
    if cut < longest:
        pl.read_parquet(lists / "user_items.parquet").with_columns(pl.col("items").list.head(cut)).write_parquet(
            lists / "user_items.parquet"
        )
    before = used_memory(client)
    published = publish(client, keys, FIRST, lists, 2)
    grown = used_memory(client) - before
    assert published.memory_bytes == pytest.approx(grown, rel=0.05)
    # Few lists are so small that the server's buffers, which come and go, are a twentieth of them.
    assert foretold == pytest.approx(grown, rel=0.05, abs=500_000)


def test_memory_of_a_cluster_is_that_of_all_its_nodes(
    cluster: RedisCluster, keys: Keys, generate: Generate
) -> None:
    lists = generate(40_000, 40)
    foretold = MemoryForecast.from_files(cluster, keys, FIRST, lists).bytes(40)
    before = used_memory(cluster)
    publish(cluster, keys, FIRST, lists, 2)
    assert foretold == pytest.approx(used_memory(cluster) - before, rel=0.05)


def _are_cut(client: redis.Redis, keys: Keys, version: str, lists: Path, length: int | None) -> bool:
    """Whether each user's list in Redis is the beginning of the run's, of so many items; all of it for None."""
    rows = pl.read_parquet(lists / "user_items.parquet")
    expected = rows["items"] if length is None else rows["items"].list.head(length)
    values: Any = client.mget([keys.user_items(version, user) for user in rows["user_id"]])
    return values == expected.list.join(" ").cast(pl.Binary).to_list()


def test_lists_are_cut_so_that_the_versions_that_are_kept_fit(
    client: redis.Redis, new_client: Callable[[], redis.Redis], keys: Keys, generate: Generate
) -> None:
    lists = generate(20_000, 100)
    empty = used_memory(client)
    whole = MemoryForecast.from_files(client, keys, FIRST, lists).bytes(100)
    budget = empty + whole  # two versions of half the length
    other = new_client()
    most: list[int] = []
    cuts: list[int] = []
    for version in (FIRST, SECOND, THIRD):
        published = publish(
            client, keys, version, lists, 2, lambda _: most.append(used_memory(other)), max_memory=budget
        )
        assert published.cut_to is not None
        cuts.append(published.cut_to)
        assert _are_cut(client, keys, version, lists, published.cut_to)
        assert popular_items(client, keys, 999) == ["p"] * 200
    # A list has 50 items on average; where the cut halves the memory is not at the half of the longest.
    assert 15 < min(cuts) <= max(cuts) < 60
    assert max(cuts) - min(cuts) <= 4
    # But for what the server's connections take while the lists come in.
    assert max(most) < budget + 2**20
    assert used_memory(client) > 0.9 * budget
    assert [version.name for version in versions(client, keys)] == [THIRD, SECOND]

    again = publish(client, keys, THIRD, lists, 2, max_memory=budget)
    assert again.cut_to == cuts[-1]
    assert again.keys == 20_002


def test_lists_that_fit_are_not_cut(client: redis.Redis, keys: Keys, generate: Generate) -> None:
    lists = generate(5_000, 30)
    published = publish(client, keys, FIRST, lists, 2, max_memory=2**30)
    assert published.cut_to is None
    assert _are_cut(client, keys, FIRST, lists, None)


def test_other_data_leaves_less_for_lists(client: redis.Redis, keys: Keys, generate: Generate) -> None:
    lists = generate(20_000, 100)
    empty = used_memory(client)
    budget = empty + MemoryForecast.from_files(client, keys, FIRST, lists).bytes(100)
    alone = publish(client, keys, FIRST, lists, 2, max_memory=budget).cut_to
    client.flushall()
    client.set("of another program", bytes(2_000_000))
    # The server gives up later the buffers that all this came through.
    wait_until(lambda: used_memory(client) <= empty + 3_000_000, 10)
    beside = publish(client, keys, FIRST, lists, 2, max_memory=budget).cut_to
    assert alone is not None
    assert beside is not None
    assert 10 < beside < alone - 5


def test_what_would_be_too_short_is_refused_before_anything_is_written(
    client: redis.Redis, keys: Keys, generate: Generate
) -> None:
    lists = generate(20_000, 100)
    publish(client, keys, FIRST, lists, 2)
    before = set(client.scan_iter(count=10_000))
    with pytest.raises(StoreError, match=rf"version {SECOND}: lists of 10 need .* bytes; of redis\.max_memory"):
        publish(client, keys, SECOND, lists, 2, max_memory=used_memory(client) + 1_000_000)
    assert set(client.scan_iter(count=10_000)) == before
    assert live_version(client, keys) == FIRST
    assert [version.name for version in versions(client, keys)] == [FIRST]
