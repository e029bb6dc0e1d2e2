"""Columns of text as numbers in SQL expressions."""

from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.formats.numbers import NumericColumn, numbers_of
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import EVENT, ingest_files
from tests.source_files import TABLE, write_file

HEADER = "user_id,item_id,event,timestamp,qty,net,tax,code\n"


def test_a_column_holds_numbers_if_every_value_of_the_file_is_one(tmp_path: Path):
    lines = ["a,b,c,d,e,f", *["1,1.5,,01,1e3,1"] * 100_000, " 2 ,-3,,007,.5,x,", "3,4,,+8,0,nan"]
    file = write_file(tmp_path / "a.csv", "\n".join(lines[:-2]) + "\n 2 ,-3,,007,.5,x\n3,4,,+8,0,\n")
    whole, number = NumericColumn(pl.Int64()), NumericColumn(pl.Float64())
    assert numbers_of(file, TABLE)(list("abcdef")) == {
        **{"a": whole, "b": number, "c": whole, "d": whole, "e": number},
        "f": NumericColumn(None, "x"),
    }


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1,5", "1 000", "0x10", "1_000", "١", "12€", "True"])
def test_what_only_looks_like_a_number_is_text(tmp_path: Path, value: str):
    file = write_file(tmp_path / "a.csv", f"a;b\n1;{value}\n")
    assert numbers_of(file, TABLE)(["b"]) == {"b": NumericColumn(None, value)}


def ingest_with(lake: Lake, file: Path, **columns: ColumnMapping) -> pl.DataFrame:
    mapping: dict[str, ColumnMapping] = {name: name for name in EVENT}
    table = Table("log", "events", "*", {**mapping, **columns})
    ingest_files(lake, file, sources=Sources(tables=(table,), chunk_rows=1))
    return lake.events().collect().sort("item_id")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Four events, one of them without a quantity."""
    rows = ["007,tea-1,view,2024-05-01,2,10,2.5,1", "007,tea-2,view,2024-05-01,0,1.5,1,01"]
    rows += ["007,tea-3,view,2024-05-01,,1,1,x", "007,tea-4,view,2024-05-01,-10,9,1,1"]
    return write_file(tmp_path / "log.csv", HEADER + "\n".join(rows))


@pytest.mark.parametrize(
    ("column", "expression", "values"),
    [
        ("event", "CASE WHEN qty > 0 THEN 'cart' ELSE 'view' END", ["cart", "view", "view", "view"]),
        (
            "event",
            "CASE WHEN code = '1' AND qty > -11 THEN 'cart' ELSE 'view' END",
            ["cart", "view", "view", "cart"],
        ),
        ("event", "CASE WHEN tax = '1' AND qty < 0 THEN 'cart' ELSE 'view' END", ["view", "view", "view", "cart"]),
        ("event", "CASE WHEN qty IN (2, 3) THEN 'cart' ELSE 'view' END", ["cart", "view", "view", "view"]),
        ("event", "CASE WHEN qty BETWEEN 1 AND 11 THEN 'cart' ELSE 'view' END", ["cart", "view", "view", "view"]),
        ("price", "net + tax", [12.5, 2.5, 2.0, 10.0]),
        ("price", "net * 2", [20.0, 3.0, 2.0, 18.0]),
        ("price", "net * ABS(qty)", [20.0, 0.0, None, 90.0]),
        ("price", "CAST(net AS DOUBLE) * 2", [20.0, 3.0, 2.0, 18.0]),
        ("quantity", "ABS(qty)", [2.0, 0.0, None, 10.0]),
        ("quantity", "CASE WHEN code = '1' THEN ABS(qty) ELSE 1 END", [2.0, 1.0, 1.0, 10.0]),
        ("session_id", "net || tax", ["102.5", "1.51", "11", "91"]),
        ("session_id", "qty * 2", ["4", None, None, "-20"]),
    ],
)
def test_an_expression_uses_text_as_numbers_where_it_needs_them(
    lake: Lake, log: Path, column: str, expression: str, values: list[object]
):
    events = ingest_with(lake, log, **{column: expression})
    assert events[column].to_list() == values
    assert events["user_id"].unique().to_list() == ["007"]


@pytest.mark.parametrize(
    ("column", "expression", "mapping"),
    [
        ("price", "code * 2", "TRY_CAST(code AS DOUBLE) * 2"),
        ("price", "net + code", "net + TRY_CAST(code AS DOUBLE)"),
        ("event", "CASE WHEN code > 0 THEN 'view' END", "CASE WHEN TRY_CAST(code AS DOUBLE) > 0 THEN 'view' END"),
    ],
)
def test_an_expression_that_needs_numbers_where_there_is_text_is_an_error_with_an_example(
    lake: Lake, log: Path, column: str, expression: str, mapping: str
):
    with pytest.raises(SourceError) as error:
        ingest_with(lake, log, **{column: expression})
    assert str(error.value) == (
        f"{log}: column 'code' of table 'log' is text, as 'x' is no number, and {expression!r} needs a number; "
        f"expected a mapping such as {mapping!r}, which is null there"
    )
    assert ingest_with(lake, log, **{column: mapping.replace("net +", "CAST(net AS DOUBLE) +")}).height


def test_a_number_in_quotes_is_one(lake: Lake, tmp_path: Path):
    file = write_file(tmp_path / "log.csv", HEADER + '"1","tea","view","2024-05-01"," 3 ","","",""\n')
    assert ingest_with(lake, file, quantity="qty * 2")["quantity"].to_list() == [6.0]
