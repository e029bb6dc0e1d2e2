import asyncio
import socket
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import polars as pl
import pytest
import redis

from recsys.schema import VECTOR, VECTOR_NORM, VECTOR_SIZE
from recsys.settings import Redis, Settings
from recsys.store.catalogue import CATALOGUE_FILE, CATALOGUE_SCHEMA, VECTOR_SCHEMA
from recsys.store.embedded import start_server, stop_server
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from serving.engine import catalogue_sync
from serving.http import worker
from serving.http.app import create_app
from serving.intake import load_shedding
from tests.serving.proxy import Proxy, proxied

VERSION = "20180101T000000Z"
LISTED = 30
Lists = dict[str, list[str]]


@dataclass(frozen=True)
class Shop:
    """A small shop to publish: every item's id begins with `letter`.

    User 7 has the list a1 … a30; popular are ap1 … ap30, in this order; a1 has the neighbours an1 … an5, and is
    bought with aw1 … aw3. `facts` are rows of the catalogue, which has the items of all lists, popular ones first.
    """

    letter: str = "a"
    users: tuple[str, ...] = ("7",)
    again: Lists = field(default_factory=dict[str, list[str]])
    new: Lists = field(default_factory=dict[str, list[str]])
    history: Lists = field(default_factory=dict[str, list[str]])
    disliked: Lists = field(default_factory=dict[str, list[str]])
    profiles: dict[str, str] = field(default_factory=dict[str, str])
    facts: tuple[dict[str, Any], ...] = ()
    catalogue: bool = True
    alike: tuple[str, ...] = ()
    """Items with one vector, where the others have another at a right angle to it; without any, none has one."""

    def tables(self) -> dict[str, tuple[str, Lists]]:
        """File -> column of the owners, and their lists."""
        letter = self.letter
        return {
            "user_items": ("user_id", {user: self._items("") for user in self.users}),
            "again_items": ("user_id", self.again),
            "new_items": ("user_id", self.new),
            "similar_items": ("item_id", {f"{letter}1": [f"{letter}n{rank}" for rank in range(1, 6)]}),
            "popular": ("name", {"popular": self._items("p"), "trending": [f"{letter}t1", f"{letter}t2"]}),
            "bought_with": ("item_id", {f"{letter}1": [f"{letter}w{rank}" for rank in range(1, 4)]}),
            "history": ("user_id", self.history),
            "disliked": ("user_id", self.disliked),
            "profiles": ("user_id", {user: [profile] for user, profile in self.profiles.items()}),
        }

    def items(self) -> pl.DataFrame:
        """Return the rows of the catalogue."""
        tables = self.tables()
        listed = [*tables["popular"][1]["popular"]]
        for _, owned in (tables[name] for name in ("user_items", "similar_items", "bought_with")):
            listed += [item for items in owned.values() for item in items]
        changed = {facts["item_id"]: facts for facts in self.facts}
        rows = [
            {"item_id": item_id, "available": True} | changed.pop(item_id, {}) for item_id in dict.fromkeys(listed)
        ]
        items = pl.DataFrame(
            [*rows, *({"available": True} | facts for facts in changed.values())], schema=CATALOGUE_SCHEMA
        )
        if not self.alike:
            return items
        vectors = np.zeros((items.height, VECTOR_SIZE), np.int8)
        vectors[np.arange(items.height), items["item_id"].is_in(self.alike).cast(pl.Int8).to_numpy()] = VECTOR_NORM
        return items.with_columns(pl.Series(VECTOR, vectors, dtype=VECTOR_SCHEMA[VECTOR]))

    def _items(self, kind: str) -> list[str]:
        return [f"{self.letter}{kind}{rank}" for rank in range(1, LISTED + 1)]


Publish = Callable[..., str]
Sent = tuple[str, str, Any]
Talk = Callable[..., list[httpx.Response]]


@pytest.fixture
def server_directory(tmp_path: Path) -> Iterator[Path]:
    """Return the directory of an embedded server of the test's own, with a port that nobody else chooses."""
    directory = tmp_path / "var" / "valkey"
    directory.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        (directory / "port").write_text(str(free.getsockname()[1]))
    yield directory
    stop_server(directory)


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    """Connect to the shared Valkey, emptied; to one of the test's own where the test uses `server_directory`.

    A test that stops, pauses or restarts the server uses `server_directory`.
    """
    if "server_directory" not in request.fixturenames:
        yield request.getfixturevalue("valkey")
        return
    address = start_server(request.getfixturevalue("server_directory"))
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client


