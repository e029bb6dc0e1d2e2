"""Columns that are given in the first row of a record only are filled down, also across chunks."""

from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.fill_down import fill_down
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import ingest_files

ORDERS = [
    ("1", "ann", "paid", "tea"),
    (None, None, None, "mug"),  # continues order 1, of which nothing is repeated
    ("", "", "", "cup"),
    ("2", None, "paid", "tea"),  # an order without a customer takes none from the order above
    ("2", None, None, "mug"),
    ("3", "bob", "sent", "tea"),
    ("3", "bob", None, "mug"),  # some columns are repeated
    ("3", None, "lost", "cup"),  # a given value stays
    ("3", None, None, "pot"),
]
FILLED = [
    ("1", "ann", "paid", "tea"),
    ("1", "ann", "paid", "mug"),
    ("1", "ann", "paid", "cup"),
    ("2", None, "paid", "tea"),
    ("2", None, "paid", "mug"),
    ("3", "bob", "sent", "tea"),
    ("3", "bob", "sent", "mug"),
    ("3", "bob", "lost", "cup"),
    ("3", "bob", "lost", "pot"),
]
COLUMNS = ("order", "customer", "status", "article")
TABLE = Table("orders", "events", "orders*", fill_down=("order", "customer", "status"))


@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_a_row_takes_what_it_lacks_from_the_rows_of_its_order(rows: int) -> None:
    orders = pl.DataFrame(ORDERS, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")
    chunks = [Chunk(orders.clear()), *(Chunk(part) for part in orders.iter_slices(rows))]
    filled = list(fill_down(chunks, TABLE))
    assert [chunk.rows.height for chunk in filled] == [chunk.rows.height for chunk in chunks]
    assert pl.concat(chunk.rows for chunk in filled).rows() == FILLED


def test_without_columns_to_fill_the_rows_stay_as_they_are() -> None:
    chunk = Chunk(pl.DataFrame({"order": [None, ""]}))
    assert list(fill_down([chunk], Table("orders", "events", "orders*"))) == [chunk]


def test_a_column_that_the_source_lacks_is_named() -> None:
    with pytest.raises(
        SourceError, match=r"orders\.fill_down = 'customer': there is no such column; the source has"
    ):
        list(fill_down([Chunk(pl.DataFrame({"order": ["1"]}))], TABLE))


def test_an_ingest_fills_before_it_filters(lake: Lake, tmp_path: Path) -> None:
    lines = [",".join(value or "" for value in row) for row in ORDERS]
    (tmp_path / "orders.csv").write_text("\n".join([",".join(COLUMNS), *lines]))
    columns: dict[str, ColumnMapping] = {
        "user_id": "customer",
        "item_id": "article",
        "event": "'purchase'",
        "timestamp": "'2024-05-01'",
    }
    table = Table("orders", "events", "orders*", columns, fill_down=TABLE.fill_down, where="status = 'paid'")
    sources = Sources(tables=(table,), chunk_rows=2, max_bad_rows=1)
    (count,) = ingest_files(lake, tmp_path / "orders.csv", sources=sources)
    assert (count.accepted, count.rules) == (3, {"user_id_is_given": 2})
    assert sorted(lake.events().select("user_id", "item_id").collect().rows()) == [
        ("ann", "cup"),
        ("ann", "mug"),
        ("ann", "tea"),
    ]
