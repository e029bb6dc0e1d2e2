"""What several packages' tests share."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from recsys.store.embedded import ServerAddress, start_server, stop_server

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture
def shared_data() -> Path:
    """Public data sets beside the checkout; tests that need them are skipped where they are not."""
    directory = ROOT.parent / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"the public data sets are not at {directory}")
    return directory


@pytest.fixture
def data_directory(tmp_path: Path) -> Iterator[Path]:
    """A data directory whose embedded server is stopped at the end."""
    directory = tmp_path / "var"
    yield directory
    stop_server(directory / "valkey")
    stop_server(directory / "demo" / "valkey")


@pytest.fixture(scope="session")
def valkey_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerAddress]:
    """Start one embedded Valkey per test process; tests that stop or reconfigure a server start their own."""
    directory = tmp_path_factory.mktemp("shared") / "valkey"
    directory.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        (directory / "port").write_text(str(free.getsockname()[1]))
    yield start_server(directory)
    stop_server(directory)


@pytest.fixture
def valkey(valkey_address: ServerAddress) -> Iterator[redis.Redis]:
    """Connect to the shared Valkey, emptied before the test."""
    with redis.Redis(host=valkey_address.host, port=valkey_address.port) as client:
        client.flushall()
        yield client
