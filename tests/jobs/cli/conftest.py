"""A shop whose lists can be rolled back."""

from pathlib import Path

import polars as pl
import pytest

from recsys.settings import Redis
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish

FIRST, SECOND = "20171230T000000Z", "20171231T000000Z"


@pytest.fixture
def two_versions(tmp_path: Path, data_directory: Path) -> Path:
    """A data directory with two versions in its server, the second live."""
    client = connect(Redis(), data_directory)
    for version in (FIRST, SECOND):
        lists = tmp_path / version
        lists.mkdir()
        for file, owner in (("user_items", "user_id"), ("similar_items", "item_id"), ("popular", "name")):
            pl.DataFrame({owner: ["popular"], "items": [[version]]}).write_parquet(lists / f"{file}.parquet")
        publish(client, Keys("recsys"), version, lists, 2)
    return data_directory
