"""Fixtures of the tests of mappings."""

from pathlib import Path

import pytest

from jobs.lake.lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake that does not exist yet."""
    return Lake(tmp_path / "lake")
