"""The demo on a slice of its data, published and served."""

from collections.abc import Iterator

import polars as pl
import pytest

from jobs.demo.complete_journey import demo_directory
from recsys.store.embedded import server_status, stop_server
from tests.commands import run_recsys_process
from tests.docs.demo_server import DemoServer
from tests.serving.processes import serving

HOUSEHOLDS_APART = 15


@pytest.fixture(scope="session")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """Run the demo once, then serve its lists."""
    home = tmp_path_factory.mktemp("demo")
    source = home / "slice"
    source.mkdir()
    for name in ("transactions", "demographics", "products"):
        rows = pl.scan_parquet(demo_directory() / f"{name}.parquet")
        if name != "products":
            rows = rows.filter(pl.col("household_id") % HOUSEHOLDS_APART == 0)
        rows.sink_parquet(source / f"{name}.parquet")
    done = run_recsys_process(home, home / "var", "demo", "--data", source)
    assert done.returncode == 0, done.stderr
    directory = home / "var" / "demo"
    status = server_status(directory / "valkey")
    assert status is not None
    with serving(home, 'repeat = "allow"', {"RECSYS_DIRECTORY": str(directory)}) as served:
        port = served.http.base_url.port
        assert port is not None
        yield DemoServer(directory, status.address.port, port)
    stop_server(directory / "valkey")
