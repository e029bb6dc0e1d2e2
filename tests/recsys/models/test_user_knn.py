from typing import Any

import numpy as np
import pytest

from recsys.models.user_knn import UserKnn, UserKnnConfig

# User rows: 0 a of items p q s, 1 b of p q s, 2 c of q s, 3 d of r, 4 e of s.
ITEMS = {"a": "pqs", "b": "pqs", "c": "qs", "d": "r", "e": "s"}
EVENTS = [(user, item, 1.0, 1.0) for user, items in ITEMS.items() for item in items]
USERS_OF = {item: sum(item in items for items in ITEMS.values()) for item in "pqrs"}
P, Q, R, S = range(4)


@pytest.mark.parametrize("asymmetry", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shrinkage", [0.0, 4.0])
def test_likeness_is_what_the_docstring_says(shop_of: Any, asymmetry: float, shrinkage: float):
    config = UserKnnConfig(asymmetry=asymmetry, shrinkage=shrinkage, item_exponent=0.5, locality=3)
    result = UserKnn(config).fit(shop_of(EVENTS)).closest.toarray()
    for one, items in enumerate(ITEMS.values()):
        for other, others in enumerate(ITEMS.values()):
            shared = sum(USERS_OF[item] ** -0.5 for item in set(items) & set(others))
            lengths = (len(items) + shrinkage) ** (1 - asymmetry) * (len(others) + shrinkage) ** asymmetry
            assert result[one, other] == pytest.approx((shared / lengths) ** 3), (one, other)


def test_a_score_by_hand(shop_of: Any):
    """By cosine, user c is like a and b each 2 / sqrt(6), like e 1 / sqrt(2), and like itself 1."""
    config = UserKnnConfig(shrinkage=0, item_exponent=0, locality=1)
    rows, scores = UserKnn(config).fit(shop_of(EVENTS)).recommend(np.array([2], np.int32), 4)
    a_or_b, e = 2 / 6**0.5, 1 / 2**0.5
    assert rows.tolist() == [[S, Q, P, R]]
    assert scores[0] == pytest.approx([1 + 2 * a_or_b + e, 1 + 2 * a_or_b, 2 * a_or_b, 1 / 5 - 1])


def test_only_so_many_neighbors_count_beside_the_user(shop_of: Any):
    config = UserKnnConfig(neighbors=1, shrinkage=0, item_exponent=0)
    result = UserKnn(config).fit(shop_of(EVENTS)).closest
    assert np.diff(result.indptr).tolist() == [2, 2, 2, 1, 2]
    assert (result.diagonal() > 0).all()


def test_an_item_of_fewer_users_makes_more_alike(shop_of: Any):
    """f shares q, of 5, with one user and the rarer t, of 2, with another."""
    events = [("f", "q"), ("f", "t"), ("g", "q"), ("h", "t"), ("i", "q"), ("j", "q"), ("k", "q")]
    shop = shop_of([(user, item, 1.0, 1.0) for user, item in events])
    even, uneven = (UserKnn(UserKnnConfig(item_exponent=power)).fit(shop).closest.toarray() for power in (0, 1))
    assert even[0, 1] == even[0, 2]
    assert uneven[0, 2] > uneven[0, 1]


def test_similarity_damped_without_limit_leaves_popularity(shop_of: Any):
    model = UserKnn(UserKnnConfig(item_exponent=1e4)).fit(shop_of(EVENTS))
    rows, scores = model.recommend(np.array([2], np.int32), 4)
    assert rows.tolist() == [[S, Q, P, R]]
    assert scores[0] == pytest.approx([4 / 5 - 1, 3 / 5 - 1, 2 / 5 - 1, 1 / 5 - 1])
