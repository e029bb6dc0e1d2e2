"""A lake of the first layout is converted when it is opened."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from jobs.lake.lake import Lake, open_lake
from recsys.contract import Events, Items
from recsys.settings import Lake as LakeSettings
from recsys.settings import Settings
from tests.ingests import ingest_files, write_events

NOON = datetime(2024, 5, 1, 10, tzinfo=UTC)


def write_first_layout(directory: Path) -> None:
    """Write a lake with two files of a day, one of events received online, and a catalogue."""
    day = directory / "events" / "bucket=00" / "date=2024-05-01"
    day.mkdir(parents=True)
    (directory / "buckets.json").write_text("1\n")
    for part, ids in (("abc-0000", ["e1", "e2"]), ("online-1714557600000-0-0001", ["e3"])):
        rows = [{"event_id": name, "user_id": "ann", "item_id": "tea", "event": "view"} for name in ids]
        frame = pl.DataFrame([{**row, "timestamp": NOON} for row in rows], schema=pl.Schema(Events))
        frame.write_parquet(day / f"{part}.parquet")
    items = [{"item_id": "tea", "title": "Tea", "available": False}]
    pl.DataFrame(items, schema=pl.Schema(Items)).write_parquet(directory / "items.parquet")
    (directory / "ingests").mkdir()
    (directory / "ingests" / "events-abc.json").write_text("{}")


def test_events_and_catalogue_of_the_first_layout_stay(tmp_path: Path):
    write_first_layout(tmp_path / "lake")
    settings = Settings(directory=tmp_path, lake=LakeSettings(buckets=1))
    lake = open_lake(settings)
    assert lake.events().collect()["event_id"].sort().to_list() == ["e1", "e2", "e3"]
    (file,) = (lake.directory / "events").rglob("*.parquet")
    stored = pl.read_parquet(file, hive_partitioning=False)
    assert stored.select("event_id", "source").sort("event_id").rows() == [
        ("e1", "earlier/abc"),
        ("e2", "earlier/abc"),
        ("e3", "online"),
    ]
    before = file.read_bytes()
    assert open_lake(settings).events().collect().height == 3
    assert file.read_bytes() == before

    (tmp_path / "items.csv").write_text("item_id,price\ntea,2\nmug,3\n")
    ingest_files(lake, tmp_path / "items.csv", write_events(tmp_path / "events.csv", {"event_id": "e1"}))
    assert lake.items().select("item_id", "title", "price", "available").collect().rows() == [
        ("mug", None, 3.0, None),
        ("tea", "Tea", 2.0, False),
    ]
    assert lake.count_events() == 3


def test_an_upgrade_that_was_killed_is_finished(tmp_path: Path):
    write_first_layout(tmp_path / "lake")
    day = tmp_path / "lake" / "events" / "bucket=00" / "date=2024-05-01"
    kept = {file: file.read_bytes() for file in day.iterdir()}
    lake = open_lake(Settings(directory=tmp_path))
    for file, content in kept.items():
        file.write_bytes(content)  # killed before the files were removed
    (lake.directory / ".layout.json").unlink()
    assert open_lake(Settings(directory=tmp_path)).count_events() == 3
    assert [file.name for file in day.iterdir()] == ["events.parquet"]


def test_a_new_lake_needs_no_upgrade(tmp_path: Path):
    lake = open_lake(Settings(directory=tmp_path))
    assert not lake.directory.exists()
    with Lake(tmp_path / "lake").locked():
        pass
    assert not any(lake.directory.glob("[!.]*"))
