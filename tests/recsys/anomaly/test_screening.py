"""A small shop, with and without accounts made for one of its items."""

from datetime import UTC, datetime
from functools import cache

import numpy as np
import polars as pl
import pytest

from recsys.anomaly.screening import MIN_USERS, screen_users
from recsys.schema import BOT, EVENTS, FINE, FLAGGED, ITEM_ID, LABEL, LABELED_AT, REASONS, SCORE, USER_ID
from recsys.settings.anomalies import Anomalies
from tests.recsys.anomaly.graphs import added, draw_customers

SHOPPERS = 500
FAKE = 25
DEFAULT = Anomalies()
NO_LABELS = pl.DataFrame(schema={USER_ID: pl.String, LABEL: pl.String})


@cache
def tables(fake: int, seed: int = 0, users: int = SHOPPERS) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Pairs and behaviour of customers and, after them, of new accounts of random items who all want the last."""
    random = np.random.default_rng(seed)
    graph = draw_customers(users, 300, 4, 12, seed, unwanted=1)
    if fake:
        graph = added(graph, [[300, *random.choice(300, 12, replace=False)] for _ in range(fake)])
    total = users + fake
    ids = [f"u{number:04d}" for number in range(total)]
    rows = np.repeat(np.arange(total), np.diff(graph.indptr))
    pairs = pl.DataFrame(
        {
            USER_ID: [ids[row] for row in rows],
            ITEM_ID: [f"i{column}" for column in graph.indices],
            EVENTS: np.where(rows < users, random.poisson(1.0, len(rows)) + 1, 1),
        }
    )
    popularity = np.log(np.maximum(np.bincount(graph.indices, minlength=301), 1))
    means = np.bincount(rows, popularity[graph.indices], total) / np.diff(graph.indptr)
    old = np.arange(total) < users
    behavior = pl.DataFrame(
        {
            USER_ID: ids,
            "items": np.diff(graph.indptr),
            "log_popularity_mean": means,
            "log_popularity_deviation": random.random(total),
            "days_since_first": np.where(old, random.uniform(30, 300, total), random.uniform(0, 7, total)),
            "active_days": np.where(old, random.poisson(6, total) + 2, 1),
            "busiest_day_share": np.where(old, random.uniform(0.1, 0.6, total), 1.0),
            "most_in_minute": random.poisson(2, total) + 1,
            "most_in_hour": random.poisson(6, total) + 1,
            "events_per_active_hour": random.uniform(1, 5, total),
            "most_items_in_minute": random.poisson(2, total) + 1,
            "rating_mean": pl.Series([None] * total, dtype=pl.Float64),
        }
    )
    return pairs, behavior


@cache
def screened(fake: int, seed: int = 0, threshold: float = DEFAULT.screen_threshold) -> pl.DataFrame:
    """Screen the shop without labels; tests read the result, and do not change it."""
    return screen_users(*tables(fake, seed), NO_LABELS, Anomalies(screen_threshold=threshold), 0)


def test_accounts_made_for_an_item_are_flagged_and_nobody_else() -> None:
    result = screened(FAKE)
    flagged = result.filter(FLAGGED)
    assert set(flagged[USER_ID]) == {f"u{number:04d}" for number in range(SHOPPERS, SHOPPERS + FAKE)}
    assert (flagged[SCORE] >= 80).all()
    for reasons in flagged[REASONS]:
        assert reasons[0].startswith("made for an item: one of 25 users of i300 who are alike: ")
        assert "new accounts" in " ".join(reasons) or "hardly a day" in reasons[0]


@pytest.mark.parametrize("seed", range(3))
def test_without_an_attack_nobody_is_flagged(seed: int) -> None:
    result = screened(0, seed=seed)
    assert result.height == SHOPPERS
    assert not result[FLAGGED].any()
    assert result[SCORE].is_between(0, 80).all()


def test_the_order_of_users_is_irrelevant() -> None:
    pairs, behavior = tables(FAKE)
    mixed = screen_users(
        pairs.sample(fraction=1, shuffle=True, seed=1), behavior.reverse(), NO_LABELS, Anomalies(), 0
    )
    assert mixed.equals(screened(FAKE))


def test_the_threshold_is_a_setting() -> None:
    assert screened(FAKE, threshold=100.0)[FLAGGED].sum() == 0
    assert screened(FAKE, threshold=0.0)[FLAGGED].all()


def test_rates_that_no_customer_has_are_flagged_alone() -> None:
    pairs, behavior = tables(0)
    fast = pl.col(USER_ID) == "u0007"
    behavior = behavior.with_columns(
        pl.when(fast).then(900).otherwise(pl.col(name)).alias(name) for name in ("most_in_minute", "most_in_hour")
    )
    flagged = screen_users(pairs, behavior, NO_LABELS, DEFAULT, 0).filter(FLAGGED)
    assert flagged[USER_ID].to_list() == ["u0007"]
    assert flagged[REASONS][0][0].startswith("rates that no shopper has: most events within a minute 900")


def labels_of(bots: list[str], fine: list[str]) -> pl.DataFrame:
    said = [BOT] * len(bots) + [FINE] * len(fine)
    now = datetime(2026, 3, 1, tzinfo=UTC)
    return pl.DataFrame({USER_ID: bots + fine, LABEL: said, LABELED_AT: [now] * len(said)})


def test_from_so_many_labels_on_what_analysts_see_is_learned() -> None:
    pairs, behavior = tables(0)
    ids = behavior[USER_ID].to_list()
    # Analysts call those bots who do everything on few items; no other detector minds.
    bots = behavior.filter(pl.col("items") <= pl.col("items").quantile(0.3))[USER_ID].to_list()
    fine = [user for user in ids if user not in set(bots)]
    labels = labels_of(bots[::2], fine[::2])
    result = screen_users(pairs, behavior, labels, DEFAULT, 0)
    flagged = set(result.filter(FLAGGED)[USER_ID])
    unlabelled = set(bots[1::2])
    assert len(flagged & unlabelled) > 0.8 * len(unlabelled)
    assert len(flagged - set(bots)) < 0.05 * len(fine)
    few = labels_of(bots[:20], fine[:40])
    assert not screen_users(pairs, behavior, few, DEFAULT, 0)[FLAGGED].any()


def test_a_shop_of_a_few_users_is_not_judged() -> None:
    pairs, behavior = tables(0, users=MIN_USERS - 1)
    result = screen_users(pairs, behavior, NO_LABELS, DEFAULT, 0)
    assert (result[SCORE] == 0).all()
    assert not result[FLAGGED].any()
