"""How long the stages of a request take, and what each comes to, for those who ask."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from msgspec import UNSET

from serving.api import Removal, Stage
from serving.engine.filters import Removals


@dataclass(slots=True)
class Trace:
    """How long each stage of one request took, and, where it is asked for, what came of it."""

    seconds: dict[str, float]
    stages: list[Stage] | None
    at: float

    @classmethod
    def start(cls, debug: bool) -> "Trace":
        """The clock starts now."""
        return cls({}, [] if debug else None, time.perf_counter())

    def done(
        self, name: str, items: Iterable[str] = (), removed: Removals | None = None, note: str | None = None
    ) -> None:
        """A stage has ended."""
        now = time.perf_counter()
        taken, self.at = now - self.at, now
        self.seconds[name] = self.seconds.get(name, 0.0) + taken
        if self.stages is not None:
            lost = [Removal(reason, ids) for reason, ids in (removed or {}).items()]
            self.stages.append(Stage(name, taken * 1e6, list(items), lost or UNSET, note or UNSET))
