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
                self._off[item_id] = {**facts, UPDATED_AT: _last_time(change)}
            else:
                self._off.pop(item_id, None)
            if before is not None and is_off != (item_id in before):
                self._switched.pop(item_id, None)
                self._switched[item_id] = self._now()

    def note_switched(self, item_ids: Iterable[str]) -> None:
        """Note items that were switched lately before the process started."""
        self._switched |= dict.fromkeys(item_ids, self._now())

    def find_lost(self, stored: Mapping[str, Facts], catalogue: Catalogue) -> dict[str, dict[str, Any]]:
        """Return the changes that switched items off and that neither Redis nor a version has; the others are told.

        `stored` are all changes that Redis has.
        """
        lost: dict[str, dict[str, Any]] = {}
        for item_id, change in list(self._off.items()):
            made_at = datetime.fromisoformat(change[UPDATED_AT])
            known_until = catalogue.known_changes.get(item_id)
            if (known_until is not None and made_at <= known_until) or made_at < _add(catalogue.as_of, -self._kept):
                del self._off[item_id]
            elif item_id not in stored or _last_time(stored[item_id]) < change[UPDATED_AT]:
                lost[item_id] = change
        return lost

    def find_lately(self) -> frozenset[str]:
        """Return the items switched on or off lately, and forget the others."""
        earliest = self._now() - LATELY_SECONDS
        self._switched = {item_id: at for item_id, at in self._switched.items() if at >= earliest}
        return frozenset(self._switched)


def _last_time(change: Facts) -> str:
    """Return the time of the last change of an item's availability, empty if it has none."""
    times: Mapping[str, str] = change.get(CHANGED_AT) or {}
    given = [times[name] for name in AVAILABILITY if name in times]
    return max(given, default=change.get(UPDATED_AT) or "")


def _add(time: datetime, difference: timedelta) -> datetime:
    try:
        return time + difference
    except OverflowError:
        return time
