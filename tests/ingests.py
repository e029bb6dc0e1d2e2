"""Files to ingest, ingests of them, and reads of the resulting lake."""

import csv
import hashlib
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.ingest.source_records import SourceRecord, read_records
from jobs.lake.lake import Lake
from recsys.settings import Sources

LATEST = datetime(2025, 1, 1, tzinfo=UTC)
EVENT = {"user_id": "ann", "item_id": "tea", "event": "view", "timestamp": "2024-05-01T10:00:00"}
Value = str | float | None

# Each child process is forked before Polars starts its threads, and kills itself at a step of its ingest: at
# the first chunk for step 0, else before the step-th file is renamed into place.
KILLED_INGESTS = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
import jobs.ingest.databases
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.settings import load_settings

config, directory, steps, paths = sys.argv[1], Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def ingest_until(step):
    renames, rename = 0, Path.replace
    def rename_or_die(path, target):
        nonlocal renames
        renames += 1
        return die() if renames == step else rename(path, target)
    Path.replace = rename_or_die
    sources = load_settings(Path(config), {}).sources
    on_rows = die if step == 0 else lambda rows: None
    ingest(tuple(paths), sources, Lake(directory / str(step)), datetime(2025, 1, 1, tzinfo=UTC), on_rows)

for step in map(int, steps):
    child = os.fork()
    if child == 0:
        ingest_until(step)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"step {step}: ended with status {status}")
"""


class KilledError(Exception):
    """Stands for the end of a process."""


@contextmanager
def fail_at_rename(step: int) -> Generator[None]:
    """Within it, the `step`-th file is not renamed into place."""
    rename, renames = Path.replace, iter(range(1, 1_000))

    def rename_or_fail(path: Path, target: Path) -> Path:
        if next(renames) == step:
            raise KilledError
        return rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", rename_or_fail)
        yield


def write_events(file: Path, *rows: Mapping[str, Value]) -> Path:
    """Write a CSV file of events; the columns that a row lacks are those of `EVENT`."""
    columns = list(dict.fromkeys(name for row in (EVENT, *rows) for name in row))
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, columns, quoting=csv.QUOTE_MINIMAL)
        writer.writeheader()
        writer.writerows({**EVENT, **row} for row in rows)
    return file


def ingest_files(
    lake: Lake, *paths: Path, sources: Sources | None = None, latest: datetime = LATEST
) -> list[TableCount]:
    """Ingest files, by default in the contract's own columns and with any number of bad rows."""
    return ingest(tuple(map(str, paths)), sources or Sources(max_bad_rows=1), lake, latest)


def latest_counts(lake: Lake) -> list[TableCount]:
    """Return the counts of the latest reading of each source, by table and source."""
    names = [field.name for field in fields(TableCount) if field.name in SourceRecord.__dataclass_fields__]
    return [TableCount(**{name: getattr(record, name) for name in names}) for record in read_records(lake)]


def kill_ingests(config: Path, directory: Path, steps: tuple[int, ...], *paths: Path) -> None:
    """Ingest with the settings of a file into the lake `directory/<step>`, killed at the step; for each step."""
    arguments = [config, directory, ",".join(map(str, steps)), *paths]
    command = [sys.executable, "-c", KILLED_INGESTS, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr


def hash_lake(lake: Lake) -> dict[str, str]:
    """Return the hash of every file of a lake, except its lock and the version of its layout."""
    return {
        str(file.relative_to(lake.directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(lake.directory.rglob("*"))
        if file.is_file() and file.name not in (".lock", ".layout.json")
    }


def read_quarantined_rows(lake: Lake) -> pl.DataFrame:
    """Return all rows in quarantine."""
    files = sorted((lake.directory / "quarantine").glob("*.parquet"))
    frames = [pl.read_parquet(file).drop("source_row", strict=False) for file in files]
    return pl.concat(frames, how="diagonal")
