"""Rows in quarantine are read again once the settings are mended, without the source."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.checks.quarantine import list_quarantine
from jobs.ingest.source_records import read_records
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from jobs.quarantine.retry import Retry, retry
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.database_servers import DatabaseServer
from tests.event_stream import EVENT as ONLINE_EVENT
from tests.event_stream import append, archive_stream
from tests.ingests import LATEST, KilledError, fail_at_rename, hash_lake, ingest_files, read_quarantined_rows
from tests.source_files import write_file

COLUMNS: dict[str, ColumnMapping] = {
    "user_id": "who",
    "item_id": "what",
    "event": "did",
    "timestamp": "at",
    "price": "paid",
}
NAMES = {"look": "view", "buy": "purchase"}
WRONG = Table("log", "events", "log*", COLUMNS, events={"look": "view"})
RIGHT = replace(WRONG, events=NAMES, decimal=",")
ITEMS = Table("items", "items", "items*", {"item_id": "sku", "title": "name", "price": "paid"})


def sources(*tables: Table, **values: Any) -> Sources:
    return Sources(tables=tables, max_bad_rows=1, min_rows=0, **values)


def row(**values: str) -> dict[str, str]:
    return {"who": "ann", "what": "tea", "did": "look", "at": "2024-05-01T10:00:00", "paid": "2"} | values


def write_rows(file: Path, *rows: dict[str, Any]) -> Path:
    """Write rows to a CSV or JSON Lines file, as its name says."""
    if file.suffix == ".csv":
        pl.DataFrame(rows).write_csv(file)
    else:
        file.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    return file


def events_of(lake: Lake) -> list[dict[str, Any]]:
    return lake.events().collect().sort(pl.all()).to_dicts()


def counts_of(lake: Lake) -> list[tuple[Any, ...]]:
    return [
        (each.rows, each.accepted, each.duplicates, each.quarantined, each.rules) for each in read_records(lake)
    ]


def retry_all(lake: Lake, *tables: Table, **options: Any) -> Retry:
    return retry(lake, sources(*tables), LATEST, **options)


def quarantine_of(lake: Lake) -> dict[str, str]:
    return {name: content for name, content in hash_lake(lake).items() if name.startswith("quarantine")}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", buckets=2)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "who": st.sampled_from(["ann", "bob", "a b", ""]),
            "what": st.sampled_from(["tea", "mug"]),
            "did": st.sampled_from(["look", "buy", "dance"]),
            "at": st.sampled_from(["2024-05-01T10:00:00", "2024-05-02T10:00:00", "soon"]),
            "paid": st.sampled_from(["2", "2,50", "dear"]),
        }
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@given(ROWS, st.booleans(), st.sampled_from([1, 3, 100]))
@settings(max_examples=4)
def test_a_retry_gives_what_the_right_mapping_gives_from_the_start(
    suffix: str, rows: list[dict[str, str]], is_there: bool, chunk_rows: int
):
    with TemporaryDirectory() as name:
        file = write_rows(Path(name) / f"log.{suffix}", *rows)
        lake, right = Lake(Path(name) / "lake", buckets=2), Lake(Path(name) / "right", buckets=2)
        ingest_files(right, file, sources=sources(RIGHT))
        ingest_files(lake, file, sources=sources(WRONG, chunk_rows=chunk_rows))
        content = file.read_bytes()
        if not is_there:
            file.unlink()
        retry_all(lake, RIGHT)
        assert events_of(lake) == events_of(right)
        assert counts_of(lake) == counts_of(right)
        file.write_bytes(content)
        ingest_files(lake, file, sources=sources(RIGHT))
        assert events_of(lake) == events_of(right)
        assert counts_of(lake) == counts_of(right)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_retry_can_be_undone_and_made_again(lake: Lake, tmp_path: Path, is_there: bool):
    file = write_rows(tmp_path / "log.csv", row(), row(did="buy"), row(did="dance"), row(paid="2,5"))
    ingest_files(lake, file, sources=sources(WRONG))
    before, quarantine, records = events_of(lake), quarantine_of(lake), read_records(lake)
    if not is_there:
        file.unlink()
    for number in (2, 3):
        retried = retry_all(lake, RIGHT)
        assert (retried.ingest, retried.files[0].is_whole) == (number, is_there)
        assert (len(events_of(lake)), read_quarantined_rows(lake)["event"].to_list()) == (3, ["dance"])
        assert retry_all(lake, RIGHT).ingest is None
        undo(lake, number)
        assert (events_of(lake), quarantine_of(lake), read_records(lake)) == (before, quarantine, records)
    retry_all(lake, RIGHT)
    undo(lake, 1)
    undo(lake, 4)
    assert (events_of(lake), quarantine_of(lake), read_records(lake)) == ([], {}, [])


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


def test_only_the_rows_of_a_rule_a_table_or_a_source_are_read_again(lake: Lake, tmp_path: Path):
    for name in ("log-1.csv", "log-2.csv"):
        write_rows(tmp_path / name, row(), row(did="buy", what=name), row(paid="2,5", what=name))
    ingest_files(lake, tmp_path / "log-1.csv", tmp_path / "log-2.csv", sources=sources(WRONG))
    for file in tmp_path.glob("*.csv"):
        file.unlink()
    planned = retry_all(lake, RIGHT, dry_run=True)
    assert [(each.rows, each.accepted, each.quarantined) for each in planned.files] == [(2, 2, 0)] * 2
    assert len(events_of(lake)) == 1
    retried = retry_all(lake, RIGHT, source="log-2.csv", table="log", rule="event_is_known")
    assert [(each.rows, each.accepted, each.quarantined) for each in retried.files] == [(1, 1, 1)]
    assert {event["item_id"] for event in events_of(lake)} == {"log-2.csv", "tea"}
    assert retry_all(lake, RIGHT).ingest == 3
    assert (len(events_of(lake)), list_quarantine(lake)) == (5, [])


def test_elements_of_a_list_get_the_ids_that_the_whole_file_gives(lake: Lake, tmp_path: Path):
    lines = [{"sku": "tea", "paid": "2"}, {"sku": "mug", "paid": "2,5"}, {"sku": "tea", "paid": "2"}]
    order = {"who": "ann", "did": "look", "at": "2024-05-01T10:00:00", "lines": lines}
    columns: dict[str, ColumnMapping] = COLUMNS | {"item_id": "lines.sku", "price": "lines.paid"}
    table = replace(WRONG, columns=columns, explode="lines", files="orders*")
    file = write_rows(tmp_path / "orders.jsonl", order, order | {"who": "bob"})
    right = Lake(tmp_path / "right", buckets=2)
    ingest_files(right, file, sources=sources(replace(table, decimal=",")))
    ingest_files(lake, file, sources=sources(table))
    file.unlink()
    assert retry_all(lake, replace(table, decimal=",")).files[0].accepted == 2
    assert (len(events_of(lake)), events_of(lake)) == (6, events_of(right))


def test_all_rows_of_a_file_decide_the_order_of_day_and_month(lake: Lake, tmp_path: Path):
    file = write_rows(tmp_path / "log.csv", row(at="31/12/2023"), row(at="1/2/2024", did="buy"))
    ingest_files(lake, file, sources=sources(WRONG))
    file.unlink()
    retry_all(lake, RIGHT)
    assert {str(event["timestamp"].date()) for event in events_of(lake)} == {"2024-02-01", "2023-12-31"}


def test_rows_of_a_query_are_read_again_with_their_types(lake: Lake, sqlite: DatabaseServer):
    sqlite.run(
        "CREATE TABLE log (who INTEGER, what TEXT, did TEXT, at TEXT, paid REAL);"
        "INSERT INTO log VALUES (7, 'tea', 'look', '2024-05-01', 2.5), (7, 'mug', 'buy', '2024-05-02', 1)"
    )
    table = replace(WRONG, files="", query="SELECT * FROM log", connection=sqlite.uri, watermark="at")
    ingest_files(lake, sources=sources(table))
    sqlite.run("DELETE FROM log")
    retry_all(lake, replace(table, events=NAMES))
    events = [(each["user_id"], each["item_id"], each["event"], each["price"]) for each in events_of(lake)]
    assert sorted(events) == [("7", "mug", "purchase", 1.0), ("7", "tea", "view", 2.5)]


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


def test_events_received_online_are_read_again(lake: Lake, valkey: redis.Redis):
    append(valkey, "event", ONLINE_EVENT, ONLINE_EVENT | {"event_id": "e2", "event": "wish"})
    archive_stream(lake, valkey)
    assert retry(lake, Sources(), LATEST).files[0].quarantined == 1
    retried = retry(lake, Sources(weights={"wish": 2.0}), LATEST)
    assert [(each.table, each.rows, each.accepted) for each in retried.files] == [("online", 1, 1)]
    assert [event["event"] for event in events_of(lake)] == ["view", "wish"]
    assert list_quarantine(lake) == []


def test_events_of_two_users_with_one_id_are_both_taken_in(lake: Lake, valkey: redis.Redis, tmp_path: Path):
    with_ids = [replace(table, columns=COLUMNS | {"event_id": "id"}) for table in (WRONG, RIGHT)]
    file = write_rows(tmp_path / "log.csv", row(id="o1"), row(id="o1", who="eve", did="buy"))
    ingest_files(lake, file, sources=sources(with_ids[0]))
    file.unlink()
    retry_all(lake, with_ids[1])
    assert [(event["user_id"], event["event"]) for event in events_of(lake)] == [
        ("ann", "view"),
        ("eve", "purchase"),
    ]

    wishes = [ONLINE_EVENT | {"event_id": "e2", "user_id": name, "event": "wish"} for name in ("ann", "eve")]
    append(valkey, "event", *wishes)
    archive_stream(lake, valkey)
    retry(lake, Sources(weights={"wish": 2.0}), LATEST, table="online")
    assert sorted(event["user_id"] for event in events_of(lake) if event["event"] == "wish") == ["ann", "eve"]


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
    lake = Lake(tmp_path / "lake", pseudonym_key="key")
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
