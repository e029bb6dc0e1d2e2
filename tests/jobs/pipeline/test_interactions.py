"""The interactions of a run say which items users have, by the settings."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.lake import Lake
from jobs.pipeline.evaluation_window import prepare_evaluation_window
from jobs.pipeline.interactions import compute_interactions
from jobs.pipeline.steps.lists import write_disliked
from jobs.progress import SilentTask
from recsys.errors import SettingsError
from recsys.settings import Settings, Sources
from tests.ingests import ingest_files, write_events

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


DISLIKES = Sources(negative_events=("dislike",), max_bad_rows=1)


def add_events(lake: Lake, directory: Path, *events: dict[str, str | float | None]) -> Lake:
    """Add events of the day before the moment."""
    before = {"user_id": "user1", "timestamp": "2026-03-31T10:00:00"}
    ingest_files(lake, write_events(directory / "events_added.csv", *({**before, **row} for row in events)),
                 sources=DISLIKES, latest=MOMENT)  # fmt: skip
    return lake


def test_disliked_items_are_hidden_whatever_is_repeated(lake: Lake, tmp_path: Path):
    add_events(lake, tmp_path, {"event": "dislike", "item_id": "item1"})
    interactions = compute_interactions(lake, DISLIKES, MOMENT)
    user, item = interactions.users.rows(pl.Series(["user1"])), interactions.items.rows(pl.Series(["item1"]))
    assert interactions.positives[user, item].sum() == 0
    hidden, owned = interactions.excluded("allow"), interactions.excluded("exclude")
    assert hidden is not None
    assert owned is not None
    assert (hidden.nnz, hidden[user, item].sum() > 0, owned[user, item].sum() > 0) == (1, True, True)
    assert owned.nnz in (interactions.owned.nnz, interactions.owned.nnz + 1)
    write_disliked(tmp_path, interactions, 9, SilentTask())
    lists = pl.read_parquet(tmp_path / "disliked.parquet")
    assert dict(lists.filter(pl.col("items").list.len() > 0).rows()) == {"user1": ["item1"]}

    undecided = compute_interactions(lake, Sources(weights={"dislike": -3.0}), MOMENT)
    assert undecided.excluded("allow") is None


def test_what_was_returned_or_disliked_is_not_relevant(lake: Lake, tmp_path: Path):
    start = datetime(2026, 3, 25, tzinfo=UTC)
    bought = {"event": "purchase", "user_id": "user2", "quantity": 2}
    empty = {**bought, "item_id": "new4", "quantity": 0}
    returned = {**bought, "event": "refund", "timestamp": "2026-03-31T11:00:00"}
    rows = [{**bought, "item_id": "new1"}, {**bought, "item_id": "new2"}, {**bought, "item_id": "new3"}]
    lake = add_events(
        lake,
        tmp_path,
        *rows,
        empty,
        {**returned, "item_id": "new1"},
        {**returned, "item_id": "new2", "quantity": 1},
        {**returned, "item_id": "new3", "event": "dislike"},
    )
    settings = Settings(sources=DISLIKES)
    window = prepare_evaluation_window(lake, settings, start, MOMENT)
    without = prepare_evaluation_window(lake, settings, start, datetime(2026, 3, 31, 10, 30, tzinfo=UTC))
    assert "new4" not in set(compute_interactions(lake, DISLIKES, MOMENT).items.values)
    assert (
        without.ground_truth.returning.relevant_counts.sum() - window.ground_truth.returning.relevant_counts.sum()
        == 2
    )
