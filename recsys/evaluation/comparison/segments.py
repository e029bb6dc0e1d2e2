"""Parts of users and of items that are worth measuring apart."""

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics.ranking import Counts

Mask = NDArray[np.bool_]

NEW = "new"
LIGHT = "light"
HEAVY = "heavy"
HEAD = "head"
TAIL = "tail"

FEW_USERS = 100  # a mean over fewer says little


def user_segments(event_counts: Counts, light_user_events: int) -> dict[str, Mask]:
    """Which users are new (no event), light (fewer than `light_user_events`) or heavy, each (users,)."""
    new = event_counts == 0
    heavy = event_counts >= light_user_events
    return {NEW: new, LIGHT: ~new & ~heavy, HEAVY: heavy}


def head_items(item_counts: Counts, head_share: float) -> Mask:
    """The fewest, most popular items that make `head_share` of all interactions, (items,).

    `item_counts` (items,) counts each item's interactions; of equals the lower item row comes first.
    """
    order = np.argsort(-item_counts, kind="stable")
    before = item_counts[order].cumsum() - item_counts[order]
    # 1e-9 keeps a share that is met exactly from taking one item more for the rounding of the product.
    needed = head_share * item_counts.sum() * (1 - 1e-9)
    head = np.zeros(len(item_counts), dtype=np.bool_)
    head[order[before < needed]] = True
    return head
