"""The ranker on hand-made shops: what it learns beyond its members, and what it must not see."""

from typing import Any

import numpy as np
import polars as pl

from recsys.data.interactions import Interactions
from recsys.models.popularity import Popularity
from recsys.models.ranker.item_facts import item_facts
from recsys.models.ranker.ranker import Ranker, RankerConfig
from recsys.models.ranker.training_windows import TrainingWindows
from recsys.ranking.top_k import Exclusion
from tests.conformance.expectations import Expectations

CONFORMANCE = Expectations(needs_repeats=True, predicts_new_items=False, ranks_after_exclusion=True)

BUY = 5.0
USERS, COLOR_ITEMS, DAYS = 60, 15, 112
CATALOGUE = pl.DataFrame(
    {
        "item_id": [f"{color}{item:02}" for color in ("blue", "red") for item in range(COLOR_ITEMS)],
        "category": [["paint", color] for color in ("blue", "red") for _ in range(COLOR_ITEMS)],
    }
)


def shop_of_colors(shop_of: Any) -> Interactions:
    """Users buy an item of their own color every 8 days, never the same one twice; colors are equally popular."""
    events = [
        (f"u{user:02}", f"{('blue', 'red')[user % 2]}{(number + user // 2) % COLOR_ITEMS:02}", days + 0.5, BUY)
        for user in range(USERS)
        for number, days in enumerate(range(DAYS, 0, -8))
    ]
    return shop_of(events)


def ranker(catalogue: pl.DataFrame | None) -> Ranker:
    config = RankerConfig(("popularity",), "exclude", window_days=28, windows=2, trees=20, leaves=4)
    return Ranker(config, {"popularity": Popularity()}, catalogue)


def share_of_own_color(model: Ranker, shop: Interactions) -> float:
    everyone = np.arange(USERS, dtype=np.int32)
    rows, _ = model.recommend(everyone, 1, Exclusion(shop.owned))
    return float(np.mean((rows[:, 0] >= COLOR_ITEMS) == (everyone % 2 == 1)))


def test_the_category_of_earlier_purchases_decides(shop_of: Any):
    """Popularity knows no colors: that users stay with theirs is learned from the catalogue and earlier windows."""
    shop = shop_of_colors(shop_of)
    assert share_of_own_color(ranker(CATALOGUE).fit(shop), shop) == 1.0
    assert share_of_own_color(ranker(None).fit(shop), shop) < 0.8


def test_the_deciding_feature_is_the_most_important_and_raises_the_probability(shop_of: Any):
    model = ranker(CATALOGUE)
    first = model.train(shop_of_colors(shop_of)).effects[0]
    assert first.name.startswith("category level 2: ")
    assert abs(sum(effect.importance for effect in model.effects) - 1) < 1e-6
    assert first.probabilities[-1] != first.probabilities[0]


def windows_of(shop: Interactions, maximum: int = 2) -> list[Any]:
    windows = TrainingWindows(28, maximum, 90, "allow", 30, 0)

    def list_members(earlier: Interactions, users: Any, exclude: Exclusion):
        return [Popularity().fit(earlier).recommend(users, 30, exclude)[0]]

    return list(windows.tables(shop, item_facts(CATALOGUE, shop.items), list_members))


def test_events_after_a_windows_start_change_no_feature(shop_of: Any):
    """In the other shop, each purchase of the last 28 days is of another item, and one before is sent back."""
    events = [
        (f"u{user:02}", f"{color}{(user + number) % COLOR_ITEMS:02}", days + 0.5, BUY)
        for user in range(20)
        for color in ("blue", "red")
        for number, days in enumerate(range(80, 0, -8))
    ]
    items = CATALOGUE["item_id"].to_list()
    changed = [
        (user, items[(items.index(item) + 7) % len(items)] if days < 28 else item, days, weight)
        for user, item, days, weight in events
    ] + [(user, item, 3.25, -BUY) for user, item, days, _ in events if 28 < days < 33]
    one, other = windows_of(shop_of(events)), windows_of(shop_of(changed))
    assert len(one) == len(other) == 2
    np.testing.assert_array_equal(one[0].features, other[0].features)
    assert not np.array_equal(one[0].bought, other[0].bought)
    np.testing.assert_array_equal(one[1].features, other[1].features)
    np.testing.assert_array_equal(one[1].bought, other[1].bought)


def test_bought_items_are_those_of_the_window(shop_of: Any):
    """One window: `p` was bought before and within it, `q` only within it, `r` only before it."""
    shop = shop_of(
        [
            ("a", "p", 40.5, BUY),
            ("a", "r", 39.5, BUY),
            ("b", "q", 41.5, BUY),
            ("a", "p", 3.5, BUY),
            ("a", "q", 2.5, BUY),
        ]
    )
    (table,) = windows_of(shop, maximum=5)
    assert table.sizes.tolist() == [3]  # b buys nothing in the window
    assert table.bought.tolist() == [True, True, False]


def test_a_window_before_which_everything_was_sent_back_teaches_nothing(shop_of: Any):
    """Members have nothing to be fitted on."""
    sent_back = [("a", "p", 70.5, BUY), ("a", "p", 69.5, -BUY)]
    shop = shop_of([*sent_back, ("a", "p", 33.5, BUY), ("b", "q", 31.5, BUY), ("a", "q", 2.5, BUY)])
    assert len(windows_of(shop, maximum=5)) == 1


def test_without_times_or_a_long_history_the_members_decide(shop_of: Any):
    shop = shop_of([("a", "p", 3.5, BUY), ("a", "q", 1.5, BUY), ("b", "p", 2.5, BUY)])
    model = ranker(None).fit(shop)
    assert (model.trees, model.windows, model.effects) == (None, 0, ())
    everyone = np.arange(2, dtype=np.int32)
    np.testing.assert_array_equal(model.recommend(everyone, 2)[0], Popularity().fit(shop).recommend(everyone, 2)[0])


def test_lists_given_from_outside_are_ranked_as_those_of_the_members(shop_of: Any):
    shop = shop_of_colors(shop_of)
    model = ranker(CATALOGUE).fit(shop)
    users, exclude = np.array([5, 2, 9], np.int32), Exclusion(shop.owned)
    lists = [Popularity().fit(shop).recommend(users, 200, exclude)[0]]
    np.testing.assert_array_equal(model.rank_lists(lists, users, 8), model.recommend(users, 8, exclude)[0])


def test_a_list_longer_than_what_members_are_asked_for_in_training_starts_with_the_shorter_one(shop_of: Any):
    """The value of a place, by which the trees decide, is the same however long the list is."""
    items = 230
    events = [
        (f"u{user:02}", f"i{(user * step + 7 * number) % items:03}", days + 0.5, BUY)
        for user in range(30)
        for step in (3, 11)
        for number, days in enumerate(range(DAYS, 0, -4))
    ]
    shop = shop_of(events)
    model = ranker(None).fit(shop)
    everyone = np.arange(30, dtype=np.int32)
    (short, scores), (long, long_scores) = (model.recommend(everyone, n) for n in (200, items))
    np.testing.assert_array_equal(short, long[:, :200])
    np.testing.assert_array_equal(scores, long_scores[:, :200])
    np.testing.assert_array_equal(np.sort(long, axis=1), np.tile(np.arange(items), (30, 1)))
    assert (long_scores[:, 200:] < 0).all()
    popular = Popularity().fit(shop).recommend(everyone, items)[0]
    np.testing.assert_array_equal(long[:, 200:], popular[:, 200:])
