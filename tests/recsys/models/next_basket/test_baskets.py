from typing import Any

import numpy as np

from recsys.models._purchases.purchase_days import purchase_days
from recsys.models.next_basket.baskets import group_into_baskets

BUY, SEND_BACK, VIEW = 5.0, -5.0, 1.0


def test_baskets_are_days_numbered_back_from_each_users_latest(shop_of: Any):
    """Rows: users a b c, items p q r. The refund leaves b without a basket 8 days ago; c only looks."""
    events = [
        ("a", "p", 30.75, BUY),
        ("a", "q", 30.25, BUY),
        ("a", "p", 12.5, BUY),
        ("a", "p", 12.25, BUY),
        ("a", "r", 12.0, BUY),
        ("b", "p", 8.5, BUY),
        ("b", "p", 7.5, SEND_BACK),
        ("b", "q", 90.5, BUY),
        ("c", "p", 1.0, VIEW),
    ]
    baskets = group_into_baskets(purchase_days(shop_of(events)))
    entries = sorted(zip(baskets.user_rows, baskets.item_rows, baskets.positions, strict=True))
    assert entries == [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 1, 0)]
    assert baskets.counts.tolist() == [2, 1, 0]
    assert baskets.user_items.toarray().tolist() == [[1, 1, 1], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(baskets.item_share, [1 / 3, 2 / 3, 1 / 3], rtol=1e-6)
    sums = baskets.sum_entries(np.where(baskets.positions == 0, 2.0, 0.0))
    assert sums.toarray().tolist() == [[2, 0, 2], [0, 2, 0], [0, 0, 0]]
    assert sums.nnz == 3
