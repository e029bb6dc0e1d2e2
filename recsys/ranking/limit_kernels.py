"""Compiled loops that reorder lists so that no label has more places than its limit. Import inside functions."""

import numpy as np
from numpy.typing import NDArray

from recsys.compiled import compiled

Integers = NDArray[np.int32]
Offsets = NDArray[np.int64]
Mask = NDArray[np.bool_]


@compiled
def _add(labels: Integers, counts: Integers, change: int) -> None:
    """Change the counts of an item's labels, (kinds,) or -1."""
    for label in labels:
        if label >= 0:
            counts[label] += change


@compiled
def _has_room(labels: Integers, counts: Integers, limits: Integers) -> bool:
    """Return whether all labels of an item are below their limits."""
    has_room = True
    for label in labels:
        if label >= 0 and counts[label] >= limits[label]:
            has_room = False
    return has_room


@compiled
def _choose(
    candidates: Integers, first: int, is_left: Mask, labels: Integers, counts: Integers, limits: Integers
) -> int:
    """Return the place of the first candidate from `first` on that is left and has room; `first` if none has."""
    for number in range(first, len(candidates)):
        if candidates[number] < 0:
            break
        if is_left[number] and _has_room(labels[candidates[number]], counts, limits):
            return number
    return first


@compiled
def _limit_list(
    candidates: Integers,
    labels: Integers,
    limits: Integers,
    withheld: Mask,
    window: int,
    counts: Integers,
    listed: Integers,
) -> None:
    """Fill one user's list; `counts` are 0, and are 0 again afterwards."""
    is_left = np.ones(len(candidates), np.bool_)
    first = 0
    last = 0
    for place in range(len(listed)):
        if place >= window:
            _add(labels[listed[place - window]], counts, -1)
        while first < len(candidates) and not is_left[first]:
            first += 1
        if first == len(candidates) or candidates[first] < 0:
            break
        allowed = is_left & ~withheld if place < window else is_left
        chosen = _choose(candidates, first, allowed, labels, counts, limits)
        is_left[chosen] = False
        listed[place] = candidates[chosen]
        _add(labels[candidates[chosen]], counts, 1)
        last = place + 1
    for place in range(last):
        for label in labels[listed[place]]:
            if label >= 0:
                counts[label] = 0


@compiled
def limit_lists(
    candidates: Integers,
    labels: Integers,
    limits: Integers,
    offsets: Offsets,
    raised_labels: Integers,
    raised_limits: Integers,
    withheld: Mask,
    window: int,
    listed: Integers,
) -> None:
    """Fill `listed`, (users, n), with candidates (users, depth), whose ends are -1, in an order that keeps limits.

    Each place takes the first candidate left of whose `labels`, (items, kinds) or -1, none has as many of the last
    `window` places as `limits`, (labels,), allow; the first of all if there is none. A user's own limits are
    `raised_limits` from `offsets[user]` on. A candidate that is `withheld`, (users, depth), is not among the first
    `window` places while another has room.
    """
    own = limits.copy()
    counts = np.zeros(len(limits), np.int32)
    for user in range(len(candidates)):
        for number in range(offsets[user], offsets[user + 1]):
            own[raised_labels[number]] = raised_limits[number]
        _limit_list(candidates[user], labels, own, withheld[user], window, counts, listed[user])
        for number in range(offsets[user], offsets[user + 1]):
            own[raised_labels[number]] = limits[raised_labels[number]]
