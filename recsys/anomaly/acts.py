"""Acts of a user, and how the lines of an order become one act."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

ORDER_MS: Final = 5_000
"""Longest time between the first and the last line of an order."""


class Act(NamedTuple):
    """An event: its Unix milliseconds, item and name, and of purchases and refunds the quantity."""

    at_ms: int
    item_id: str
    event: str
    quantity: float = 0.0
    """0 where it is not given."""


def merge_order_lines(acts: Sequence[Act], order_events: Collection[str]) -> list[Act]:
    """Keep only the first line of each order, and return acts in order of time; `acts` may be in any order.

    Lines of an order are events of one name among `order_events`, such as purchases, of different items, within
    `ORDER_MS`. A shop may send a hundred at once, with the time of the order or with the times of sending.
    """
    kept: list[Act] = []
    started: dict[str, int] = {}
    ordered: dict[str, set[str]] = {}
    for act in sorted(acts):
        if act.event in order_events:
            items = ordered.setdefault(act.event, set())
            if act.at_ms - started.get(act.event, -ORDER_MS - 1) > ORDER_MS:
                started[act.event] = act.at_ms
                items.clear()
            elif act.item_id not in items:
                items.add(act.item_id)
                continue
            items.add(act.item_id)
        kept.append(act)
    return kept
