"""A run of a shop that repeats items: lists to buy again and of new items, chosen, measured and written."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.pipeline import advance_run
from jobs.pipeline.step_names import Until
from jobs.pipeline.steps import list_parts
from jobs.pipeline.steps.list_parts import read_part_choice, read_part_measurements
from jobs.progress import LogProgress
from recsys.settings import Settings, Sources, load_settings
from tests.shop import AS_OF, UNAVAILABLE

MOMENT = datetime.fromisoformat(f"{AS_OF}T00:00:00+00:00")


@pytest.fixture
def settings(shop: Path, write_settings: Callable[[str], Path], data_directory: Path) -> Settings:
    """Settings of a shop that was ingested."""
    settings = replace(load_settings(write_settings("allow"), {}), directory=data_directory)
    ingest((str(shop),), settings.sources, open_lake(settings), MOMENT)
    return settings


@pytest.mark.parametrize("has_own", [False, True])
def test_each_user_has_what_was_bought_and_what_was_not(
    settings: Settings, has_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With models of their own, a shop this small is measured, and they are taken whatever chance says.
    monkeypatch.setattr(list_parts, "MIN_RELIABLE_USERS", 10)
    monkeypatch.setattr(list_parts, "is_accepted", lambda *_: has_own)
    run = advance_run(settings, MOMENT, Until.EVALUATE, LogProgress()).run
    known = read_interactions(run, Sources())
    owned = {
        user: set(known.items.ids(known.owned[row].indices)) - {UNAVAILABLE}
        for row, user in enumerate(known.users.values)
    }
    lists = {
        name: dict(pl.read_parquet(run.directory / "lists" / f"{name}.parquet").rows())
        for name in ("again_items", "new_items", "history")
    }
    assert lists["again_items"].keys() == lists["new_items"].keys() == owned.keys()
    for user, items in owned.items():
        again, new = lists["again_items"][user], lists["new_items"][user]
        assert set(again) <= items
        assert len(again) == len(set(again)) == min(len(items), settings.lists.again_items)
        assert not items & set(new)
        assert UNAVAILABLE not in new
        assert len(new) == len(set(new)) == 60 - 1 - len(items)
        assert set(lists["history"][user]) - {UNAVAILABLE} == items

    for part in ("again", "new"):
        assert (read_part_choice(run, part).own is not None) == has_own
        measured = read_part_measurements(run, part)
        assert set(measured) == {"chosen", "winner", "baseline"}
        assert all(0 <= each.metrics["ndcg@20"] <= 1 for each in measured.values())
        if not has_own:
            np.testing.assert_equal(measured["chosen"].metrics, measured["winner"].metrics)
    assert read_part_measurements(run, "again")["chosen"].metrics["recall@20"] == 1, "no user has more items"
