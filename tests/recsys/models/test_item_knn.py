from math import log, sqrt
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from recsys.models.item_knn import ItemKnn, ItemKnnConfig

# Item rows: 0 p of users a b, 1 q of a b c, 2 r of d, 3 s of a b c e.
USERS = {"p": "ab", "q": "abc", "r": "d", "s": "abce"}
WEIGHTS = {"p": 1.0, "q": 4.0, "r": 2.0, "s": 5.0}
EVENTS = [(user, item, 1.0, WEIGHTS[item]) for item, users in USERS.items() for user in users]
P, Q, R, S = range(4)
COSINE: dict[str, Any] = {"asymmetry": 0.5, "user_exponent": 0.0, "locality": 1.0}
C = np.array([2], np.int32)


def fitted(shop_of: Any, config: ItemKnnConfig) -> ItemKnn:
    return ItemKnn(config).fit(shop_of(EVENTS))


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
def test_similarity_is_the_shrunk_cosine(shop_of: Any, shrinkage: float):
    result = csr_matrix(fitted(shop_of, ItemKnnConfig(shrinkage=shrinkage, **COSINE)).weights).toarray()
    for one, users in enumerate(USERS.values()):
        for other, others in enumerate(USERS.values()):
            lengths = sqrt((len(users) + shrinkage) * (len(others) + shrinkage))
            assert result[one, other] == pytest.approx(len(set(users) & set(others)) / lengths)


def test_an_asymmetric_similarity_by_hand(shop_of: Any):
    """Users a and b have 3 items, c has 2, d and e have 1: they count 2/3, 2/3, 1, 2 and 2."""
    weights = {"a": 2 / 3, "b": 2 / 3, "c": 1.0, "d": 2.0, "e": 2.0}
    totals = {item: 3 + sum(weights[user] for user in users) for item, users in USERS.items()}
    config = ItemKnnConfig(shrinkage=3, asymmetry=0.2, user_exponent=1, locality=1.5)
    result = csr_matrix(fitted(shop_of, config).weights).toarray()
    for one, (item, users) in enumerate(USERS.items()):
        for other, (neighbor, others) in enumerate(USERS.items()):
            common = sum(weights[user] for user in set(users) & set(others))
            expected = (common / (totals[item] ** 0.8 * totals[neighbor] ** 0.2)) ** 1.5
            assert result[one, other] == pytest.approx(expected), (item, neighbor)


def test_scores_may_prefer_popular_items_but_similar_items_do_not(shop_of: Any):
    """All ten users have the star, three of whom have both cups; of a cup and the star, three are common too."""
    cups = [(f"u{user}", item, 1.0, 1.0) for user in range(3) for item in ("cup", "mug")]
    shop = shop_of([*cups, *((f"u{user}", "star", 1.0, 1.0) for user in range(10)), ("v", "mug", 1.0, 1.0)])
    model = ItemKnn(ItemKnnConfig(shrinkage=0, asymmetry=0, user_exponent=0)).fit(shop)
    cup = shop.items.rows(pl.Series(["cup"])).astype(np.int32)
    assert csr_matrix(model.weights[cup]).toarray()[0].tolist() == pytest.approx([1, 1, 1])
    rows, scores = model.similar(cup, 2)
    assert shop.items.ids(rows[0]).to_list() == ["mug", "star"]
    assert scores[0] == pytest.approx([(3 / sqrt(12)) ** 1.3, (3 / sqrt(30)) ** 1.3])


def test_a_score_is_the_sum_of_similarities_and_strangers_come_last(shop_of: Any):
    rows, scores = fitted(shop_of, ItemKnnConfig(shrinkage=10, **COSINE)).recommend(C, 4)
    q_s = 3 / sqrt(13 * 14)
    assert rows.tolist() == [[S, Q, P, R]]
    of_p = 2 / sqrt(12 * 13) + 2 / sqrt(12 * 14)
    assert scores[0] == pytest.approx([4 / 14 + q_s, 3 / 13 + q_s, of_p, 1 / 5 - 1])


def test_strangers_are_ranked_by_their_users(shop_of: Any):
    rare = [("f", "rare", 1.0, 5.0), *((user, "spread", 1.0, 5.0) for user in "ghi")]
    shop = shop_of([*EVENTS, *rare])
    rows, _ = ItemKnn().fit(shop).recommend(C, 6)
    assert shop.items.ids(rows[0]).to_list() == ["s", "q", "p", "spread", "r", "rare"]


def test_similar_items_are_those_with_shared_users(shop_of: Any):
    model = fitted(shop_of, ItemKnnConfig(shrinkage=0, **COSINE))
    rows, scores = model.similar(np.arange(4, dtype=np.int32), 3)
    assert rows.tolist() == [[Q, S, -1], [S, P, -1], [-1, -1, -1], [Q, P, -1]]
    assert scores[0] == pytest.approx([2 / sqrt(6), 2 / sqrt(8), -np.inf])


def test_only_so_many_neighbors_are_kept_beside_the_item_itself(shop_of: Any):
    model = fitted(shop_of, ItemKnnConfig(neighbors=1, shrinkage=0, **COSINE))
    rows, _ = model.similar(np.arange(4, dtype=np.int32), 2)
    assert rows.tolist() == [[Q, -1], [S, -1], [-1, -1], [Q, -1]]
    assert model.weights.diagonal().tolist() == pytest.approx([1, 1, 1, 1])


def test_bm25_known_answer(shop_of: Any):
    k1, b = 1.2, 0.75
    result = csr_matrix(fitted(shop_of, ItemKnnConfig("bm25", bm25_k1=k1, bm25_b=b)).weights).toarray()
    totals = {item: len(users) * WEIGHTS[item] for item, users in USERS.items()}
    mean = sum(totals.values()) / 4

    def weight(user: str, item: str) -> float:
        if user not in USERS[item]:
            return 0
        items_of_user = sum(user in users for users in USERS.values())
        length = 1 - b + b * totals[item] / mean
        confidence = WEIGHTS[item]
        return confidence * (k1 + 1) / (confidence + k1 * length) * log(4 / (1 + items_of_user))

    for one, first in enumerate(USERS):
        for other, second in enumerate(USERS):
            expected = sum(weight(user, first) * weight(user, second) for user in "abcde")
            assert result[one, other] == pytest.approx(expected, abs=1e-6)
    assert result[P, Q] == 0  # their users have all items but one: log(4 / 4)
    assert result[Q, S] > 0
