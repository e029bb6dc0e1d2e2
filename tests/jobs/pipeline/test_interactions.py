"""The interactions of a run say which items users have, by the settings."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.lake import Lake
from jobs.pipeline.interactions import compute_interactions
from recsys.errors import SettingsError
from recsys.settings import Sources

MOMENT = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture
def lake(shop_lake: Path, tmp_path: Path) -> Lake:
    return Lake(shutil.copytree(shop_lake, tmp_path / "lake"))


@pytest.mark.parametrize(("names", "events"), [(("purchase",), ["purchase"]), ((), ["purchase", "view"])])
def test_users_have_the_items_of_the_events_that_exclude(lake: Lake, names: tuple[str, ...], events: list[str]):
    interactions = compute_interactions(lake, Sources(exclude_events=names), MOMENT)
    had = lake.events().filter(pl.col("event").is_in(events), pl.col("timestamp") < MOMENT)
    pairs = had.select("user_id", "item_id").unique().collect()
    assert interactions.owned.nnz == pairs.height
    rows, columns = interactions.users.rows(pairs["user_id"]), interactions.items.rows(pairs["item_id"])
    assert interactions.owned[rows, columns].min() > 0


def test_an_unknown_event_is_an_error(lake: Lake):
    with pytest.raises(SettingsError, match=r"sources\.exclude_events = 'bought': expected names among cart, "):
        compute_interactions(lake, Sources(exclude_events=("bought",)), MOMENT)
