"""`recsys ingest --dry-run` tells what the ingest then does, and changes nothing."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.checks.dry_run import copied_lake
from jobs.lake.lake import Lake
from recsys.errors import BusyError
from tests.database_servers import DatabaseServer
from tests.ingests import hash_lake, ingest_files, write_events

Recsys = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def lake(data_directory: Path) -> Lake:
    return Lake(data_directory / "lake")


def test_a_dry_run_counts_as_the_ingest_does_and_changes_nothing(
    recsys: Recsys, data_directory: Path, lake: Lake, tmp_path: Path
) -> None:
    file = tmp_path / "events.csv"
    write_events(file, {"event_id": "1"}, {"event_id": "2"}, {"event_id": "3", "item_id": "a b"})
    assert recsys("ingest", file).returncode == 0
    before = hash_lake(lake)

    bad = {"event_id": "5", "item_id": "c d"}, {"event_id": "6", "event": "look"}
    write_events(file, {"event_id": "1"}, {"event_id": "4", "item_id": "milk"}, *bad)
    tried = recsys("ingest", "--dry-run", file, "--json")
    assert tried.returncode == 0, tried.stderr
    assert hash_lake(lake) == before
    assert not (data_directory / "dry-run").exists()
    told = json.loads(tried.stdout)
    done = json.loads(recsys("ingest", file, "--json").stdout)
    assert told["sources"] == done["sources"]
    (count,) = told["sources"]
    assert (count["accepted"], count["duplicates"], count["removed"], count["quarantined"]) == (1, 1, 1, 2)
    assert [(row["event_id"], row["item_id"]) for row in told["first_rows"]["events"]] == [
        ("1", "tea"),
        ("4", "milk"),
    ]
    assert [(bad["rule"], [row["item_id"] for row in bad["rows"]]) for bad in told["bad_rows"]] == [
        ("event_is_known", ["tea"]),
        ("item_id_is_an_id", ["c d"]),
    ]


def test_a_dry_run_stops_as_the_ingest_does_and_shows_a_few_bad_rows(
    recsys: Recsys, lake: Lake, tmp_path: Path
) -> None:
    write_events(tmp_path / "events.csv", *({"item_id": f"a {number}"} for number in range(9)))
    tried = recsys("ingest", "--dry-run", tmp_path)
    assert not lake.directory.exists()
    stopped = recsys("ingest", tmp_path)
    assert (tried.returncode, stopped.returncode) == (2, 2)
    (quarantine,) = lake.directory.glob("quarantine/*")
    reason = stopped.stderr.splitlines()[-1]
    assert tried.stderr.splitlines()[-1] == reason.replace(f"in {quarantine}", "above")
    assert reason.endswith(".parquet")
    assert "Rows of events in events.csv that break item_id_is_an_id" in tried.stdout
    assert [f"a {number}" in tried.stdout for number in range(9)] == [True] * 5 + [False] * 4


def test_neither_the_lake_nor_its_copy_is_a_source(recsys: Recsys, tmp_path: Path) -> None:
    write_events(tmp_path / "events.csv", {})
    assert recsys("ingest", tmp_path).returncode == 0
    told = json.loads(recsys("ingest", "--dry-run", tmp_path, "--json").stdout)
    assert [count["file"] for count in told["sources"]] == ["events.csv"]
    skipped = {Path(each["file"]).relative_to(tmp_path).parts[:2] for each in told["skipped_files"]}
    assert not skipped & {("var", "lake"), ("var", "dry-run")}


def test_one_dry_run_at_a_time_which_removes_what_a_killed_one_left(
    lake: Lake, data_directory: Path, tmp_path: Path
) -> None:
    ingest_files(lake, write_events(tmp_path / "events.csv", {}))
    rest = data_directory / "dry-run" / "events" / "rest.parquet"
    rest.parent.mkdir(parents=True)
    rest.touch()
    with copied_lake(lake, data_directory) as copy:
        assert copy.count_events() == 1
        assert not rest.exists()
        with pytest.raises(BusyError, match="dry-run: process"), copied_lake(lake, data_directory):
            pass
        assert copy.directory.is_dir()


def test_a_dry_run_moves_no_watermark(recsys: Recsys, lake: Lake, sqlite: DatabaseServer, tmp_path: Path) -> None:
    sqlite.run("CREATE TABLE sales (customer TEXT, sku TEXT, sold TEXT)")
    sqlite.run("INSERT INTO sales VALUES ('ann', 'tea', '2024-05-01'), ('bob', 'tea', '2024-05-09')")
    (tmp_path / "recsys.toml").write_text(
        '[[sources.tables]]\nname = "sales"\nkind = "events"\nquery = "SELECT * FROM sales"\nwatermark = "sold"\n'
        f'connection = "{sqlite.uri}"\n[sources.tables.columns]\nuser_id = "customer"\nitem_id = "sku"\n'
        'event = "\'purchase\'"\ntimestamp = "sold"\n'
    )
    assert recsys("ingest").returncode == 0
    sqlite.run("INSERT INTO sales VALUES ('cid', 'tea', '2024-05-20')")
    before = hash_lake(lake)
    tried = [json.loads(recsys("ingest", "--dry-run", "--json").stdout)["sources"] for _ in range(2)]
    assert hash_lake(lake) == before
    assert tried[0] == tried[1] == json.loads(recsys("ingest", "--json").stdout)["sources"]
    assert (tried[0][0]["rows"], tried[0][0]["accepted"]) == (2, 1)
