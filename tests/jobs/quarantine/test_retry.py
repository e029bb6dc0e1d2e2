"""Rows in quarantine are read again once the settings are mended, without the source."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.checks.quarantine import list_quarantine
from jobs.ingest.source_records import read_records
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from jobs.quarantine.retry import retry
from recsys.settings import ColumnMapping, Sources
from tests.database_servers import DatabaseServer
from tests.event_stream import EVENT as ONLINE_EVENT
from tests.event_stream import append, archive_stream
from tests.ingests import LATEST, ingest_files, read_quarantined_rows
from tests.quarantine_retries import (
    COLUMNS,
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
