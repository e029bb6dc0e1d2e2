import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow
import pytest
import redis
from redis.cluster import RedisCluster

from recsys.store.embedded import ServerAddress, start_server, stop_server
from recsys.store.keys import Keys
from tests.recsys.store.cluster import cluster_client, running_cluster
from tests.recsys.store.versions import user_lists

Lists = Mapping[str, Sequence[str]]
LISTS = pl.List(pl.String)


@pytest.fixture
def keys() -> Keys:
    return Keys("recsys")


@pytest.fixture
def new_directory(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Server directories, each with a port nobody else chooses; whatever runs in them is stopped."""
    directories: list[Path] = []

    def new(name: str) -> Path:
        directory = tmp_path / name
        directory.mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            (directory / "port").write_text(str(free.getsockname()[1]))
        directories.append(directory)
        return directory

    yield new
    for directory in directories:
        stop_server(directory)


@pytest.fixture
def server_directory(new_directory: Callable[[str], Path]) -> Path:
    return new_directory("valkey")


@contextmanager
def _clients_of(address: ServerAddress) -> Iterator[Callable[[], redis.Redis]]:
    clients: list[redis.Redis] = []

    def new() -> redis.Redis:
        clients.append(redis.Redis(host=address.host, port=address.port))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def new_client(valkey_address: ServerAddress, valkey: redis.Redis) -> Iterator[Callable[[], redis.Redis]]:
    """Clients of the shared server, emptied before the test; closed at the end."""
    with _clients_of(valkey_address) as new:
        yield new
        valkey.config_set("maxmemory", 0)


@pytest.fixture
def client(new_client: Callable[[], redis.Redis]) -> redis.Redis:
    return new_client()


@pytest.fixture
def new_own_client(server_directory: Path) -> Iterator[Callable[[], redis.Redis]]:
    """Clients of a server of the test's own, for tests that stop it, reconfigure it or measure its memory."""
    with _clients_of(start_server(server_directory)) as new:
        yield new


@pytest.fixture
def own_client(new_own_client: Callable[[], redis.Redis]) -> redis.Redis:
    return new_own_client()


@pytest.fixture
def write_lists(tmp_path: Path) -> Callable[[str, Lists, Lists, Lists], Path]:
    """Writes the files that a run leaves for `publish`."""

    def write(name: str, users: Lists, similar: Lists, popular: Lists) -> Path:
        directory = tmp_path / "lists" / name
        directory.mkdir(parents=True)
        for file, owner, lists in (
            ("user_items", "user_id", users),
            ("similar_items", "item_id", similar),
            ("popular", "name", popular),
        ):
            owners = pl.Series(owner, list(lists), dtype=pl.String)
            pl.DataFrame([owners, _series_of(lists)]).write_parquet(directory / f"{file}.parquet")
        return directory

    return write


def _series_of(lists: Lists) -> pl.Series:
    """Return the lists as a column; made of one array of all items, which takes a tenth of the time of many."""
    ends = np.cumsum([0, *map(len, lists.values())])
    items = pl.Series(list(chain.from_iterable(lists.values())), dtype=pl.String)
    return pl.Series("items", pyarrow.LargeListArray.from_arrays(ends, items.to_arrow())).cast(LISTS)


@pytest.fixture
def lists_of(write_lists: Callable[..., Path]) -> Callable[[str], Path]:
    """The files of a version whose lists say that they are its."""

    def write(version: str) -> Path:
        return write_lists(version, user_lists(version), {"i": [f"{version}-j"]}, {"popular": [f"{version}-p"]})

    return write


@pytest.fixture(scope="session")
def cluster_ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[int]]:
    """The ports of a Cluster's three servers."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as ports:
        yield ports


@pytest.fixture
def cluster(cluster_ports: list[int]) -> Iterator[RedisCluster]:
    """A client of an empty Cluster."""
    with cluster_client(cluster_ports[0]) as client:
        client.flushall(target_nodes=RedisCluster.PRIMARIES)
        yield client
