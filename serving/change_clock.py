"""The times of item changes: a hybrid logical clock, so that their order does not depend on clocks of servers."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from recsys.store.item_changes import CHANGED_AT, UPDATED_AT, Facts

TICK: Final = timedelta(microseconds=1)
EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


class ChangeClock:
    """Gives each change a time that is later than that of any change seen (Kulkarni et al. 2014).

    It follows the clock of the server as long as that is ahead of all changes; where it is behind, or jumps back, a
    change still comes after those before it, and after what the live version knows.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        """Create the clock; `now` returns Unix seconds."""
        self._now = now
        self._latest = EARLIEST

    def observe(self, time: datetime) -> None:
        """Note the time of a change, or of what a version knows, which all later changes come after."""
        self._latest = max(self._latest, time)

    def observe_changes(self, changes: Iterable[tuple[str, Facts]]) -> None:
        """Note the times of changes as Redis keeps them; one that cannot be read says nothing."""
        for _, facts in changes:
            times: Facts = facts.get(CHANGED_AT) or {}
            for text in (facts.get(UPDATED_AT), *times.values()):
                with suppress(ValueError):
                    self.observe(datetime.fromisoformat(str(text)))

    def tick(self) -> datetime:
        """Return the time of a new change."""
        self._latest = max(datetime.fromtimestamp(self._now(), UTC), self._latest + TICK)
        return self._latest
