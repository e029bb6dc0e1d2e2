"""Durations of the stages of a request, and their results for requests with `debug`."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from serving.api import Removal, Stage
from serving.engine.filters import Removals


@dataclass(slots=True)
class Trace:
    """Durations of the stages of one request, and with `debug` the stages themselves."""

    seconds: dict[str, float]
    """Stage -> duration."""
    stages: list[Stage] | UnsetType
    started: float

    @classmethod
    def start(cls, debug: bool) -> "Trace":
        """Start the clock of the first stage."""
        return cls({}, [] if debug else UNSET, time.perf_counter())

    def finish(
        self, name: str, items: Iterable[str] = (), removed: Removals | None = None, note: str | None = None
    ) -> None:
        """End a stage and start the clock of the next."""
        now = time.perf_counter()
        seconds, self.started = now - self.started, now
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        if self.stages is not UNSET:
            removals = [Removal(reason, item_ids) for reason, item_ids in (removed or {}).items()]
            self.stages.append(Stage(name, seconds * 1e6, list(items), removals or UNSET, note or UNSET))
