"""An ingest that fails leaves the lake as it was; one that was killed is completed by the next."""

import io
import json
import os
import resource
import subprocess
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.errors import RecsysError, SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.commands import RECSYS, run_recsys
from tests.ingests import EVENT, LATEST, hash_lake, ingest_files, kill_ingests, write_events

UNTIMED = {"user_id": "ann", "item_id": "tea", "event": "view"}
NO_TIMESTAMP = "column 'timestamp' of table 'events' is missing; the file has user_id, item_id, event"


NOT_UTF8 = "user_id,item_id,event,timestamp\nann,thé,view,2024-05-01\n".encode("latin-1")
DAMAGED_UTF8 = "user_id,item_id,event,timestamp\nann,thé,view,2024-05-01\n".encode() * 2 + b"ann,\xff,view,\n"


def parquet(rows: list[dict[str, str]]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(rows).write_parquet(file, row_group_size=20)
    return file.getvalue()


def corrupt_parquet() -> bytes:
    """Return a Parquet file whose second quarter is zeros."""
    content = bytearray(parquet([EVENT | {"session_id": f"session-{number}"} for number in range(100)]))
    quarter = slice(len(content) // 4, len(content) // 2)
    content[quarter] = bytes(quarter.stop - quarter.start)
    return bytes(content)


BROKEN_FILES = {
    "a CSV file without a column": ("csv", b"user_id,item_id,event\nann,tea,view\n", NO_TIMESTAMP),
    "a CSV header without a column": ("csv", b"user_id,item_id,event\n", NO_TIMESTAMP),
    "a Parquet file without a column": ("parquet", parquet([UNTIMED]), NO_TIMESTAMP),
    "JSON Lines without a column": ("jsonl", json.dumps(UNTIMED).encode(), NO_TIMESTAMP),
    "JSON Lines without an object": (
        "jsonl",
        b'{"user_id": NaN}\n',
        "column 'user_id' of table 'events' is missing; the file has no JSON object",
    ),
    "an empty file": ("csv", b"", "the file is empty"),
    "CSV with a damaged line": ("csv", DAMAGED_UTF8, "cannot be read in utf-8: line 5 has the bytes ff"),
    "JSON Lines with a damaged line": (
        "jsonl",
        '{"user_id": "thé"}\n'.encode() * 2 + b'{"user_id": "a\xff"}\n',
        "cannot be read in utf-8: line 3 has the bytes ff",
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


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """Return a lake with one event, and one in quarantine."""
    lake = Lake(tmp_path / "lake")
    ingest_files(lake, write_events(tmp_path / "events-0.csv", {"item_id": "tea"}, {"item_id": "a b"}))
    return lake


def test_a_disk_that_takes_no_more_leaves_the_lake_as_it_was(lake: Lake, tmp_path: Path):
    before = hash_lake(lake)
    rows = ({"item_id": f"item-{number}", "session_id": f"{number * 7919}"} for number in range(2_000))
    file = write_events(tmp_path / "events-1.csv", *rows)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*lake"):
            ingest_files(lake, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert hash_lake(lake) == before
    assert [count.accepted for count in ingest_files(lake, file)] == [2_000]


@pytest.mark.parametrize("chunk_rows", [1, 1000])
@pytest.mark.parametrize(("suffix", "content", "reason"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_a_file_that_cannot_be_read_leaves_the_lake_as_it_was(
    lake: Lake, tmp_path: Path, suffix: str, content: bytes, reason: str, chunk_rows: int
):
    before = hash_lake(lake)
    good = write_events(tmp_path / "events-1.csv", {"item_id": "new"}, {"item_id": "b c"})
    broken = tmp_path / f"events-2.{suffix}"
    broken.write_bytes(content)
    with pytest.raises(SourceError) as error:
        ingest((str(good), str(broken)), Sources(chunk_rows=chunk_rows), lake, LATEST)
    assert str(error.value).startswith(f"{broken}: {reason}")
    assert "\n" not in str(error.value)
    assert hash_lake(lake) == before


def test_the_encoding_of_the_table_mends_what_another_encoding_broke(lake: Lake, tmp_path: Path):
    (tmp_path / "log.csv").write_bytes(NOT_UTF8)
    table = Table("log", "events", "*", {name: name for name in EVENT}, encoding="latin-1")
    ingest((str(tmp_path / "log.csv"),), Sources(tables=(table,)), lake, LATEST)
    assert "thé" in lake.events().collect()["item_id"]


@pytest.mark.parametrize(
    ("mapped", "problem"),
    [
        ("price *", r"sources\.tables\.log\.columns\.price = 'price \*': expected a column or an SQL expression"),
        ("cost / 2", r"events-1\.csv: column 'cost' of table 'log' is missing; the file has user_id, item_id"),
        ("event / 2", r"events-1\.csv: column 'event' of table 'log' is text, as 'view' is no number"),
        ("ARRAY_LENGTH(event)", r"events-1\.csv: columns of table 'log' cannot be computed: "),
    ],
)
def test_a_mapping_that_cannot_be_computed_leaves_the_lake_as_it_was(
    lake: Lake, tmp_path: Path, mapped: str, problem: str
):
    before = hash_lake(lake)
    good = write_events(tmp_path / "events-1.csv", {"item_id": "new"})
    columns: dict[str, ColumnMapping] = {**{name: name for name in EVENT}, "price": mapped}
    with pytest.raises(RecsysError, match=problem):
        ingest((str(good),), Sources(tables=(Table("log", "events", "*", columns),)), lake, LATEST)
    assert hash_lake(lake) == before


DAYS = 6
RENAMES = DAYS + 4  # the columns, buckets.json, a file a day, the quarantine, the record


def write_week(file: Path, first_user: int, users: int) -> Path:
    """Write a view by each user on each of `DAYS` days, and one invalid row."""
    rows = [
        {"user_id": f"u{user}", "item_id": "tea", "event": "view", "timestamp": f"2024-05-{day:02d}T10:00:00"}
        for user in range(first_user, first_user + users)
        for day in range(1, DAYS + 1)
    ]
    pl.DataFrame([*rows, rows[0] | {"item_id": "no id"}]).write_csv(file)
    return file


def test_the_command_ends_with_status_2_and_one_line_on_a_file_that_cannot_be_read(tmp_path: Path):
    good = write_week(tmp_path / "events-1.csv", 0, 2)
    broken = tmp_path / "events-2.csv"
    broken.write_text("user_id,item_id,event\nu1,tea,view\n")
    ended = run_recsys(tmp_path, tmp_path / "var", "ingest", good, broken)
    assert ended.returncode == 2
    assert ended.stdout == ""
    missing = "column 'timestamp' of table 'events' is missing; the file has user_id, item_id, event"
    assert ended.stderr == f"recsys: {broken}: {missing}\n"
    assert not list((tmp_path / "var" / "lake").rglob("*.parquet"))


def test_two_processes_at_once_bring_each_event_once(tmp_path: Path):
    first = write_week(tmp_path / "events-1.csv", 0, 40)
    second = write_week(tmp_path / "events-2.csv", 20, 40)
    environment = {**os.environ, "RECSYS_DIRECTORY": str(tmp_path / "var")}
    running = [
        subprocess.Popen([RECSYS, "ingest", *files], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
        for files in ((first, second), (second, first), (second,))
    ]
    assert [process.wait(timeout=120) for process in running] == [0, 0, 0]
    events = Lake(tmp_path / "var" / "lake").events().collect()
    assert events.height == 60 * DAYS
    assert events["event_id"].n_unique() == 60 * DAYS
    assert not [
        path.name for path in (tmp_path / "var" / "lake").glob(".*") if path.name not in (".lock", ".layout.json")
    ]


STEPS = (0, 1, 4, RENAMES - 1, RENAMES)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ingest one file into a lake for each of `STEPS`, killed there, and into one more to its end."""
    directory = tmp_path_factory.mktemp("killed")
    source, config = write_week(directory / "events.csv", 0, 20), directory / "recsys.toml"
    config.write_text("[sources]\nchunk_rows = 20\n")
    kill_ingests(config, directory, STEPS, source)
    ingest_files(Lake(directory / "whole"), source, sources=Sources(chunk_rows=20))
    return directory


@pytest.mark.parametrize("step", STEPS)
def test_an_ingest_that_was_killed_is_made_good_by_the_next(killed: Path, step: int):
    lake, expected = Lake(killed / str(step)), hash_lake(Lake(killed / "whole"))
    assert hash_lake(lake) != expected
    ingest_files(lake, killed / "events.csv", sources=Sources(chunk_rows=20))
    assert hash_lake(lake) == expected
