import hashlib
import io
import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake import Lake
from recsys.errors import RecsysError, SourceError
from recsys.settings import ColumnMapping, Sources, Table

LATEST = datetime(2025, 1, 1, tzinfo=UTC)
EVENT = {"user_id": "ann", "item_id": "tea", "event": "view", "timestamp": "2024-05-01T10:00:00"}
UNTIMED = {"user_id": "ann", "item_id": "tea", "event": "view"}
NO_TIMESTAMP = "column 'timestamp' of table 'events' is not there; the file has user_id, item_id, event"
NOT_UTF8 = "user_id,item_id,event,timestamp\nann,thé,view,2024-05-01\n".encode("latin-1")


def write_events(file: Path, *items: str) -> Path:
    """A CSV file of events, one for each item."""
    pl.DataFrame([EVENT | {"item_id": item} for item in items]).write_csv(file)
    return file


def parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file, row_group_size=20)
    return file.getvalue()


def corrupt_parquet() -> bytes:
    """A Parquet file whose second quarter is nothing but zeros."""
    content = bytearray(parquet([EVENT | {"session_id": f"session-{number}"} for number in range(100)]))
    quarter = slice(len(content) // 4, len(content) // 2)
    content[quarter] = bytes(quarter.stop - quarter.start)
    return bytes(content)


BROKEN_FILES = {
    "a CSV file without a column": ("csv", b"user_id,item_id,event\nann,tea,view\n", NO_TIMESTAMP),
    "a CSV header without a column": ("csv", b"user_id,item_id,event\n", NO_TIMESTAMP),
    "a Parquet file without a column": ("parquet", parquet([UNTIMED]), NO_TIMESTAMP),
    "JSON Lines without a column": ("jsonl", json.dumps(UNTIMED).encode(), NO_TIMESTAMP),
    "an empty file": ("csv", b"", "the file is empty"),
    "CSV in another encoding": ("csv", NOT_UTF8, "cannot be read as csv in utf-8: "),
    "JSON Lines in another encoding": (
        "jsonl",
        json.dumps(EVENT).encode() + b'\n{"user_id": "a\xff"}\n',
        "cannot be read as jsonl in utf-8: 'utf-8' codec can't decode byte 0xff",
    ),
    "a corrupt Parquet file": ("parquet", corrupt_parquet(), "cannot be read as parquet: "),
    "a truncated Parquet file": ("parquet", parquet([EVENT])[:-9], "cannot be read as parquet: "),
    "lists for texts": (
        "jsonl",
        json.dumps(EVENT | {"ip": ["10.0.0.1"]}).encode(),
        "columns of table 'events' cannot be computed: cannot cast List type",
    ),
    "objects for numbers": (
        "jsonl",
        json.dumps(EVENT | {"price": {"eur": 1}}).encode(),
        "columns of table 'events' cannot be computed: ",
    ),
}


def listing(lake: Lake) -> dict[str, str]:
    """Every file of the lake, with the hash of its content."""
    return {
        str(file.relative_to(lake.directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(lake.directory.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake that has taken in one event and refused another."""
    lake = Lake(tmp_path / "lake")
    ingest((str(write_events(tmp_path / "events-0.csv", "tea", "a b")),), Sources(), lake, LATEST)
    return lake


@pytest.mark.parametrize("chunk_rows", [1, 1000])
@pytest.mark.parametrize(("suffix", "content", "reason"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_file_that_cannot_be_read_leaves_the_lake_as_it_was(
    lake: Lake, tmp_path: Path, suffix: str, content: bytes, reason: str, chunk_rows: int
):
    before = listing(lake)
    good = write_events(tmp_path / "events-1.csv", "new", "b c")
    broken = tmp_path / f"events-2.{suffix}"
    broken.write_bytes(content)
    with pytest.raises(SourceError) as error:
        ingest((str(good), str(broken)), Sources(chunk_rows=chunk_rows), lake, LATEST)
    assert str(error.value).startswith(f"{broken}: {reason}")
    assert "\n" not in str(error.value)
    assert listing(lake) == before


def test_the_encoding_of_the_table_mends_what_another_encoding_broke(lake: Lake, tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(NOT_UTF8)
    table = Table("log", "events", "*", {name: name for name in EVENT}, encoding="latin-1")
    ingest((str(tmp_path / "log.csv"),), Sources(tables=(table,)), lake, LATEST)
    assert "thé" in lake.events().collect()["item_id"]


@pytest.mark.parametrize(
    ("mapped", "problem"),
    [
        ("price *", r"sources\.tables\.log\.columns\.price = 'price \*': expected a column or an SQL expression"),
        ("cost / 2", r"events-1\.csv: column 'cost' of table 'log' is not there; the file has user_id, item_id"),
        ("event / 2", r"events-1\.csv: columns of table 'log' cannot be computed: "),
    ],
)
def test_a_mapping_that_cannot_be_computed_leaves_the_lake_as_it_was(
    lake: Lake, tmp_path: Path, mapped: str, problem: str
):
    before = listing(lake)
    good = write_events(tmp_path / "events-1.csv", "new")
    columns: dict[str, ColumnMapping] = {**{name: name for name in EVENT}, "price": mapped}
    with pytest.raises(RecsysError, match=problem):
        ingest((str(good),), Sources(tables=(Table("log", "events", "*", columns),)), lake, LATEST)
    assert listing(lake) == before
