"""What a session says of an item in the end: purchases without what was returned, and dislikes not taken back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from recsys.anomaly.acts import Act
from recsys.schema import CART, DEFAULT_DISLIKE_WEIGHT, PURCHASE, REFUND

ProductOf = Callable[[str], int | str]
"""Returns the product that an item is a variant of: all variants of a product are one item."""

_MIN_UNITS: Final = 1e-9  # less is a rounding error of sums of quantities such as 0.1


def without_returned(acts: Sequence[Act], product_of: ProductOf = str) -> Sequence[Act]:
    """Return acts without the purchases of which no unit is left; all are latest first.

    A refund takes units of the latest purchases of the product before it, as `features.returns` does by night.
    """
    returned = {product_of(act.item_id) for act in acts if act.event == REFUND}
    if not returned:
        return acts
    products = [product_of(act.item_id) for act in acts]
    stacks: dict[int | str, list[tuple[int, float]]] = {}
    latest: dict[int | str, float] = {}
    concerned = [place for place, product in enumerate(products) if product in returned]
    for place in sorted(concerned, key=lambda place: (acts[place].at_ms, acts[place].event != PURCHASE, -place)):
        act, product = acts[place], products[place]
        if act.event == PURCHASE:
            latest[product] = act.quantity or 1.0
            stacks.setdefault(product, []).append((place, latest[product]))
        elif act.event == REFUND:
            _take(stacks.get(product, []), act.quantity or latest.get(product, 1.0))
    kept = {place for stack in stacks.values() for place, _ in stack}
    return [
        act
        for place, act in enumerate(acts)
        if act.event != PURCHASE or products[place] not in returned or place in kept
    ]


def cart_items(acts: Sequence[Act], weights: Mapping[str, float], product_of: ProductOf = str) -> list[str]:
    """Return the items in the cart, the latest first, from acts that are latest first.

    An item is in the cart from its cart event until a purchase of its product, or an event with a negative weight.
    """
    last: dict[int | str, Act] = {}
    for act in acts:
        if act.event in (CART, PURCHASE) or weights.get(act.event, 0.0) < 0:
            last.setdefault(product_of(act.item_id), act)
    return [act.item_id for act in last.values() if act.event == CART]


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
    product_of: ProductOf = str,
) -> frozenset[str]:
    """Return the items that the user dislikes, where no event of the product after it weighs as much or more.

    `disliked_before` were disliked before `since_ms`, when the nightly run read the events; an event since then
    takes that back if it weighs as much as any dislike.
    """
    dislikes = find_dislikes(acts, negative_weights)
    if not dislikes and not disliked_before:
        return disliked_before
    before = max((-weight for weight in negative_weights.values()), default=-DEFAULT_DISLIKE_WEIGHT)
    needed: dict[int | str, tuple[int, float]] = {}
    for item_id, dislike in [
        *dislikes.items(),
        *((item_id, (since_ms - 1, before)) for item_id in disliked_before),
    ]:
        product = product_of(item_id)
        needed[product] = max(dislike, needed.get(product, dislike))
    taken_back = {
        product
        for act in without_returned(acts, product_of)
        if (product := product_of(act.item_id)) in needed
        and act.at_ms > needed[product][0]
        and weights.get(act.event, 0.0) >= needed[product][1]
    }
    items = dislikes.keys() | disliked_before
    return frozenset(item_id for item_id in items if product_of(item_id) not in taken_back)


def _take(stack: list[tuple[int, float]], units: float) -> None:
    """Take units from the top of a stack of purchases and their units."""
    while stack and units > _MIN_UNITS:
        place, left = stack.pop()
        if left > units + _MIN_UNITS:
            stack.append((place, left - units))
        units -= left
