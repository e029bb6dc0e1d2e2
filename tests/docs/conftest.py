"""The demo's lists, served."""

from collections.abc import Iterator

import pytest

from recsys.store.embedded import server_status
from tests.demo import DemoRun
from tests.docs.demo_server import DemoServer
from tests.serving.processes import serving


@pytest.fixture(scope="session")
def demo_server(demo_run: DemoRun) -> Iterator[DemoServer]:
    """Serve the demo's lists over HTTP."""
    status = server_status(demo_run.directory / "valkey")
    assert status is not None
    work = demo_run.directory.parent.parent
    with serving(work, 'repeat = "allow"', {"RECSYS_DIRECTORY": str(demo_run.directory)}) as served:
        port = served.http.base_url.port
        assert port is not None
        yield DemoServer(demo_run.directory, status.address.port, port)
