"""Which tables read which files, and which files an ingest skips."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.database_servers import DatabaseServer
from tests.ingests import EVENT, LATEST, ingest_files, write_events
from tests.queries import CONTRACT, query_sources


def test_two_tables_may_read_one_file(lake: Lake, tmp_path: Path):
    tables = (
        Table("log", "events", "*.csv", {name: name for name in EVENT}),
        Table("articles", "items", "*.csv", {"item_id": "item_id"}),
    )
    counts = ingest_files(
        lake, write_events(tmp_path / "log.csv", {}, {"user_id": "bob"}), sources=Sources(tables=tables)
    )
    assert [(count.table, count.accepted) for count in counts] == [("log", 2), ("articles", 1)]


def test_a_directory_may_hold_files_that_no_table_reads(lake: Lake, tmp_path: Path):
    exports = tmp_path / "exports"
    exports.mkdir()
    write_events(exports / "events.csv", {})
    (exports / "stores.csv").write_text("store\n1\n")
    assert [count.file for count in ingest_files(lake, exports)] == ["events.csv"]
    with pytest.raises(
        SourceError, match=r"stores\.csv: no table reads a file of this name; expected one like events\*"
    ):
        ingest_files(lake, exports / "stores.csv")


def test_paths_of_which_no_table_reads_any_file_are_named(lake: Lake, tmp_path: Path):
    (tmp_path / "stores.csv").write_text("store\n1\n")
    with pytest.raises(SourceError, match=f"^{tmp_path}: no table reads any of the files there$"):
        ingest_files(lake, tmp_path)


def test_one_file_and_one_query_are_taken_in_together(sqlite: DatabaseServer, lake: Lake, tmp_path: Path):
    (tmp_path / "events.csv").write_text("user_id,item_id,event,timestamp\nann,tea,view,2024-05-01\n")
    query = "SELECT 'bob' AS user_id, 'tea' AS item_id, 'view' AS event, '2024-05-01' AS timestamp"
    columns = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
    sources = query_sources(sqlite, query, {**columns})
    paths = (str(tmp_path / "events.csv"),)
    assert [count.file for count in ingest(paths, sources, lake, LATEST)] == ["events.csv", "shop"]
    assert [count.file for count in ingest(paths, sources, lake, LATEST, queries=False)] == ["events.csv"]
    assert sorted(lake.events().collect()["user_id"]) == ["ann", "bob"]


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (Table("t", "events", columns=CONTRACT), "sources.tables.t: expected either files or query"),
        (Table("t", "events", "*", CONTRACT, query="SELECT 1"), "sources.tables.t: expected either files or query"),
        (
            Table("t", "events", columns=CONTRACT, query="SELECT 1"),
            "sources.tables.t.connection = '': expected a name",
        ),
    ],
)
def test_a_table_reads_files_or_a_query(table: Table, problem: str, lake: Lake):
    with pytest.raises(SettingsError) as error:
        ingest((), Sources(tables=(table,)), lake, LATEST)
    assert str(error.value).startswith(problem)


COLUMNS: dict[str, ColumnMapping] = {
    "event_id": "id",
    "user_id": "user_name",
    "item_id": "item",
    "event": "'view'",
    "timestamp": "changed",
}


def write_log(file: Path, *rows: tuple[int, str]) -> Path:
    """Write a CSV file of ids and days of May 2024."""
    lines = [f"{number},ann,tea,2024-05-{day}T10:00:00" for number, day in rows]
    file.write_text("\n".join(["id,user_name,item,changed", *lines]) + "\n")
    return file


FILES = Sources(tables=(Table("log", "events", "log*", COLUMNS, watermark="changed", lateness=2.0),))


def test_a_file_that_is_known_is_not_read_again(lake: Lake, tmp_path: Path):
    exports = tmp_path / "exports"
    exports.mkdir()
    write_log(exports / "log-1.csv", (1, "01"), (2, "10"))
    assert len(ingest((str(exports),), FILES, lake, LATEST)) == 1
    read: list[int] = []
    assert ingest((str(exports),), FILES, lake, LATEST, read.append) == []
    assert read == []
    write_log(exports / "log-2.csv", (3, "11"))
    assert [count.file for count in ingest((str(exports),), FILES, lake, LATEST)] == ["log-2.csv"]
    full = ingest((str(exports),), FILES, lake, LATEST, full=True)
    assert [(count.file, count.accepted) for count in full] == [("log-1.csv", 0), ("log-2.csv", 0)]


def test_a_file_that_grows_is_read_from_its_watermark_on(lake: Lake, tmp_path: Path):
    file = write_log(tmp_path / "log.csv", (1, "01"), (2, "10"))
    ingest((str(file),), FILES, lake, LATEST)
    write_log(file, (1, "01"), (2, "10"), (3, "09"), (4, "03"), (5, "12"))
    (count,) = ingest((str(file),), FILES, lake, LATEST)
    assert (count.rows, count.accepted, count.passed_over) == (3, 2, 2)
    (count,) = ingest((str(file),), FILES, lake, LATEST, full=True)
    assert (count.rows, count.accepted, count.passed_over) == (5, 1, 0)


def test_a_known_file_with_rows_whose_time_may_come_is_read_again(lake: Lake, tmp_path: Path):
    file = write_log(tmp_path / "log.csv", (1, "01"), (2, "10"))
    (early,) = ingest((str(file),), FILES, lake, datetime(2024, 5, 5, tzinfo=UTC))
    assert early.rules == {"timestamp_is_in_range": 1}
    (later_on,) = ingest((str(file),), FILES, lake, LATEST)
    assert later_on.accepted == 1


def test_files_of_one_ingest_are_read_whole_whatever_their_order(lake: Lake, tmp_path: Path):
    write_log(tmp_path / "log-1.csv", (1, "20"))
    write_log(tmp_path / "log-2.csv", (2, "01"))
    counts = ingest((str(tmp_path / "log-*.csv"),), FILES, lake, LATEST)
    assert [count.accepted for count in counts] == [1, 1]
