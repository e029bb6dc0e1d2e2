"""Errors of files that Polars reports, as one line."""

from pathlib import Path

import polars as pl
import pytest

from jobs.lake.state_files import file_error
from recsys.errors import StateError

TRANSPORT = "parquet: File out of specification: Invalid thrift: transport error"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("No space left on device (os error 28)", OSError), (TRANSPORT, StateError), ("no such column", type(None))],
    ids=["with its number", "at the end of a Parquet file", "of no file"],
)
def test_an_error_of_a_file_is_told_from_others(text: str, expected: type) -> None:
    assert type(file_error(pl.exceptions.ComputeError(text), Path("lake"))) is expected
