import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import polars as pl
import pytest
import redis

from recsys.settings import Redis, Serving, Settings
from recsys.store.keys import Keys
from recsys.store.publish import publish
from recsys.store.server import start_server, stop_server
from serving.app import create_app

Publish = Callable[..., str]
Ask = Callable[..., list[httpx.Response]]


@pytest.fixture
def server_directory(tmp_path: Path) -> Iterator[Path]:
    """An embedded server's directory, with a port nobody else chooses."""
    directory = tmp_path / "var" / "valkey"
    directory.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        (directory / "port").write_text(str(free.getsockname()[1]))
    yield directory
    stop_server(directory)


@pytest.fixture
def client(server_directory: Path) -> Iterator[redis.Redis]:
    address = start_server(server_directory)
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client


@pytest.fixture
def url(client: redis.Redis) -> str:
    """The running server's address."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


@pytest.fixture
def publish_lists(client: redis.Redis, tmp_path: Path) -> Publish:
    """Publishes a version in which every list's items begin with `letter`."""

    def publish_version(version: str, letter: str, users: Sequence[str] = ("7",), namespace: str = "recsys") -> str:
        directory = tmp_path / "lists" / version
        directory.mkdir(parents=True, exist_ok=True)
        lists: Mapping[str, tuple[str, Mapping[str, list[str]]]] = {
            "user_items": ("user_id", {user: [f"{letter}{rank}" for rank in range(1, 31)] for user in users}),
            "similar_items": ("item_id", {f"{letter}1": [f"{letter}2"]}),
            "popular": ("name", {"popular": [f"{letter}p{rank}" for rank in range(1, 31)]}),
        }
        for file, (owner, owned) in lists.items():
            columns = {owner: list(owned), "items": list(owned.values())}
            frame = pl.DataFrame(columns, schema={owner: pl.String, "items": pl.List(pl.String)})
            frame.write_parquet(directory / f"{file}.parquet")
        publish(client, Keys(namespace), version, directory, keep_versions=2)
        return version

    return publish_version


@pytest.fixture
def ask(url: str) -> Ask:
    """Sends the application, in this process and on the running server, a GET of each path, all at once."""
    settings = Settings(redis=Redis(url=url, timeout_seconds=0.5), serving=Serving(redis_connections=2))

    async def send(paths: Sequence[str]) -> list[httpx.Response]:
        app = create_app(settings)
        transport = httpx.ASGITransport(cast(Any, app))
        async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://recsys") as http:
            return await asyncio.gather(*(http.get(path) for path in paths))

    def ask_app(*paths: str) -> list[httpx.Response]:
        return asyncio.run(send(paths))

    return ask_app
