"""The budget of a search: units of work, which are the same on every machine, and a hard stop in minutes."""

import time
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from jobs.pipeline.evaluation_window import MAX_NEW_ITEM_USERS, EvaluationWindow
from jobs.pipeline.models import build_configured_model
from recsys.memory import available_bytes
from recsys.models.base import Model
from recsys.settings import Settings

EPOCHS: Final = "epochs"


@dataclass(frozen=True)
class Cost:
    """The work of one model on a window, in units."""

    fit: float
    ranking: float
    """Of ranking items for all of the window's users."""
    refits: float
    """Of the fits and rankings of the steps after the search, if the model is kept: at most one on each test
    window, and one fit on all events."""

    @property
    def first_fit(self) -> float:
        """Return the work of one fit and one ranking."""
        return self.fit + self.ranking

    @property
    def total(self) -> float:
        """Return the work of the first fit and ranking, and of those that follow if the model is kept."""
        return self.first_fit + self.refits


def estimate_cost(name: str, window: EvaluationWindow, settings: Settings) -> Cost:
    """Estimate the work of the model called `name` with its settings, from the size of the window alone."""
    return _cost(build_configured_model(name, settings), window, settings)


def affordable_epochs(name: str, window: EvaluationWindow, settings: Settings, work: float) -> int:
    """Return the largest number of epochs, at most the configured one, whose total work is at most `work`.

    It is 0 if no epoch is affordable, or if the model has none.
    """
    model = build_configured_model(name, settings)
    epochs = config_epochs(model)
    if not epochs:
        return 0
    one, two = (_cost(_with_epochs(model, number), window, settings).total for number in (1, 2))
    if one > work:
        return 0
    return min(epochs, 1 + int((work - one) / max(two - one, 1e-12)))


def config_epochs(model: Model) -> int:
    """Return the number of epochs in a model's config, 0 if it has no such field."""
    names = [field.name for field in fields(model.config_type)]
    return int(getattr(model.config, EPOCHS)) if EPOCHS in names else 0


def describe_lack_of_memory(name: str, window: EvaluationWindow, settings: Settings) -> str | None:
    """Say why a fit of the model would take too much memory; None if it would not."""
    needed = build_configured_model(name, settings).bytes_needed(*_size(window))
    limit = settings.search.max_memory or available_bytes()
    if needed <= limit:
        return None
    return f"it needs {needed / 2**20:,.0f} MB of memory, and {limit / 2**20:,.0f} MB may be taken"


class Budget:
    """The work that was spent and is reserved, and the clock of the hard stop."""

    def __init__(self, work: float, minutes: float) -> None:
        """Start the clock."""
        self._started = time.monotonic()
        self._minutes = minutes
        self.work = work
        self.spent = 0.0
        self.reserved = 0.0
        """Work of the refits of the models that are kept."""
        self.has_struck = False
        """Whether the hard stop kept the search from work that the budget allows."""

    @property
    def left(self) -> float:
        """Return the units of work that are neither spent nor reserved."""
        return self.work - self.spent - self.reserved

    @property
    def seconds(self) -> float:
        """Return the time since the start."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float:
        """Return the time until the hard stop."""
        return max(0.0, 60 * self._minutes - self.seconds)

    def is_stopped(self) -> bool:
        """Return whether the hard stop has come, and remember that it kept the search from further work."""
        self.has_struck = self.has_struck or not self.seconds_left
        return self.has_struck

    @property
    def stop_reason(self) -> str | None:
        """Say when the search was stopped; None if it was not."""
        if not self.has_struck:
            return None
        return f"search.max_minutes = {self._minutes:g}: the search was stopped before its work was done"


def _cost(model: Model, window: EvaluationWindow, settings: Settings) -> Cost:
    users, items, interactions = _size(window)
    ranked = len(window.ground_truth.user_rows)
    fit = model.work(users, items, interactions)
    ranking = model.ranking_work(ranked, items, round(interactions * ranked / users))
    if window.exclude_owned is not None:
        ranking *= 1 + min(1.0, MAX_NEW_ITEM_USERS / ranked)  # new items are ranked once more
    return Cost(fit, ranking, settings.evaluation.folds * (fit + ranking) + fit)


def _size(window: EvaluationWindow) -> tuple[int, int, int]:
    """Return the numbers of users, items and interactions."""
    return (*window.interactions.shape, window.interactions.user_items.nnz)


def _with_epochs(model: Model, epochs: int) -> Model:
    config: Any = replace(model.config, epochs=epochs)
    return type(model)(config)
