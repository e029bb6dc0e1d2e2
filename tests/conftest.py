"""What several packages' tests share."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import redis
from xdist.scheduler import LoadScopeScheduling

from recsys.store.embedded import ServerAddress, start_server, stop_server
from tests.commands import restored_logging
from tests.demo import DemoRun, run_demo

# The time of one example says more about the machine than about the code.
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")

ROOT = Path(__file__).parent.parent
SLOWEST = (
    "tests/jobs/demo",
    "tests/docs/test_examples.py",
    "tests/jobs/pipeline/test_pipeline.py",
    "tests/jobs/cli",
    "tests/conformance/test_small_shops.py",
    "tests/serving/http/test_served_processes.py",
    "tests/jobs/test_examples.py",
    "tests/jobs/ingest",
    "tests/jobs/pipeline",
    "tests/serving/test_deployments.py",
    "tests/recsys/store",
    "tests/conformance",
    "tests/test_wheel.py",
)
"""Tests to start with, so that no process is left with a long module at the end."""
GROUPS = {
    "tests/jobs/demo/test_demo_on_a_slice.py": "demo",
    "tests/docs/test_examples.py": "demo",
    "tests/jobs/ingest/test_databases.py": "databases",
    "tests/jobs/ingest/test_queries.py": "databases",
    "tests/jobs/ingest/test_watermark.py": "databases",
    "tests/jobs/mapping_inference/test_databases.py": "databases",
}
"""Modules that share an expensive fixture of the session."""


class ModuleScheduling(LoadScopeScheduling):
    """Runs the tests of a module, or of a group of modules, in one process, so that they share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return GROUPS.get(module, module)


@pytest.fixture(autouse=True)
def log_configuration() -> Iterator[None]:
    """Restore the configuration of the log after each test."""
    with restored_logging():
        yield


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ModuleScheduling:
    """Replace the scheduler of pytest-xdist."""
    return ModuleScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slowest tests first."""
    items.sort(
        key=lambda item: next((n for n, path in enumerate(SLOWEST) if item.nodeid.startswith(path)), len(SLOWEST))
    )


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
    address = start_server(directory)
    with redis.Redis(host=address.host, port=address.port) as client:
        client.config_set("appendfsync", "no")  # no test of this server needs its data after a crash
    yield address
    stop_server(directory)


@pytest.fixture
def valkey(valkey_address: ServerAddress) -> Iterator[redis.Redis]:
    """Connect to the shared Valkey, emptied before the test."""
    with redis.Redis(host=valkey_address.host, port=valkey_address.port) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoRun]:
    """Run the demo once; tests that need it are in one group."""
    run = run_demo(tmp_path_factory.mktemp("demo"))
    yield run
    stop_server(run.directory / "valkey")
