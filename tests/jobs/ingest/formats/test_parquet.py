"""Parquet files."""

import random
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.registry import read_chunks
from recsys.errors import SourceError
from tests.source_files import TABLE, read_rows, write_file


def test_a_parquet_file_keeps_its_types_and_its_order(tmp_path: Path):
    frame = pl.DataFrame({"number": range(1000), "path": [["a"], None] * 500})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=90)
    rows, _ = read_rows(tmp_path / "a.parquet", chunk_rows=70)
    assert rows == frame.to_dicts()


def test_a_parquet_file_may_have_brackets_in_its_path(tmp_path: Path):
    directory = tmp_path / "[a]*"
    directory.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(directory / "a[1].parquet")
    assert read_rows(directory / "a[1].parquet") == ([{"a": 1}], [])


def test_a_parquet_file_that_is_corrupt_in_the_middle_is_named(tmp_path: Path):
    file = corrupt_parquet(tmp_path / "a.parquet")
    chunks: list[Chunk] = []
    with pytest.raises(SourceError, match=rf"^{file}: cannot be read as parquet: .+$"):
        chunks.extend(read_chunks(file, TABLE, 100))


def corrupt_parquet(file: Path) -> Path:
    """A Parquet file of several row groups, one of them overwritten with noise."""
    random.seed(1)
    pl.DataFrame({"a": [str(random.random()) for _ in range(20_000)]}).write_parquet(file, row_group_size=2000)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = random.randbytes(2000)
    return write_file(file, bytes(content))


def test_no_chunk_is_much_longer_than_requested(tmp_path: Path):
    rows = 30_000
    frame = pl.DataFrame({"a": [f"{number:0200d}" for number in range(rows)]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    block_rows = 2**20 // 200  # a CSV file is split by blocks of a megabyte
    longest = {
        file.suffix: max(chunk.rows.height for chunk in read_chunks(file, TABLE, 1000))
        for file in tmp_path.iterdir()
    }
    assert longest[".jsonl"] == longest[".parquet"] == 1000
    assert longest[".csv"] <= 1000 + block_rows
