"""Read the Parquet files in which a lake keeps its state, and tell the errors of files."""

import os
import re
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


def file_error(error: pl.exceptions.PolarsError, directory: Path) -> OSError | StateError | None:
    """Return the error of a file that Polars met when it read or wrote below a directory, if it was one.

    Polars names no error of the operating system where the end of a Parquet file cannot be written.
    """
    if number := re.search(r"\(os error (\d+)\)", str(error)):
        return OSError(int(number[1]), os.strerror(int(number[1])), str(directory))
    if "transport error" in str(error):
        return StateError(f"{directory}: a Parquet file cannot be written or read to its end: is the disk full?")
    return None
