"""A lake for tests of what is read again."""

from pathlib import Path

import pytest

from jobs.lake.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", buckets=2)
