from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.interactions import Interactions, build_interactions
from recsys.ids import UNKNOWN, IdMap
from recsys.ranking.exposure import ExposureCuts, publish_lists
from recsys.ranking.list_limits import ListLimits

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
WINDOW = 10
ITEMS = 30


def interactions_from_pairs(events: list[tuple[str, str, float, float]]) -> Interactions:
    """Events of a user, an item, the days before `AS_OF`, and a weight."""
    rows = [(user, item, AS_OF - timedelta(days=age), weight) for user, item, age, weight in events]
    sequences = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "weight"], orient="row")
    pairs = sequences.group_by("user_id", "item_id").agg(confidence=pl.col("weight").sum())
    return build_interactions(pairs, sequences, AS_OF)


def place_one_by_one(candidates, labels, limits, n):
    """Take for each place the first candidate left that has room, as the definition says."""
    left, listed = [item for item in candidates if item != UNKNOWN], []
    while left and len(listed) < n:
        last = listed[-WINDOW + 1 :]

        def has_room(item, last=last):
            return all(
                label == UNKNOWN or sum(label in labels[other] for other in last) < limits[label]
                for label in labels[item]
            )

        chosen = next(filter(has_room, left), left[0])
        left.remove(chosen)
        listed.append(chosen)
    return listed + [UNKNOWN] * (n - len(listed))


@st.composite
def shops(draw):
    types = draw(st.lists(st.integers(-1, 4), min_size=ITEMS, max_size=ITEMS))
    titles = draw(st.lists(st.integers(5, 12) | st.just(-1), min_size=ITEMS, max_size=ITEMS))
    limits = [draw(st.integers(1, 3)) for _ in range(5)] + [1] * 8
    users = draw(st.lists(st.permutations(range(ITEMS)), min_size=1, max_size=3))
    length = draw(st.integers(0, ITEMS))
    candidates = np.array([[*user[:length], *[UNKNOWN] * (ITEMS - length)] for user in users], np.int32)
    return ListLimits(np.array([types, titles], np.int32).T.copy(), np.array(limits, np.int32)), candidates


@settings(max_examples=150, deadline=None)
@given(shops(), st.integers(1, ITEMS))
def test_lists_equal_those_made_one_by_one(shop, n: int):
    limits, candidates = shop
    listed = limits.apply(candidates, n)
    labels = limits.labels.tolist()
    assert listed.tolist() == [place_one_by_one(user, labels, limits.limits, n) for user in candidates.tolist()]
    assert limits.apply(listed, n).tolist() == listed.tolist()  # what keeps the limits stays


@settings(max_examples=30, deadline=None)
@given(shops())
def test_no_item_is_lost_or_doubled(shop):
    limits, candidates = shop
    assert np.array_equal(np.sort(limits.apply(candidates, ITEMS), axis=1), np.sort(candidates, axis=1))


def test_a_household_that_buys_three_milks_on_two_days_has_three():
    catalogue = pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d", *(f"x{number:02}" for number in range(40))],
            "title": ["Milk 1", "milk  (1)", "Milk 2", "Milk 3", *(f"Other {number}" for number in range(40))],
            "category": [["Food", "Milk"]] * 4 + [["Food"]] * 40,
        }
    )
    pairs = [
        (user, item, age, 1.0)
        for user, days in {"ann": 2, "bob": 1}.items()
        for age in range(days)
        for item in "acd"
    ]
    pairs += [("zoe", item, 3.0, 1.0) for item in catalogue["item_id"]]
    interactions = interactions_from_pairs(pairs)
    limits = ListLimits.build(interactions.items, catalogue, 2, 1)
    candidates = np.tile(np.arange(44, dtype=np.int32), (3, 1))
    assert interactions.users.values.to_list() == ["ann", "bob", "zoe"]
    listed = publish_lists(candidates, 10, np.arange(3, dtype=np.int32), interactions, limits)
    names = [interactions.items.ids(row).to_list() for row in listed]
    # Milk 1 is there twice by its title; "Food" alone has more than a tenth of all items, and is no type.
    assert names[0][:4] == ["a", "c", "d", "x00"]
    assert names[1][:4] == names[2][:4] == ["a", "c", "x00", "x01"]
    assert "b" not in names[0] + names[1]


def test_a_capped_item_stays_with_the_users_for_whom_it_ranks_highest():
    limits = ListLimits.build_none(40)
    generator = np.random.default_rng(0)
    users = np.arange(400, dtype=np.int32)
    others = np.array([1 + generator.permutation(39) for _ in users], np.int32)
    places = np.where(users < 100, 0, 5)  # the item 0 is first for 100 users, and sixth for 300
    candidates = np.array([np.insert(row, place, 0) for row, place in zip(others, places, strict=True)], np.int32)
    cuts = ExposureCuts.find(candidates, users, 0.5, limits)
    interactions = interactions_from_pairs([(f"{user:03}", "x", 1.0, 1.0) for user in users])
    listed = publish_lists(candidates, 20, users, interactions, limits, cuts=cuts)
    is_first = (listed[:, :WINDOW] == 0).any(axis=1)
    assert is_first.sum() == 200
    assert is_first[:100].all()
    assert (listed[~is_first, WINDOW] == 0).all()  # it moves to the first place behind
    exposure = np.bincount(listed[:, :WINDOW].ravel(), minlength=40)
    assert exposure.max() <= 200


def test_ids_that_differ_in_case_and_punctuation_are_one_title():
    items = pl.DataFrame({"item_id": ["1", "2", "3"], "title": ["Tea, 5 oz", "TEA 5-OZ", "Tea 6 oz"]})
    items = items.with_columns(pl.lit(None, pl.List(pl.String)).alias("category"))
    limits = ListLimits.build(IdMap.from_ids(items["item_id"]), items, 2, 1)
    assert limits.labels[:, 1].tolist() == [0, 0, UNKNOWN]
    assert limits.labels[:, 0].tolist() == [UNKNOWN] * 3
