"""What searches remember of earlier nights."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.lake.lake import Lake
from jobs.pipeline.search.memory import FILE, ModelMemory, Night, earlier_nights, recall, remember_night
from jobs.pipeline.search.result import Trial
from recsys.errors import StateError

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
ONE, TWO = Trial({"shrinkage": 3.0}, 1.1), Trial({"shrinkage": 4.0}, 0.9)


def night(days: int, models: dict[str, ModelMemory], window_days: int = 28, chosen_by: str = "ndcg@20") -> Night:
    as_of = FIRST + timedelta(days=days)
    return Night(as_of, as_of - timedelta(days=window_days), chosen_by, models)


def test_only_earlier_nights_that_saw_no_event_of_the_test_window_count(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for days, window_days, chosen_by in (
        (3, 28, "ndcg@20"),
        (0, 28, "ndcg@20"),
        (1, 7, "ndcg@20"),
        (2, 28, "map@5"),
        (2, 28, "ndcg@20"),
    ):
        remember_night(lake, night(days, {"ease": ModelMemory(float(days))}, window_days, chosen_by))
    as_of = FIRST + timedelta(days=2, hours=1)
    found = earlier_nights(lake, as_of, as_of - timedelta(days=20), "ndcg@20")
    assert [one.models["ease"].metric for one in found] == [0.0, 2.0]
    remember_night(lake, night(2, {"ease": ModelMemory(5.0)}))  # the same night again
    found = earlier_nights(lake, as_of, as_of - timedelta(days=20), "ndcg@20")
    assert [one.models["ease"].metric for one in found] == [0.0, 5.0]
    assert [path.name for path in tmp_path.glob("[!.]*")] == [FILE]


def test_the_latest_values_of_each_model_and_the_last_nights_winners_are_recalled() -> None:
    tuned = ModelMemory(0.2, 1.0, {"shrinkage": 3.0}, 1.1, (ONE,))
    nights = [
        night(1, {"ease": replace(tuned, metric=0.3, weight=0.5, trials=(TWO,))}),
        night(0, {"ease": ModelMemory(0.1), "item_knn": tuned}),
    ]
    recalled = recall(nights)
    assert recalled["item_knn"] == replace(tuned, weight=0.0)
    assert recalled["ease"] == replace(tuned, metric=0.3, weight=0.5, trials=(TWO,))
    assert recall([night(0, {"ease": tuned}), *nights[:1]])["ease"].trials == (ONE, TWO)


def test_a_damaged_memory_is_one_error_with_advice(tmp_path: Path) -> None:
    remember_night(Lake(tmp_path), night(0, {"ease": ModelMemory(float("nan"))}))
    with pytest.raises(StateError, match=r"search_memory\.json: .*remove it"):
        earlier_nights(Lake(tmp_path), FIRST, FIRST, "ndcg@20")
    (tmp_path / FILE).write_text('[{"as_of": 3}]')
    with pytest.raises(StateError, match=r"search_memory\.json: .*remove it"):
        earlier_nights(Lake(tmp_path), FIRST, FIRST, "ndcg@20")
