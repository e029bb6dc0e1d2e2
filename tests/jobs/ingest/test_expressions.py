"""Settings name columns, paths into nested columns and SQL over both; a condition leaves rows out."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.ingest.mapping import map_source
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import ingest_files

ROW: dict[str, Any] = {
    "user": {"id": 7, "name": "x"},
    "sku": "tea",
    "list": [{"a": 1}],
    "j": '{"b": [{"c": "d"}]}',
    "x.y": "z",
    "dashed": {"b": 2, "c": 1, "b-c": 3},
}


@pytest.mark.parametrize(
    ("mapped", "value"),
    [
        ("user.id", "7"),
        ("UPPER(CONCAT(user.name, '.', sku))", "X.TEA"),
        ("list.0.a", "1"),
        ("list.3.a", None),
        ("j.b.0.c", "d"),
        ("j.b.1.c", None),
        ("j.none", None),
        ("x.y", "z"),
        ("dashed.b-c", "3"),
        ("dashed.b-dashed.c", "1"),
        ("CASE WHEN user.id > 5 THEN 'big' ELSE 'user.id' END", "big"),
        ("CASE WHEN user.id > 9 THEN 'big' ELSE 'user.id' END", "user.id"),
    ],
)
def test_a_path_is_a_column_alone_and_in_sql(mapped: str, value: str | None):
    columns: dict[str, ColumnMapping] = {
        "user_id": "sku",
        "item_id": "sku",
        "event": "'view'",
        "timestamp": "'2024-01-01'",
    }
    rows = map_source(pl.DataFrame([ROW]), Table("log", "events", "*", columns | {"user_agent": mapped}), Sources())
    assert rows.rows["user_agent"].to_list() == [value]


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("user.email", r"'user.email' has no field 'email'; the fields are id, name"),
        ("list.a", r"'list.a' has no field 'a'; it is a list: set explode to read its elements"),
        ("user.id.x", r"'user.id.x' has no field 'x'; it is of type Int64"),
        ("user.id-user.age", r"'user.age' has no field 'age'"),
        ("nobody.id", r"column 'nobody' of table 'log' is missing; the file has user, sku"),
        ("UPPER(user.email)", r"'user.email' has no field 'email'"),
    ],
)
def test_a_path_that_leads_nowhere_is_named(path: str, problem: str):
    columns: dict[str, ColumnMapping] = {
        "user_id": path,
        "item_id": "sku",
        "event": "'view'",
        "timestamp": "'2024-01-01'",
    }
    with pytest.raises(SourceError, match=problem):
        map_source(pl.DataFrame([ROW]), Table("log", "events", "*", columns), Sources())


@pytest.mark.parametrize("path", ["user.email", "nobody.id"])
def test_an_optional_path_into_an_earlier_column_may_be_missing(path: str):
    columns: dict[str, ColumnMapping] = {
        "user_id": "sku",
        "item_id": "sku",
        "event": "'view'",
        "timestamp": "'2024-01-01'",
    }
    names = Table("log", "events", "*", columns | {"ip": path})
    assert map_source(pl.DataFrame([ROW]), names, Sources(), {"user", "nobody"}).rows["ip"].to_list() == [None]


LINES = {"sku": ["tea", "shipping", "mug", None], "qty": [1, 1, -2, None], "event": ["sold"] * 4}
LINE_COLUMNS: dict[str, ColumnMapping] = {
    "user_id": "'ann'",
    "item_id": "sku",
    "event": "'purchase'",
    "timestamp": "'2024-01-01'",
}


def test_rows_that_fail_the_condition_are_left_out_and_counted(lake: Lake, tmp_path: Path):
    names = Table("log", "events", "*.csv", LINE_COLUMNS, where="CAST(qty AS DOUBLE) > 0 AND sku <> 'shipping'")
    mapped = map_source(pl.DataFrame(LINES), names, Sources())
    assert (mapped.rows["item_id"].to_list(), mapped.counts.filtered) == (["tea"], 3)
    pl.DataFrame(LINES).write_csv(tmp_path / "lines.csv")
    (count,) = ingest_files(lake, tmp_path / "lines.csv", sources=Sources(tables=(names,)))
    assert (count.rows, count.accepted, count.quarantined) == (1, 1, 0)
    assert not list(lake.directory.glob("quarantine/*"))


@pytest.mark.parametrize(
    ("where", "error", "problem"),
    [
        ("qty >", SettingsError, r"sources\.tables\.log\.where = 'qty >': expected an SQL condition"),
        ("qty + 1", SettingsError, r"where = 'qty \+ 1': expected an SQL condition, not a value of type Int64"),
        (
            "price > 0",
            SourceError,
            r"where = 'price > 0': there is no column 'price'; the source has sku, qty, event",
        ),
        ("sku > 0", SourceError, r"where = 'sku > 0' cannot be computed: .*compare CAST\(column AS DOUBLE\)"),
    ],
)
def test_a_condition_that_cannot_be_used_is_named(where: str, error: type[Exception], problem: str):
    with pytest.raises(error, match=problem):
        map_source(pl.DataFrame(LINES), Table("log", "events", "*", LINE_COLUMNS, where=where), Sources())
