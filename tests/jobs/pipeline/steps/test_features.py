"""The features step."""

from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from jobs.pipeline.steps.features import ROW_GROUP_ROWS, write_tables


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
