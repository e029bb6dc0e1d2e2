import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from recsys.errors import StoreError
from recsys.settings import Redis
from recsys.store.client.connect import connect, store_errors
from recsys.store.embedded import server_status, start_server, stop_server


@pytest.fixture
def guarded(server_directory: Path) -> Iterator[str]:
    """Host and port of a server that asks for the password `right`."""
    address = start_server(server_directory)
    with redis.Redis(host=address.host, port=address.port) as client:
        client.config_set("requirepass", "right")
        yield f"{address.host}:{address.port}"
        client.config_set("requirepass", "")


def test_without_a_url_the_embedded_server_is_started(tmp_path: Path) -> None:
    with connect(Redis(), tmp_path) as client:
        client.set("key", "välue")
        assert client.get("key") == "välue".encode()
        status = server_status(tmp_path / "valkey")
        assert status is not None
        assert client.info()["tcp_port"] == status.address.port
    with connect(Redis(), tmp_path) as client:
        assert client.get("key") == "välue".encode()
    assert stop_server(tmp_path / "valkey")


def test_a_url_names_the_server_and_its_database(server_directory: Path, tmp_path: Path) -> None:
    address = start_server(server_directory)
    settings = Redis(url=f"redis://{address.host}:{address.port}/3", timeout_seconds=1.5)
    with connect(settings, tmp_path / "var") as client:
        assert client.client_info()["db"] == 3
        assert isinstance(client, redis.Redis)
        assert client.connection_pool.connection_kwargs["socket_timeout"] == 1.5
    assert not (tmp_path / "var").exists()


def test_the_right_password_is_accepted(guarded: str, tmp_path: Path) -> None:
    with connect(Redis(url=f"redis://:right@{guarded}"), tmp_path) as client:
        assert client.ping()


def test_a_wrong_password_is_not_shown(guarded: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=f"Redis at {guarded}: ") as error:
        connect(Redis(url=f"redis://:secret@{guarded}"), tmp_path)
    assert "secret" not in str(error.value)


def test_an_unreachable_server_is_named_without_the_password(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(StoreError, match=rf"Redis at 127\.0\.0\.1:{port}: .*refused") as error:
        connect(Redis(url=f"redis://me:secret@127.0.0.1:{port}"), tmp_path)
    assert "secret" not in str(error.value)


def test_an_unreachable_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"Redis at /nowhere/redis\.sock: "):
        connect(Redis(url="unix:///nowhere/redis.sock"), tmp_path)


@pytest.mark.parametrize("url", ["http://:secret@host", "redis://:pass:secret", "secret"])
def test_what_is_no_address_is_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"redis\.url = \(not shown\)") as error:
        connect(Redis(url=url), tmp_path)
    assert "secret" not in str(error.value)


def test_errors_of_redis_name_the_server(client: redis.Redis) -> None:
    client.set("key", "text")
    port = client.connection_pool.connection_kwargs["port"]
    with pytest.raises(StoreError, match=f"Redis at 127.0.0.1:{port}: WRONGTYPE"), store_errors(client):
        client.hget("key", "field")
