"""User segments by the number of events (new, light, heavy), and head and tail items."""

import math

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.metrics.ranking import Counts

Mask = NDArray[np.bool_]

NEW = "new"
LIGHT = "light"
HEAVY = "heavy"
HEAD = "head"
TAIL = "tail"

MIN_RELIABLE_USERS = 100  # a mean over fewer users is not reliable


def find_light_user_events(event_counts: Counts, share: float) -> int:
    """Return the smallest number of events that at least `share` of the users stay below.

    `event_counts` (users,) are those of users with events. Users with the same number are in one segment.

    >>> find_light_user_events(np.array([1, 1, 1, 9]), 0.5), find_light_user_events(np.array([3, 5, 7, 9]), 0.5)
    (2, 6)
    """
    if not len(event_counts):
        return 1
    place = math.ceil(share * len(event_counts)) - 1
    return int(np.partition(event_counts, place)[place]) + 1


def user_segments(event_counts: Counts, light_user_events: int) -> dict[str, Mask]:
    """Assign users to new (no event), light (fewer than `light_user_events`) and heavy, each a mask (users,)."""
    new = event_counts == 0
    heavy = event_counts >= light_user_events
    return {NEW: new, LIGHT: ~new & ~heavy, HEAVY: heavy}


def head_items(item_counts: Counts, head_share: float) -> Mask:
    """Select the smallest set of most popular items with `head_share` of all interactions, as a mask (items,).

    `item_counts` (items,) counts each item's interactions; ties go to the lower item row.
    """
    order = np.argsort(-item_counts, kind="stable")
    before = item_counts[order].cumsum() - item_counts[order]
    # 1e-9 keeps rounding of the product from adding one more item where the share is met exactly.
    needed = head_share * item_counts.sum() * (1 - 1e-9)
    head = np.zeros(len(item_counts), dtype=np.bool_)
    head[order[before < needed]] = True
    return head
