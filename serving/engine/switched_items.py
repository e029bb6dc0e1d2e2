"""The items that were switched on or off online, as a worker remembers them should Redis lose its data."""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from recsys.store.item_changes import CHANGED_AT, UPDATED_AT, Facts
from serving.engine.catalogue import Catalogue
from serving.engine.offers import AVAILABILITY

LATELY_SECONDS: Final = 600.0
"""Seconds for which an item that was switched counts as changed lately: it may soon be switched again."""


class SwitchedItems:
    """Items that are switched off, each with the change that did it, and those switched on or off lately."""

    def __init__(self, kept_days: float, now: Callable[[], float] = time.monotonic) -> None:
        """Create it empty; a change older than `kept_days` is the catalogue's to know."""
        self._kept = timedelta(days=kept_days)
        self._now = now
        self._off: dict[str, dict[str, Any]] = {}
        self._switched: dict[str, float] = {}

    @property
    def off(self) -> dict[str, Facts]:
        """Return the items that are switched off, each with the change that did it, which has its time."""
        return dict(self._off)

    def note(
        self, catalogue: Catalogue, changes: Iterable[tuple[str, Facts]], before: frozenset[str] | None
    ) -> None:
        """Note changes that were applied to a catalogue, of which the items `before` were unavailable before.

        With `before` None the changes are old, and no item was switched lately.
        """
        for item_id, change in changes:
            facts = {name: change[name] for name in AVAILABILITY if name in change}
            if not facts:
                continue
            is_off = item_id in catalogue.unavailable
            if is_off and UPDATED_AT in change:
                self._off[item_id] = {**facts, UPDATED_AT: _last_time(change) or change[UPDATED_AT]}
            else:
                self._off.pop(item_id, None)
            if before is not None and is_off != (item_id in before):
                self._switched.pop(item_id, None)
                self._switched[item_id] = self._now()

    def note_switched(self, item_ids: Iterable[str]) -> None:
        """Note items that were switched lately before the process started."""
        self._switched |= dict.fromkeys(item_ids, self._now())

    def note_off(self, off: Mapping[str, Facts]) -> None:
        """Note items that were switched off before the process started, as `off` had them."""
        self._off |= {item_id: dict(change) for item_id, change in off.items()}

    def find_stored(self, catalogue: Catalogue) -> list[str]:
        """Return the items of which Redis has to know that they are switched off: no version knows it yet."""
        return [
            item_id
            for item_id, change in self._off.items()
            if item_id in catalogue.unavailable and not self._is_known(change, item_id, catalogue)
        ]

    def find_lost(self, stored: Mapping[str, Facts], catalogue: Catalogue) -> dict[str, dict[str, Any]]:
        """Return the changes that switched items off and that neither Redis nor a version has; the others are told.

        `stored` are all changes that Redis has.
        """
        lost: dict[str, dict[str, Any]] = {}
        for item_id, change in list(self._off.items()):
            if self._is_known(change, item_id, catalogue):
                del self._off[item_id]
            elif item_id not in stored or _last_time(stored[item_id]) < change[UPDATED_AT]:
                lost[item_id] = change
        return lost

    def _is_known(self, change: Facts, item_id: str, catalogue: Catalogue) -> bool:
        made_at, known_until = datetime.fromisoformat(change[UPDATED_AT]), catalogue.known_changes.get(item_id)
        return (known_until is not None and made_at <= known_until) or made_at < _add(catalogue.as_of, -self._kept)

    def find_lately(self) -> frozenset[str]:
        """Return the items switched on or off lately, and forget the others."""
        earliest = self._now() - LATELY_SECONDS
        self._switched = {item_id: at for item_id, at in self._switched.items() if at >= earliest}
        return frozenset(self._switched)


def _last_time(change: Facts) -> str:
    """Return the time of the last change of an item's availability, empty if it has none."""
    times: Mapping[str, str] | None = change.get(CHANGED_AT)
    if times is None:
        return "" if AVAILABILITY.isdisjoint(change) else change.get(UPDATED_AT) or ""
    return max([times[name] for name in AVAILABILITY if name in times], default="")


def _add(time: datetime, difference: timedelta) -> datetime:
    try:
        return time + difference
    except OverflowError:
        return time
