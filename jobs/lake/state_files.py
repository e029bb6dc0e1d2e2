"""Read the Parquet files in which a lake keeps its state."""

from pathlib import Path

import polars as pl

from recsys.errors import StateError
from recsys.files import RESTORE


def read_state(file: Path) -> pl.DataFrame:
    """Return the rows of a file, without columns from directory names; raises `StateError` if it is damaged."""
    try:
        return pl.read_parquet(file, glob=False, hive_partitioning=False)
    except pl.exceptions.PolarsError as error:
        if "os error" in str(error):
            raise
        reason = str(error).partition("\n")[0]
        raise StateError(f"{file}: it is no whole Parquet file: {reason}; {RESTORE}") from None
