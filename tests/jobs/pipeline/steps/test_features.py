"""The features step."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from features.tables import feature_tables
from jobs.pipeline.steps.features import ROW_GROUP_ROWS, write_due_items, write_tables
from recsys.contract import Events, Items, Users

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def test_row_groups_do_not_depend_on_threads(tmp_path: Path) -> None:
    rows = 3 * ROW_GROUP_ROWS + 1
    table = pl.LazyFrame({"user": pl.int_range(rows, eager=True) % 1_000, "value": pl.int_range(rows, eager=True)})
    # A filter leaves batches of uneven sizes, which threads finish in any order.
    uneven = table.sort("user", "value").filter((pl.col("user") > 500) | (pl.col("value") % 3 > 0))
    write_tables(tmp_path, {"table": uneven})
    metadata = pq.ParquetFile(tmp_path / "table.parquet").metadata
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert len(sizes) > 2
    assert set(sizes[:-1]) == {ROW_GROUP_ROWS}


def test_due_items_of_each_bucket_are_those_that_may_be_listed(tmp_path: Path) -> None:
    def bucket(user: str, *items: str) -> pl.LazyFrame:
        bought = [
            {"event_id": f"{item}{days}", "user_id": user, "item_id": item, "event": "purchase",
             "timestamp": AS_OF - timedelta(days=days)}
            for item in items
            for days in (22, 12, 2)
        ]  # fmt: skip
        return pl.DataFrame(bought, schema=Events.create_empty().schema).lazy()

    items, users = Items.create_empty().lazy(), Users.create_empty().lazy()
    for tables in feature_tables(
        [bucket("ann", "tea", "sold out"), bucket("bob", "sold out")], items, users, AS_OF, 90
    ):
        write_tables(tmp_path, tables)
    write_due_items(tmp_path, pl.LazyFrame({"item_id": ["sold out"]}), AS_OF)
    tables = [pl.read_parquet(tmp_path / "due_items" / f"bucket=0{number}.parquet") for number in range(2)]
    # Every gap of the shop lasted ten days, and so do the cycles.
    assert tables[0].select("user_id", "rank", "item_id", "due_at").rows() == [
        ("ann", 1, "tea", AS_OF + timedelta(days=10 - 2))
    ]
    assert tables[1].is_empty()
