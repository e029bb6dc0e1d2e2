"""The popular list of users without history: by hand, chosen, and under attack."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from jobs.pipeline.new_users import ALL_TIME, CANDIDATES, choose_list, score_items
from recsys.data.interactions import Interactions, build_interactions
from recsys.models.popularity import recent_popularity
from recsys.settings import Settings

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
SETTINGS = Settings()


def shop(events: list[tuple[str, str, float, float]]) -> Interactions:
    """Interactions of user, item, age in days, and weight."""
    rows = [(user, item, AS_OF - timedelta(days=age), weight) for user, item, age, weight in events]
    sequences = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "weight"], orient="row")
    pairs = sequences.group_by("user_id", "item_id").agg(confidence=pl.col("weight").sum())
    return build_interactions(pairs, sequences, AS_OF)


def order(scores: np.ndarray, interactions: Interactions) -> list[str]:
    return interactions.items.ids(np.argsort(-scores, kind="stable").astype(np.int32)).to_list()


def test_recent_popularity_is_the_sum_of_saturated_weights_of_the_last_days():
    # All events are of one day, so that all users have the same trust and none changes a sum.
    known = shop(
        [("ann", "cup", 0.5, 1.0), ("ann", "cup", 0.9, 2.0), ("bob", "cup", 0.8, 5.0), ("eve", "tea", 0.5, 5.0)]
    )
    # Ann: 3 / (3 + 5), Bob: 5 / (5 + 5).
    np.testing.assert_allclose(recent_popularity(known, 7, 5.0), [0.375 + 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(recent_popularity(known, 0.6, 5.0), [1 / 6, 0.5], rtol=1e-6)
    assert recent_popularity(known, 0.4, 5.0).tolist() == [0, 0]


def test_each_candidate_orders_items_by_its_days_and_then_by_popularity():
    days = {"old": range(60, 80), "month": range(10, 24), "week": range(1, 7), "rare": [70]}
    events = [(f"u{number}", item, age, 1.0) for item, ages in days.items() for age in ages for number in range(3)]
    known = shop(events)
    settings = SETTINGS
    orders = {name: order(score_items(name, known, settings), known) for name in CANDIDATES}
    assert orders[ALL_TIME][0] == "old"
    assert orders["last_28_days"] == ["month", "week", "old", "rare"]
    assert orders["last_7_days"] == ["week", "old", "month", "rare"]
    assert orders["trending"][0] == "week"


@pytest.mark.parametrize("users", [99, 400])
def test_a_better_list_is_chosen_by_enough_users(users: int):
    generator = np.random.default_rng(0)
    base = generator.random(users)
    values = {ALL_TIME: base, "last_28_days": base + 0.1, "last_7_days": base + generator.normal(0, 1, users)}
    assert choose_list(values, SETTINGS) == ("last_28_days" if users >= 100 else ALL_TIME)
    assert choose_list({ALL_TIME: base, "last_7_days": base + 1e-4}, SETTINGS) == ALL_TIME  # too little to matter
    assert choose_list({ALL_TIME: base, "last_7_days": base}, SETTINGS) == ALL_TIME


def test_a_burst_of_new_accounts_does_not_lead_the_lists_of_the_last_days():
    generator = np.random.default_rng(0)
    users, items, ages = (
        generator.integers(300, size=6_000),
        generator.zipf(1.5, 6_000) % 50,
        generator.random(6_000),
    )
    genuine = [(f"u{user}", f"i{item}", 30 * age, 1.0) for user, item, age in zip(users, items, ages, strict=True)]
    accounts = [(f"bot{number}", "target", 0.1, 1.0) for number in range(300)]
    accounts += [(f"bot{number}", f"i{item}", 0.1, 1.0) for number in range(300) for item in (1, 2)]
    known = shop([*genuine, *accounts])
    for name in ("last_28_days", "last_7_days"):
        assert "target" not in order(score_items(name, known, SETTINGS), known)[:20]
