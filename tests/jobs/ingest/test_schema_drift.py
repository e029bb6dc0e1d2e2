"""Columns that come, go and change their type between ingests."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.ingest.ingest import MAX_CLOCK_SKEW, ingest
from jobs.ingest.schema_drift import possible_renames, schema_changes
from jobs.lake.lake import Lake
from recsys.data.quality import SchemaChange
from recsys.errors import SourceError
from recsys.settings import Sources, Table
from tests.commands import run_recsys
from tests.database_servers import DatabaseServer

NIGHTS = [datetime(2025, 1, night, 3, tzinfo=UTC) for night in (1, 2, 3)]
ROW: dict[str, Any] = {"shopper": 7, "sku": "tea", "done": "view", "at": "2024-05-01", "total": 12}
TABLE = Table(
    "log",
    "events",
    "log*",
    {"user_id": "shopper", "item_id": "sku", "event": "done", "timestamp": "at", "price": "total", "ip": "address"},
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake that ingested one file of integers on the first night."""
    lake = Lake(tmp_path / "lake")
    assert ingest_rows(lake, tmp_path / "log-0.parquet", ROW | {"address": "10.0.0.1"}, night=0) == []
    return lake


def ingest_rows(lake: Lake, file: Path, *rows: dict[str, Any], night: int = 1) -> list[SchemaChange]:
    """Ingest rows, check that all of them enter the lake, and return the schema changes."""
    pl.DataFrame(list(rows)).write_parquet(file)
    (count,) = ingest((str(file),), Sources(tables=(TABLE,)), lake, NIGHTS[night] + MAX_CLOCK_SKEW)
    assert (count.accepted, count.quarantined) == (len(rows), 0)
    return list(count.schema_changes)


def test_nothing_has_changed_between_files_of_one_schema(lake: Lake, tmp_path: Path):
    assert ingest_rows(lake, tmp_path / "log-1.parquet", ROW | {"sku": "milk", "address": "10.0.0.1"}) == []
    assert schema_changes(lake) == []


def test_a_price_that_becomes_text_is_read_on_and_reported(lake: Lake, tmp_path: Path):
    (change,) = ingest_rows(lake, tmp_path / "log-1.parquet", ROW | {"total": "12.50", "address": None})
    assert change == SchemaChange("log", "total", "Int64", "String", NIGHTS[1])
    assert sorted(lake.events().collect()["price"]) == [12.0, 12.5]


def test_ids_that_become_text_are_the_same_ids(lake: Lake, tmp_path: Path):
    (change,) = ingest_rows(
        lake, tmp_path / "log-1.parquet", ROW | {"shopper": "7", "sku": "milk", "address": None}
    )
    assert (change.column, change.before, change.after) == ("shopper", "Int64", "String")
    assert lake.events().collect()["user_id"].to_list() == ["7", "7"]


def test_a_column_that_seems_to_be_renamed_is_named(lake: Lake, tmp_path: Path):
    row = {name: value for name, value in ROW.items() if name != "total"} | {"amount": 12, "address": None}
    changes = ingest_rows(lake, tmp_path / "log-1.parquet", row | {"sku": "milk"})
    assert possible_renames(changes) == [("total", "amount")]
    assert possible_renames([*changes, SchemaChange("log", "sum", None, "Int64", NIGHTS[1])]) == []


def test_a_new_column_is_reported(lake: Lake, tmp_path: Path):
    row = ROW | {"sku": "milk", "address": None, "voucher": True}
    assert ingest_rows(lake, tmp_path / "log-1.parquet", row) == [
        SchemaChange("log", "voucher", None, "Boolean", NIGHTS[1])
    ]


def test_an_optional_column_may_go_and_come_back(lake: Lake, tmp_path: Path):
    gone = ingest_rows(lake, tmp_path / "log-1.parquet", ROW | {"sku": "milk"})
    assert gone == [SchemaChange("log", "address", "String", None, NIGHTS[1])]
    assert ingest_rows(lake, tmp_path / "log-2.parquet", ROW | {"sku": "rice"}, night=2) == []
    back = ingest_rows(lake, tmp_path / "log-3.parquet", ROW | {"sku": "salt", "address": "10.0.0.2"}, night=2)
    assert back == [SchemaChange("log", "address", None, "String", NIGHTS[2])]
    assert schema_changes(lake) == [*gone, *back]
    assert lake.events().collect()["ip"].null_count() == 2


