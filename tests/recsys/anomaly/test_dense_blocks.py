import numpy as np
from scipy.sparse import csr_matrix

from recsys.anomaly.dense_blocks import find_dense_blocks
from tests.recsys.anomaly.graphs import added, by_degrees

USERS, ITEMS = 1_500, 600


def test_a_farm_under_camouflage_is_found_by_both_its_sides() -> None:
    shop = by_degrees(USERS, ITEMS, 20_000, seed=0)
    random = np.random.default_rng(1)
    users = np.bincount(shop.indices, minlength=ITEMS)
    farm = np.argsort(users, kind="stable")[:12]
    accounts = [
        [*random.choice(farm, 5, replace=False), *random.choice(ITEMS, 10, replace=False, p=users / users.sum())]
        for _ in range(40)
    ]
    blocks = find_dense_blocks(added(shop, accounts))
    caught = {int(user) for block in blocks for user in block.users}
    fake = set(range(USERS, USERS + 40))
    assert len(caught & fake) >= 30
    assert len(caught - fake) <= 4
    assert set(farm.tolist()) == set(blocks[0].items.tolist())
    assert 0.3 < blocks[0].density < 0.5  # five of twelve


def test_heavy_users_of_popular_items_are_no_farm() -> None:
    assert find_dense_blocks(by_degrees(1_000, 400, 25_000, seed=0)) == []


def test_no_entries_no_blocks() -> None:
    assert find_dense_blocks(csr_matrix((0, 10))) == []
