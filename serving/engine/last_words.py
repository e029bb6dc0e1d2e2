"""What a session says of an item in the end: purchases without what was returned, and dislikes not taken back."""

from collections.abc import Mapping, Sequence
from typing import Final

from recsys.anomaly.acts import Act
from recsys.schema import CART, DEFAULT_DISLIKE_WEIGHT, PURCHASE, REFUND

_MIN_UNITS: Final = 1e-9  # less is a rounding error of sums of quantities such as 0.1


def without_returned(acts: Sequence[Act]) -> Sequence[Act]:
    """Return acts without the purchases of which no unit is left; all are latest first.

    A refund takes units of the latest purchases of the item before it, as `features.returns` does by night.
    """
    returned_items = {act.item_id for act in acts if act.event == REFUND}
    if not returned_items:
        return acts
    stacks: dict[str, list[tuple[int, float]]] = {}
    latest: dict[str, float] = {}
    concerned = [place for place, act in enumerate(acts) if act.item_id in returned_items]
    for place in sorted(concerned, key=lambda place: (acts[place].at_ms, acts[place].event != PURCHASE, -place)):
        act = acts[place]
        if act.event == PURCHASE:
            latest[act.item_id] = act.quantity or 1.0
            stacks.setdefault(act.item_id, []).append((place, latest[act.item_id]))
        elif act.event == REFUND:
            _take(stacks.get(act.item_id, []), act.quantity or latest.get(act.item_id, 1.0))
    kept = {place for stack in stacks.values() for place, _ in stack}
    return [
        act
        for place, act in enumerate(acts)
        if act.event != PURCHASE or act.item_id not in returned_items or place in kept
    ]


def cart_items(acts: Sequence[Act], weights: Mapping[str, float]) -> list[str]:
    """Return the items in the cart, the latest first, from acts that are latest first.

    An item is in the cart from its cart event until a purchase of it, or an event with a negative weight.
    """
    last: dict[str, Act] = {}
    for act in acts:
        if act.event in (CART, PURCHASE) or weights.get(act.event, 0.0) < 0:
            last.setdefault(act.item_id, act)
    return [item_id for item_id, act in last.items() if act.event == CART]


def find_dislikes(acts: Sequence[Act], negative_weights: Mapping[str, float]) -> dict[str, tuple[int, float]]:
    """Return the items disliked in the session, each with the time of the last dislike and what it weighs."""
    dislikes: dict[str, tuple[int, float]] = {}
    if negative_weights:
        for act in acts:
            weight = negative_weights.get(act.event)
            if weight is not None:
                dislikes[act.item_id] = max((act.at_ms, -weight), dislikes.get(act.item_id, (act.at_ms, -weight)))
    return dislikes


def disliked_items(
    acts: Sequence[Act],
    negative_weights: Mapping[str, float],
    weights: Mapping[str, float],
    disliked_before: frozenset[str] = frozenset(),
    since_ms: int = 0,
) -> frozenset[str]:
    """Return the items that the user dislikes, where no event after the dislike weighs as much or more.

    `disliked_before` were disliked before `since_ms`, when the nightly run read the events; an event since then
    takes that back if it weighs as much as any dislike.
    """
    dislikes = find_dislikes(acts, negative_weights)
    if not dislikes and not disliked_before:
        return disliked_before
    before = max((-weight for weight in negative_weights.values()), default=-DEFAULT_DISLIKE_WEIGHT)
    needed = dict(dislikes)
    for item_id in disliked_before:
        needed[item_id] = max((since_ms - 1, before), needed.get(item_id, (0, 0.0)))
    taken_back = {
        act.item_id
        for act in without_returned(acts)
        if act.item_id in needed
        and act.at_ms > needed[act.item_id][0]
        and weights.get(act.event, 0.0) >= needed[act.item_id][1]
    }
    return frozenset(needed.keys() - taken_back)


def _take(stack: list[tuple[int, float]], units: float) -> None:
    """Take units from the top of a stack of purchases and their units."""
    while stack and units > _MIN_UNITS:
        place, left = stack.pop()
        if left > units + _MIN_UNITS:
            stack.append((place, left - units))
        units -= left
