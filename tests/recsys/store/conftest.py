import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl
import pytest
import redis

from recsys.store.keys import Keys
from recsys.store.server import start_server, stop_server

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


@pytest.fixture
def new_client(server_directory: Path) -> Iterator[Callable[[], redis.Redis]]:
    """Clients of one running server, closed at the end."""
    clients: list[redis.Redis] = []

    def new() -> redis.Redis:
        address = start_server(server_directory)
        clients.append(redis.Redis(host=address.host, port=address.port))
        return clients[-1]

    yield new
    for client in clients:
        client.close()


@pytest.fixture
def client(new_client: Callable[[], redis.Redis]) -> redis.Redis:
    return new_client()


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
            columns = {owner: list(lists), "items": [list(items) for items in lists.values()]}
            frame = pl.DataFrame(columns, schema={owner: pl.String, "items": LISTS})
            frame.write_parquet(directory / f"{file}.parquet")
        return directory

    return write
