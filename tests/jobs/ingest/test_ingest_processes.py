"""Ingests by real processes: of the command, side by side, and killed."""

import hashlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake import Lake
from recsys.settings import Sources
from tests.commands import RECSYS, run_recsys

LATEST = datetime(2025, 1, 1, tzinfo=UTC)
DAYS = 6
RENAMES = DAYS + 4  # the columns, buckets.json, a file a day, the quarantine, the record

KILLED_INGEST = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from jobs.ingest.ingest import ingest
from jobs.lake import Lake
from recsys.settings import Sources

source, lake, moment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
renames, rename = 0, Path.replace

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def rename_or_die(path, target):
    global renames
    renames += 1
    return die() if renames == moment else rename(path, target)

Path.replace = rename_or_die
while_reading = die if moment == 0 else lambda rows: None
ingest((str(source),), Sources(chunk_rows=20), Lake(lake), datetime(2025, 1, 1, tzinfo=UTC), while_reading)
"""


def write_week(file: Path, first_user: int, users: int) -> Path:
    """A view by each user on each of some days, and one row that is wrong."""
    rows = [
        {"user_id": f"u{user}", "item_id": "tea", "event": "view", "timestamp": f"2024-05-{day:02d}T10:00:00"}
        for user in range(first_user, first_user + users)
        for day in range(1, DAYS + 1)
    ]
    pl.DataFrame([*rows, rows[0] | {"item_id": "no id"}]).write_csv(file)
    return file


def listing(lake: Lake) -> dict[str, str]:
    return {
        str(file.relative_to(lake.directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in lake.directory.rglob("*")
        if file.is_file()
    }


def test_the_command_ends_with_status_2_and_one_line_on_a_file_that_cannot_be_read(tmp_path: Path):
    good = write_week(tmp_path / "events-1.csv", 0, 2)
    broken = tmp_path / "events-2.csv"
    broken.write_text("user_id,item_id,event\nu1,tea,view\n")
    ended = run_recsys(tmp_path, tmp_path / "var", "ingest", good, broken)
    assert ended.returncode == 2
    assert ended.stdout == ""
    missing = "column 'timestamp' of table 'events' is not there; the file has user_id, item_id, event"
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
    assert not [path.name for path in (tmp_path / "var" / "lake").glob(".*") if path.name != ".lock"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of events, and the lake that one ingest of it makes."""
    directory = tmp_path_factory.mktemp("undisturbed")
    source, lake = write_week(directory / "events.csv", 0, 20), Lake(directory / "lake")
    ingest((str(source),), Sources(chunk_rows=20), lake, LATEST)
    return source, listing(lake)


@pytest.mark.parametrize("moment", [0, 1, 4, RENAMES - 1, RENAMES])
def test_an_ingest_that_was_killed_is_made_good_by_the_next(
    tmp_path: Path, undisturbed: tuple[Path, dict[str, str]], moment: int
):
    source, expected = undisturbed
    lake = Lake(tmp_path / "lake")
    command = [sys.executable, "-c", KILLED_INGEST, str(source), str(lake.directory), str(moment)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert listing(lake) != expected
    ingest((str(source),), Sources(chunk_rows=20), lake, LATEST)
    assert listing(lake) == expected
