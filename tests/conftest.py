"""What several packages' tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.store.embedded import stop_server

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
