from math import log, sqrt
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys.models.item_knn import ItemKnn, ItemKnnConfig

# Item rows: 0 p of users a b, 1 q of a b c, 2 r of d, 3 s of a b c e.
USERS = {"p": "ab", "q": "abc", "r": "d", "s": "abce"}
WEIGHTS = {"p": 1.0, "q": 4.0, "r": 2.0, "s": 5.0}
EVENTS = [(user, item, 1.0, WEIGHTS[item]) for item, users in USERS.items() for user in users]
P, Q, R, S = range(4)
C = np.array([2], np.int32)


def fitted(shop_of: Any, config: ItemKnnConfig) -> ItemKnn:
    return ItemKnn(config).fit(shop_of(EVENTS))


@pytest.mark.parametrize("shrinkage", [0.0, 10.0])
def test_similarity_is_the_shrunk_cosine(shop_of: Any, shrinkage: float):
    result = csr_matrix(fitted(shop_of, ItemKnnConfig(shrinkage=shrinkage)).weights).toarray()
    for one, users in enumerate(USERS.values()):
        for other, others in enumerate(USERS.values()):
            lengths = sqrt((len(users) + shrinkage) * (len(others) + shrinkage))
            assert result[one, other] == pytest.approx(len(set(users) & set(others)) / lengths)


def test_a_score_is_the_sum_of_similarities_and_strangers_come_last(shop_of: Any):
    rows, scores = fitted(shop_of, ItemKnnConfig(shrinkage=10)).recommend(C, 4)
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
    model = fitted(shop_of, ItemKnnConfig(shrinkage=0))
    rows, scores = model.similar(np.arange(4, dtype=np.int32), 3)
    assert rows.tolist() == [[Q, S, -1], [S, P, -1], [-1, -1, -1], [Q, P, -1]]
    assert scores[0] == pytest.approx([2 / sqrt(6), 2 / sqrt(8), -np.inf])


def test_only_so_many_neighbors_are_kept_beside_the_item_itself(shop_of: Any):
    model = fitted(shop_of, ItemKnnConfig(neighbors=1, shrinkage=0))
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
