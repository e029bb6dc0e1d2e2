"""`recsys rollback`, and `recsys status` after it."""

import json
from pathlib import Path

import polars as pl
import pytest

from recsys.settings import Redis
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.read import live_version
from tests.commands import run_recsys

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


def test_a_shop_goes_back_to_the_lists_before_and_forth_again(tmp_path: Path, two_versions: Path) -> None:
    back = run_recsys(tmp_path, two_versions, "rollback")
    assert (back.returncode, back.stderr) == (0, "")
    assert back.stdout == f"Version {FIRST} is live again; it was {SECOND}\n"
    status = json.loads(run_recsys(tmp_path, two_versions, "status", "--json").stdout)
    assert [(version["name"], version["live"]) for version in status["redis"]["versions"]] == [
        (FIRST, True),
        (SECOND, False),
    ]
    forth = json.loads(run_recsys(tmp_path, two_versions, "rollback", SECOND, "--json").stdout)
    assert (forth["version"], forth["previous"]) == (SECOND, FIRST)
    assert forth["seconds"] < 1


def test_a_version_that_is_not_there_is_one_line(tmp_path: Path, two_versions: Path) -> None:
    refused = run_recsys(tmp_path, two_versions, "rollback", "20170101T000000Z")
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == (
        f"recsys: version '20170101T000000Z' is not in Redis; versions to go back to: {FIRST}\n"
    )
    assert live_version(connect(Redis(), two_versions), Keys("recsys")) == SECOND