@pytest.fixture
def url(client: redis.Redis) -> str:
    """Return the address of the running server."""
    return f"redis://127.0.0.1:{client.connection_pool.connection_kwargs['port']}/0"


def write_shop(directory: Path, shop: Shop) -> Path:
    """Write the files that a run would publish of a shop."""
    directory.mkdir(parents=True, exist_ok=True)
    for file, (owner, owned) in shop.tables().items():
        columns = {owner: list(owned), "items": list(owned.values())}
        frame = pl.DataFrame(columns, schema={owner: pl.String, "items": pl.List(pl.String)})
        frame.write_parquet(directory / f"{file}.parquet")
    if shop.catalogue:
        shop.items().write_parquet(directory / CATALOGUE_FILE)
    return directory


@pytest.fixture
def publish_shop(client: redis.Redis, tmp_path: Path) -> Publish:
    """Return a function that publishes a shop as a version, live at once."""

    def publish_version(shop: Shop | None = None, version: str = VERSION, namespace: str = "recsys") -> str:
        directory = write_shop(tmp_path / "lists" / version, shop or Shop())
        publish(client, Keys(namespace), version, directory, keep_versions=2)
        return version

    return publish_version


@pytest.fixture
def settings(url: str, tmp_path: Path) -> Settings:
    """Return settings of an application on the running server, with timeouts for slow machines."""
    given = Settings(directory=tmp_path / "var", redis=Redis(url=url))
    return replace(given, serving=replace(given.serving, read_timeout_ms=500.0, impressions=False))


@pytest.fixture
def proxy(client: redis.Redis) -> Iterator[Proxy]:
    """Start a proxy with faults to switch on before the server."""
    with proxied(client.connection_pool.connection_kwargs["port"]) as proxy:
        yield proxy


@pytest.fixture
def proxied_settings(settings: Settings, proxy: Proxy) -> Settings:
    """Return settings of an application that reaches Redis through the proxy, with the default read timeout."""
    serving = replace(settings.serving, read_timeout_ms=Settings().serving.read_timeout_ms, write_timeout_ms=200.0)
    return replace(settings, redis=Redis(url=f"redis://127.0.0.1:{proxy.port}"), serving=serving)


@pytest.fixture
def short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten what a worker in this process waits for: Redis at its start, and the next look at Redis or write."""
    monkeypatch.setattr(worker, "START_SECONDS", 0.3)
    monkeypatch.setattr(load_shedding, "MEASURE_SECONDS", 0.1)
    monkeypatch.setattr(catalogue_sync, "SAVE_SECONDS", 0.1)
    monkeypatch.setattr(catalogue_sync, "CHECK_SECONDS", 0.2)


@asynccontextmanager
async def application(
    settings: Settings, now: Callable[[], float] = time.time
) -> AsyncGenerator[httpx.AsyncClient]:
    """Open the application in this process, and a client that calls it without a network."""
    app = create_app(settings, now)
    transport = httpx.ASGITransport(cast(Any, app), raise_app_exceptions=False)
    async with (
        app.litestar.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=20) as http,
    ):
        yield http


@pytest.fixture
def talk(settings: Settings) -> Talk:
    """Send the application requests one after the other: each a path, or a method, path and JSON body.

    A function among them is called in between. Keyword arguments replace settings.
    """

    async def send(requests: tuple[Any, ...], changed: Settings) -> list[httpx.Response]:
        responses: list[httpx.Response] = []
        async with application(changed) as http:
            for request in requests:
                if callable(request):
                    await asyncio.to_thread(request)
                    continue
                method, path, body = ("GET", request, None) if isinstance(request, str) else request
                responses.append(await http.request(method, path, json=body))
        return responses

    def talk_to_app(*requests: Any, **changes: Any) -> list[httpx.Response]:
        return asyncio.run(send(requests, replace(settings, **changes)))

    return talk_to_app


def ids(response: httpx.Response) -> list[str]:
    """Return the items of an answer."""
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]
