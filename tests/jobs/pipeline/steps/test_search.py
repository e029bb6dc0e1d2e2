"""The search step of a run: data that it must never use, and what it remembers from night to night."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import SEARCH, SEARCH_MEMORY, Until
from jobs.progress import LogProgress
from recsys.files import read_json
from recsys.settings import Search, Settings, load_settings
from tests.shop import AS_OF

NIGHT = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")


@pytest.fixture
def settings(shop: Path, write_settings: Callable[[str], Path], data_directory: Path) -> Settings:
    settings = load_settings(write_settings("allow"), {})
    settings = replace(settings, directory=data_directory, search=Search(max_trials=4))
    ingest((str(shop),), settings.sources, open_lake(settings), NIGHT)
    return settings


def run_night(settings: Settings, as_of: datetime) -> Run:
    return advance_run(settings, as_of, Until.TRAIN, LogProgress()).run


def files_of(run: Run, step: str) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (run.directory / step).iterdir()}


def tried(run: Run) -> list[dict[str, Any]]:
    return read_json(run.directory / SEARCH / "search.json")["tried"]


def test_a_run_searches_on_the_validation_window_alone(shop: Path, settings: Settings) -> None:
    first = run_night(settings, NIGHT)
    assert [len(one["trials"]) for one in tried(first)] == [0, 4, 0]

    # Other purchases in the test window: the same is found.
    events = shop / "events.parquet"
    changed = pl.read_parquet(events).with_columns(
        pl.when(pl.col("timestamp") >= datetime.fromisoformat("2026-03-28T00:00:00+00:00"))
        .then(pl.lit("item1"))
        .otherwise(pl.col("item_id"))
        .alias("item_id")
    )
    changed.write_parquet(events)
    other = replace(settings, directory=settings.directory / "other")
    ingest((str(shop),), other.sources, open_lake(other), NIGHT)
    assert files_of(run_night(other, NIGHT), SEARCH) == files_of(first, SEARCH)


def test_a_night_starts_from_earlier_nights_and_gives_the_same_when_it_is_repeated(settings: Settings) -> None:
    earlier, night, later = (NIGHT - timedelta(days=days) for days in (2, 1, 0))
    run_night(settings, earlier)
    first = run_night(settings, night)
    memory, found = files_of(first, SEARCH_MEMORY), files_of(first, SEARCH)
    (remembered,) = read_json(first.directory / SEARCH_MEMORY / "search_memory.json")
    assert remembered["as_of"] == f"{earlier}"
    assert sum(model["weight"] for model in remembered["models"].values()) == pytest.approx(1)
    assert remembered["models"]["item_knn"]["trials"] != []

    run_night(settings, later)
    (first.directory / "manifest.json").unlink()  # repeated from its beginning
    again = run_night(settings, night)
    assert files_of(again, SEARCH_MEMORY) == memory
    assert files_of(again, SEARCH) == found
    nights = read_json(open_lake(settings).directory / "search_memory.json")
    assert [one["as_of"] for one in nights] == [f"{earlier}", f"{night}", f"{later}"]
