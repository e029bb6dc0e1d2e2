"""A retry changes nothing that was said since, stays whole when killed, and names rows that it cannot read."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.checks.quarantine import list_quarantine
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Sources
from tests.ingests import KilledError, fail_at_rename, ingest_files, read_quarantined_rows
from tests.quarantine_retries import (
    COLUMNS,
    ITEMS,
    NAMES,
    RIGHT,
    WRONG,
    counts_of,
    events_of,
    quarantine_of,
    retry_all,
    row,
    sources,
    write_rows,
)
from tests.source_files import write_file


@pytest.mark.parametrize("is_there", [True, False])
def test_a_retry_that_is_killed_loses_and_doubles_nothing(lake: Lake, tmp_path: Path, is_there: bool):
    file = write_rows(tmp_path / "log.csv", row(), row(did="buy"), row(did="dance"))
    items = write_rows(tmp_path / "items.csv", {"sku": "tea", "name": "Tea", "paid": "2,5"})
    ingest_files(lake, file, items, sources=sources(WRONG, ITEMS))
    if not is_there:
        file.unlink()
        items.unlink()
    mended, step = (RIGHT, replace(ITEMS, decimal=",")), -int(is_there)
    while True:
        step += 2  # each kind of retry fails at every other file
        copy = Lake(tmp_path / str(step), buckets=2)
        shutil.copytree(lake.directory, copy.directory)
        try:
            with fail_at_rename(step):
                retry_all(copy, *mended)
            break
        except KilledError:
            assert len(events_of(copy)) + len(read_quarantined_rows(copy)) >= 4
        retry_all(copy, *mended)
        assert sorted(event["event"] for event in events_of(copy)) == ["purchase", "view"]
        assert read_quarantined_rows(copy)["event"].to_list() == ["dance"]
        assert copy.items().collect()["price"].to_list() == [2.5]
        assert [(each[0], sum(each[1:4]), each[3]) for each in counts_of(copy)] == [(1, 1, 0), (3, 3, 1)]
    assert step > 6


def test_an_older_row_changes_nothing_that_was_said_since(lake: Lake, tmp_path: Path):
    old = write_rows(
        tmp_path / "items-1.csv",
        {"sku": "tea", "name": "Tea", "paid": "1,5"},
        {"sku": "mug", "name": "Mug", "paid": "3,5"},
    )
    ingest_files(lake, old, sources=sources(ITEMS))
    ingest_files(
        lake,
        write_rows(tmp_path / "items-2.csv", {"sku": "tea", "name": "Green tea", "paid": "2"}),
        sources=sources(ITEMS),
    )
    for is_there in (True, False):
        if not is_there:
            undo(lake, 3)
            old.unlink()
        retry_all(lake, replace(ITEMS, decimal=","))
        assert lake.items().select("item_id", "title", "price").collect().rows() == [
            ("mug", "Mug", 3.5),
            ("tea", "Green tea", 2.0),
        ]


def test_an_event_that_a_later_file_corrected_stays_corrected(lake: Lake, tmp_path: Path):
    table = replace(WRONG, columns=COLUMNS | {"event_id": "id"})
    first = write_rows(tmp_path / "log-1.csv", row(id="1", did="buy"), row(id="2"))
    ingest_files(lake, first, sources=sources(table))
    second = write_rows(tmp_path / "log-2.csv", row(id="1", what="mug", at="2024-06-01T10:00:00"))
    ingest_files(lake, second, sources=sources(table))
    first.unlink()
    retry_all(lake, replace(table, events=NAMES))
    assert sorted((event["event_id"], event["item_id"]) for event in events_of(lake)) == [
        ("1", "mug"),
        ("2", "tea"),
    ]


def test_rows_that_cannot_be_read_again_stay_with_a_reason(lake: Lake, tmp_path: Path):
    file = write_file(tmp_path / "log.csv", "who,what,did,at,paid\nann,tea\nann,tea,look,2024-05-01,2\n")
    ingest_files(lake, file, sources=sources(WRONG))
    quarantine = quarantine_of(lake)
    file.unlink()
    for table, reason in (
        (RIGHT, "a line that is no row can only be read from its file"),
        (replace(RIGHT, separator=";"), "is parsed have changed"),
        (ITEMS, "no table 'log' of events"),
    ):
        assert reason in retry_all(lake, table).files[0].reason
    assert quarantine_of(lake) == quarantine


def test_objects_without_fields_are_kept_too(lake: Lake, tmp_path: Path):
    nested = {"empty": {}, "null": None, "list": [], "deep": {"list": [{"x": {}}], "who": "ann"}}
    table = replace(WRONG, columns=COLUMNS | {"user_id": "deep.who"})
    file = write_rows(tmp_path / "log.jsonl", row() | nested, row(did="buy") | nested)
    ingest_files(lake, file, sources=sources(table, chunk_rows=1))
    file.unlink()
    retry_all(lake, replace(table, events=NAMES))
    assert {(event["user_id"], event["event"]) for event in events_of(lake)} == {
        ("ann", "view"),
        ("ann", "purchase"),
    }


def test_an_ingest_that_stops_leaves_the_rows_of_the_one_before_in_quarantine(lake: Lake, tmp_path: Path):
    file = write_rows(tmp_path / "log.csv", row(), row(did="buy"))
    ingest_files(lake, file, sources=sources(WRONG))
    write_rows(file, row(did="dance"))
    with pytest.raises(SourceError, match=r"rows broke rules .* see the rows in .*-stopped\.parquet"):
        ingest_files(lake, file, sources=Sources(tables=(WRONG,)))
    retried = retry_all(lake, RIGHT)
    assert [(each.ingest, each.rows, each.accepted) for each in retried.files] == [(None, 0, 0), (1, 1, 1)]
    assert "`recsys ingest` reads the source" in retried.files[0].reason
    assert [event["event"] for event in events_of(lake)].count("purchase") == 1
    ingest_files(lake, write_rows(file, row(), row(did="buy", what="mug")), sources=sources(RIGHT))
    assert list_quarantine(lake) == []


def test_with_pseudonyms_no_row_of_the_source_is_kept(tmp_path: Path):
    lake = Lake(tmp_path / "lake", pseudonyms=Pseudonyms(("key",)))
    file = write_rows(tmp_path / "log.csv", row(who="ann-smith", did="buy"), row())
    ingest_files(lake, file, sources=sources(WRONG))
    assert not any(b"ann-smith" in each.read_bytes() for each in lake.directory.rglob("*") if each.is_file())
    content = file.read_bytes()
    file.unlink()
    assert "were not kept" in retry_all(lake, RIGHT).files[0].reason
    file.write_bytes(content)
    assert retry_all(lake, RIGHT).files[0].accepted == 1
    assert len(events_of(lake)) == 2


def test_the_command_shows_what_it_did(recsys: Callable[..., Any], data_directory: Path, tmp_path: Path):
    lake = Lake(data_directory / "lake")
    file = write_rows(
        tmp_path / "events.csv",
        {"user_id": "ann", "item_id": "tea", "event": "wish", "timestamp": "2024-05-01"},
        {"user_id": "ann", "item_id": "tea", "event": "view", "timestamp": "2024-05-01"},
    )
    ingest_files(lake, file)
    wishes = {"RECSYS_SOURCES_WEIGHTS": "{wish = 1.0}"}
    file.unlink()
    planned = recsys("quarantine", "retry", "--dry-run", "--json", **wishes)
    assert json.loads(planned.stdout)["files"][0]["accepted"] == 1, planned.stderr
    shown = recsys("quarantine", "retry", "--rule", "event_is_known", **wishes)
    assert (shown.returncode, shown.stderr.count("\n") <= 1) == (0, True)
    assert "`recsys lake undo 2` puts the rows back." in shown.stdout
    assert lake.count_events() == 2
    assert "Its rows are in quarantine again." in recsys("lake", "undo", "2").stdout
    assert recsys("quarantine", "retry", **wishes).returncode == 0
    refused = recsys("quarantine", "retry", "--table", "orders")
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "recsys: table 'orders': no such rows are in quarantine; expected one of: none",
    )
