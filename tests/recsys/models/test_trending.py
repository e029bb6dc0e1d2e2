from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.models.trending import Trending, TrendingConfig
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(is_personal=False, counts_refunds=False)

Event = tuple[str, str, float, float]
DEFAULTS = TrendingConfig()
STEADY = [f"steady {number}" for number in range(20)]


def trends(shop: Interactions, config: TrendingConfig = DEFAULTS) -> dict[str, float]:
    model = Trending(config).fit(shop)
    return dict(zip(shop.items.values, model.scores(np.zeros(1, np.int32))[0].tolist(), strict=True))


def daily(item: str, days: range, users: range = range(1)) -> list[Event]:
    return [(f"user {user}", item, day + 0.5, 5.0) for day in days for user in users]


def steady_shop() -> list[Event]:
    """Every item is wanted every day, by one of ten users who are always there."""
    return [
        event for number, item in enumerate(STEADY) for event in daily(item, range(300), users=one(number % 10))
    ]


def one(user: int) -> range:
    return range(user, user + 1)


def test_known_answers(shop_of: Any):
    """Half-lives of 1 and 2 days: ages 0, 2 and 4 count 1, 1/4, 1/16 recently and 1, 1/2, 1/4 usually."""
    events = [("a", "new", 0.0, 1.0), ("b", "new", 0.0, 5.0), ("a", "old", 2.0, 1.0), ("b", "old", 4.0, 1.0)]
    refund = ("b", "new", 0.0, -5.0)
    result = trends(shop_of([*events, refund]), TrendingConfig(recent_days=1, usual_days=2, prior_events=3))
    ratio = (2 + 0.25 + 0.0625) / (2 + 0.5 + 0.25)
    new = log((2 + 3) / (2 * ratio + 3)) - 1 / sqrt(2 + 3)
    old = log((0.3125 + 3) / (0.75 * ratio + 3)) - 1 / sqrt(0.3125 + 3)
    assert result == pytest.approx({"new": new, "old": old}, rel=1e-6)


def test_three_sales_of_nothing_are_no_trend_but_thirty_are(shop_of: Any):
    few, many = daily("few", range(3)), daily("many", range(3), users=range(10))
    result = trends(shop_of([*steady_shop(), *few, *many]))
    assert result["few"] <= 0
    assert result["many"] > 0
    assert max(result, key=lambda item: result[item]) == "many"


def test_a_steady_item_is_no_trend(shop_of: Any):
    result = trends(shop_of([*steady_shop(), *daily("bestseller", range(300), users=range(5))]))
    assert max(result.values()) <= 0


def test_a_busy_week_of_the_whole_shop_is_no_trend(shop_of: Any):
    busy = [event for item in STEADY for event in daily(item, range(7), users=range(10))]
    result = trends(shop_of([*steady_shop(), *busy]))
    assert max(result.values()) <= 0


def test_what_stopped_selling_is_the_last(shop_of: Any):
    result = trends(shop_of([*steady_shop(), *daily("gone", range(30, 300))]))
    assert min(result, key=lambda item: result[item]) == "gone"


def test_a_user_counts_once_an_item_and_day(shop_of: Any):
    once = [*steady_shop(), *daily("wanted", range(3), users=range(10))]
    again = [(user, item, days + 0.1, weight) for user, item, days, weight in once for _ in range(3)]
    assert trends(shop_of([*once, *again])) == pytest.approx(trends(shop_of(once)))


def test_a_burst_of_new_accounts_does_not_trend_but_a_rise_among_known_users_does(shop_of: Any):
    """50 accounts of 20 events each within a second, in a shop where nothing else rises."""
    shop = [*steady_shop(), *daily("usual", range(300), users=range(100, 150))]
    burst = burst_of("target", [f"new {number}" for number in range(50)])
    attacked = shop_of([*shop, *burst])
    config, items = TrendingConfig(), attacked.shape[1]
    recent, usual = (
        np.bincount(attacked.item_rows, 0.5 ** (attacked.age_days / days), items)
        for days in (config.recent_days, config.usual_days)
    )
    unguarded = Trending(config).fit_rates(recent, usual).item_trend
    target = attacked.items.values.to_list().index("target")
    assert unguarded.argmax() == target
    assert unguarded[target] > 0

    result = trends(attacked)
    assert result["target"] <= 0
    assert sorted(result, key=lambda item: -result[item]).index("target") >= 20

    rise = [(f"user {user}", "target", 0.01, 1.0) for user in range(100, 150)]
    assert trends(shop_of([*shop, *rise]))["target"] > 1


def test_a_burst_over_midnight_does_not_trend_the_day_after_either(shop_of: Any):
    new = [f"new {number}" for number in range(50)]
    result = trends(shop_of([*steady_shop(), *burst_of("target", new, 0.5), *burst_of("target", new, 1.5)]))
    assert result["target"] <= 0


def burst_of(item: str, users: list[str], days_ago: float = 0.01) -> list[Event]:
    return [(user, item, days_ago + second / 1e6, 1.0) for user in users for second in range(20)]
