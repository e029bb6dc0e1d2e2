from math import log, sqrt
from typing import Any

import numpy as np
import pytest

from recsys.data.interactions import Interactions
from recsys.models.trending import Trending, TrendingConfig

Event = tuple[str, str, float, float]
DEFAULTS = TrendingConfig()
STEADY = [f"steady {number}" for number in range(20)]


def trends(shop: Interactions, config: TrendingConfig = DEFAULTS) -> dict[str, float]:
    model = Trending(config).fit(shop)
    return dict(zip(shop.items.values, model.scores(np.zeros(1, np.int32))[0].tolist(), strict=True))


def daily(item: str, days: range, each_day: int = 1) -> list[Event]:
    return [("someone", item, day + 0.5, 5.0) for day in days for _ in range(each_day)]


def steady_shop() -> list[Event]:
    return [event for item in STEADY for event in daily(item, range(300))]


def test_known_answers(shop_of: Any):
    """Half-lives of 1 and 2 days: ages 0, 2 and 4 count 1, 1/4, 1/16 recently and 1, 1/2, 1/4 usually."""
    events = [("a", "new", 0.0, 1.0), ("b", "new", 0.0, 5.0), ("a", "old", 2.0, 1.0), ("b", "old", 4.0, 1.0)]
    refund = ("b", "new", 0.0, -5.0)
    found = trends(shop_of([*events, refund]), TrendingConfig(recent_days=1, usual_days=2, prior_events=3))
    ratio = (2 + 0.25 + 0.0625) / (2 + 0.5 + 0.25)
    new = log((2 + 3) / (2 * ratio + 3)) - 1 / sqrt(2 + 3)
    old = log((0.3125 + 3) / (0.75 * ratio + 3)) - 1 / sqrt(0.3125 + 3)
    assert found == pytest.approx({"new": new, "old": old}, rel=1e-6)


def test_three_sales_of_nothing_are_no_trend_but_thirty_are(shop_of: Any):
    few, many = daily("few", range(3)), daily("many", range(3), each_day=10)
    found = trends(shop_of([*steady_shop(), *few, *many]))
    assert found["few"] <= 0
    assert found["many"] > 0
    assert max(found, key=lambda item: found[item]) == "many"


def test_a_steady_item_is_no_trend(shop_of: Any):
    found = trends(shop_of([*steady_shop(), *daily("bestseller", range(300), each_day=5)]))
    assert max(found.values()) <= 0


def test_a_busy_week_of_the_whole_shop_is_no_trend(shop_of: Any):
    busy = [event for item in STEADY for event in daily(item, range(7), each_day=4)]
    found = trends(shop_of([*steady_shop(), *busy]))
    assert max(found.values()) <= 0


def test_what_stopped_selling_is_the_last(shop_of: Any):
    found = trends(shop_of([*steady_shop(), *daily("gone", range(30, 300))]))
    assert min(found, key=lambda item: found[item]) == "gone"
