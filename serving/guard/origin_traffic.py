"""Distinct items of busy IP addresses and distinct users of busy devices, counted in HyperLogLogs by the hour.

Only origins with many events in the hour are counted, because every counted origin takes keys of its own.
"""

from collections.abc import Callable, Mapping
from typing import Final

from recsys.anomaly.scoring import HIGH_TRAFFIC_EVENTS
from recsys.anomaly.windows import bucket_number
from recsys.store.keys import Keys
from serving.guard.counters import Cell, KeyedCommand
from serving.guard.observation import HOUR, HOUR_MS, BatchObservations

MAX_BUSY: Final = 100_000
"""Busy origins that a worker remembers."""
KEPT_MS: Final = 2 * HOUR_MS


class OriginTraffic:
    """Remembers which origins are busy, and encodes the commands that count their items and users."""

    def __init__(self, keys: Keys) -> None:
        """Start without busy origins."""
        self._keys = keys
        self._busy: set[tuple[Cell, int]] = set()
        """Cells of addresses and devices, each with the hour in which it is busy."""

    def count_busy(self, observations: BatchObservations) -> list[KeyedCommand]:
        """Return the commands that count the items and users of origins already known to be busy."""
        hour = bucket_number(observations.now_ms, HOUR_MS)
        return self._count(observations, lambda cell: (cell, hour) in self._busy)

    def count_newly_busy(
        self, observations: BatchObservations, counts: Mapping[tuple[int, int], Mapping[Cell, int]]
    ) -> list[KeyedCommand]:
        """Remember the origins that have become busy by `counts`, and return the commands that count them.

        `counts` has the events in each cell of each bucket after this batch.
        """
        hour = bucket_number(observations.now_ms, HOUR_MS)
        hour_counts = counts.get((HOUR, hour), {})
        cells = {
            cell for use in observations.origin_uses for cell in (use.origin.address_cell, use.origin.device_cell)
        }
        newly_busy = {
            cell
            for cell in cells
            if hour_counts.get(cell, 0) >= HIGH_TRAFFIC_EVENTS and (cell, hour) not in self._busy
        }
        if len(self._busy) > MAX_BUSY:
            self._busy.clear()
        self._busy |= {(cell, hour) for cell in newly_busy}
        return [
            command
            for key, added in self._count(observations, newly_busy.__contains__)
            for command in ((key, added), (key, ("PEXPIRE", key, KEPT_MS)))
        ]

    def _count(self, observations: BatchObservations, is_busy: Callable[[Cell], bool]) -> list[KeyedCommand]:
        hour = bucket_number(observations.now_ms, HOUR_MS)
        members: dict[str, set[str]] = {}
        for origin, item_id, user_id in observations.origin_uses:
            if is_busy(origin.address_cell):
                members.setdefault(self._keys.address_items(origin.address or "", hour), set()).add(item_id)
            if is_busy(origin.device_cell):
                members.setdefault(self._keys.device_users(origin.device or "", hour), set()).add(user_id)
        return [(key, ("PFADD", key, *added)) for key, added in members.items()]
