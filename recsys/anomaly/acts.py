"""What a user has done lately, with the lines of an order as one act."""

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

ORDER_MS: Final = 5_000
"""Lines of one order come within so long."""


class Act(NamedTuple):
    """An event: its Unix milliseconds, item and name."""

    at_ms: int
    item_id: str
    event: str


def merged(acts: Sequence[Act], order_events: Collection[str]) -> list[Act]:
    """Acts, the earliest first, without all lines of an order but the first; `acts` may come in any order.

    Lines of an order are events of one name among `order_events`, as purchases, of different items, within
    `ORDER_MS`; a shop may send a hundred of them at once, with one time or with those of when each was sent.
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