def test_a_required_column_that_has_gone_stops_the_ingest(lake: Lake, tmp_path: Path):
    file = tmp_path / "log-1.parquet"
    pl.DataFrame([ROW]).drop("sku").write_parquet(file)
    schemas = (lake.directory / "schemas" / "log.json").read_bytes()
    with pytest.raises(SourceError, match="column 'sku' of table 'log' is missing; the file has shopper, done"):
        ingest((str(file),), Sources(tables=(TABLE,)), lake, NIGHTS[1] + MAX_CLOCK_SKEW)
    assert (lake.directory / "schemas" / "log.json").read_bytes() == schemas


def test_a_column_that_never_was_is_a_mistake_of_the_settings(tmp_path: Path):
    file = tmp_path / "log-1.parquet"
    pl.DataFrame([ROW]).write_parquet(file)
    with pytest.raises(SourceError, match="column 'address' of table 'log' is missing"):
        ingest((str(file),), Sources(tables=(TABLE,)), Lake(tmp_path / "lake"), NIGHTS[1] + MAX_CLOCK_SKEW)


def test_a_column_of_nothing_but_nulls_has_not_changed(lake: Lake, tmp_path: Path):
    assert (
        ingest_rows(lake, tmp_path / "log-1.parquet", ROW | {"sku": "milk", "total": None, "address": None}) == []
    )
    assert ingest_rows(lake, tmp_path / "log-2.parquet", ROW | {"sku": "rice", "address": None}, night=2) == []


def test_old_files_that_are_read_again_change_nothing(lake: Lake, tmp_path: Path):
    ingest_rows(lake, tmp_path / "log-1.parquet", ROW | {"total": "12.50", "address": None})
    before = (lake.directory / "schemas" / "log.json").read_bytes()
    counts = ingest((str(tmp_path),), Sources(tables=(TABLE,)), lake, NIGHTS[2] + MAX_CLOCK_SKEW)
    assert [count.schema_changes for count in counts] == [(), ()]
    assert (lake.directory / "schemas" / "log.json").read_bytes() == before


def test_files_of_one_ingest_that_differ_are_reported_together(lake: Lake, tmp_path: Path):
    for number, total in (("1", 5), ("2", "5.50")):
        pl.DataFrame([ROW | {"total": total, "address": None}]).write_parquet(tmp_path / f"log-{number}.parquet")
    counts = ingest((str(tmp_path / "log-[12]*"),), Sources(tables=(TABLE,)), lake, NIGHTS[1] + MAX_CLOCK_SKEW)
    assert [count.schema_changes for count in counts] == [
        (SchemaChange("log", "total", "Int64", "Int64 or String", NIGHTS[1]),),
        (),
    ]


def test_a_query_that_changes_is_reported_but_not_whole_numbers_among_fractions(
    sqlite: DatabaseServer, tmp_path: Path
):
    lake = Lake(tmp_path / "lake")
    sqlite.run("CREATE TABLE log (shopper, sku, done, at, total NUMERIC, address)")
    table = Table("log", "events", "", TABLE.columns, query="SELECT * FROM log", connection=sqlite.uri)
    seen: list[list[tuple[str, str | None, str | None]]] = []
    for total in ("1.5", "2", "'much'", "NULL"):
        sqlite.run(f"DELETE FROM log; INSERT INTO log VALUES (1, 'tea', 'view', '2024-05-01', {total}, NULL)")
        (count,) = ingest((), Sources(tables=(table,), max_bad_rows=1), lake, NIGHTS[0])
        seen.append([(change.column, change.before, change.after) for change in count.schema_changes])
    assert seen == [[], [], [("total", "Float64", "String")], []]


def test_the_command_tells_what_has_changed(lake: Lake, tmp_path: Path):
    file = tmp_path / "log-1.parquet"
    pl.DataFrame([ROW | {"total": "12.50", "address": None}]).write_parquet(file)
    mapped = "".join(f'{name} = "{column}"\n' for name, column in TABLE.columns.items())
    (tmp_path / "recsys.toml").write_text(
        f'[[sources.tables]]\nname = "log"\nkind = "events"\nfiles = "log*"\n[sources.tables.columns]\n{mapped}'
    )
    ended = run_recsys(tmp_path, tmp_path, "ingest", file, "--json")
    (count,) = json.loads(ended.stdout)["sources"]
    (change,) = count["schema_changes"]
    assert (change["column"], change["before"], change["after"]) == ("total", "Int64", "String")
    assert "source column changed" in ended.stderr
    (kept,) = schema_changes(lake)
    assert abs((kept.when - datetime.now(UTC)).total_seconds()) < 600
