"""A damaged file of the lake is one line that names it and what to do."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.ingest.ingest import ingest
from jobs.ingest.undo import undo
from jobs.lake.lake import Lake
from recsys.pseudonyms import Pseudonyms
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import LATEST, write_events
from tests.source_files import write_file

COLUMNS: dict[str, ColumnMapping] = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
SOURCES = Sources(tables=(Table("log", "events", "events*", COLUMNS, watermark="timestamp"),))
ADVICE = {
    "sources": "remove it, and the next ingest reads the source again",
    "schemas": "remove it, and the next ingest stores the columns again",
    "watermarks": "remove it, and the next ingest reads the table from its start",
}


@pytest.mark.parametrize("content", ["", "{}", "[" * 20_000])
@pytest.mark.parametrize("folder", [*ADVICE, "ingests", "buckets.json", "pseudonyms.json"])
def test_a_damaged_state_file_is_one_line(
    recsys: Callable[..., Any], data_directory: Path, tmp_path: Path, folder: str, content: str
):
    lake = Lake(data_directory / "lake", pseudonyms=Pseudonyms(("key",)))
    events = write_events(tmp_path / "events.csv", {})
    ingest((str(events),), SOURCES, lake, LATEST)
    is_file = folder.endswith(".json")
    (file,) = [lake.directory / folder] if is_file else (lake.directory / folder).glob("*.json")
    file.write_text(content)
    settings = tmp_path / "recsys.toml"
    settings.write_text(
        "[[sources.tables]]\nname = 'log'\nkind = 'events'\nfiles = 'events*'\nwatermark = 'timestamp'\n"
        "columns = { user_id = 'user_id', item_id = 'item_id', event = 'event', timestamp = 'timestamp' }\n"
    )
    commands = (
        [("ingest", "--full", "events.csv")]
        if folder != "ingests"
        else [("lake", "ingests"), ("lake", "undo", "1")]
    )
    for command in commands:
        ended = recsys("--config", settings, *command, RECSYS_PSEUDONYM_KEY="key")
        line = ended.stderr.splitlines()[-1]
        assert (ended.returncode, line.startswith("recsys: ")) == (2, True), ended.stderr
        assert is_file or str(file) in line
        assert is_file or ADVICE.get(folder, "rename it to 000001.undone.json") in line


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no footer PAR1"])
def test_a_damaged_table_is_one_line(
    recsys: Callable[..., Any], data_directory: Path, tmp_path: Path, content: bytes
):
    lake = Lake(data_directory / "lake")
    items = write_file(tmp_path / "items.csv", "item_id,price\ntea,2\n")
    events = write_events(tmp_path / "events.csv", {})
    ingest((str(events), str(items)), Sources(), lake, LATEST)
    write_events(tmp_path / "events-2.csv", {"item_id": "mug"})
    write_file(tmp_path / "items-2.csv", "item_id,price\ntea,3\n")
    for file in (*lake.directory.glob("events/*/*/*.parquet"), *lake.directory.glob("facts/*.parquet")):
        whole = file.read_bytes()
        file.write_bytes(content)
        ended = recsys("ingest", "events-2.csv", "items-2.csv")
        assert (ended.returncode, ended.stderr.splitlines()[-1].startswith(f"recsys: {file}: ")) == (2, True)
        file.write_bytes(whole)
    assert recsys("ingest", "events-2.csv", "items-2.csv").returncode == 0


def test_a_source_whose_record_is_removed_is_read_again(tmp_path: Path):
    lake = Lake(tmp_path / "lake")
    events = write_events(tmp_path / "events.csv", {})
    table = replace(SOURCES.tables[0], watermark=None)
    for _ in range(2):
        ingest((str(events),), Sources(tables=(table,)), lake, LATEST)
        assert lake.count_events() == 1
        for file in (lake.directory / "sources").iterdir():
            file.unlink()
    undo(lake, 2)
    assert lake.count_events() == 1
