"""What a fit of many epochs is given beside its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Training:
    """What a fit is given beside its settings."""

    checkpoint: Path | None = None
    """Where the state is kept after each epoch; a fit that finds one there goes on from it."""
    seconds: float | None = None
    """No step is done after so many seconds; an epoch that is not whole by then does not count."""
    on_epoch: Callable[[int, int], None] = lambda _done, _epochs: None
    """Called after each epoch with how many are done, and how many there may be."""


ALONE = Training()
