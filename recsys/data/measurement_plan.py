"""The windows that models are measured on, fitted to the length of the history."""

import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from recsys.settings import Evaluation

MIN_WINDOW_DAYS: Final = 1
"""Days of a shortened window at least: shorter ones would compare the hours of a day with each other."""
MAX_WINDOWS_SHARE: Final = 0.5
"""Share of the history that both windows take at most; the train window has the rest."""


@dataclass(frozen=True)
class WindowLengths:
    """The lengths of the validation and the test window in days, and the number of test windows."""

    validation_days: float
    test_days: float
    folds: int

    @classmethod
    def of(cls, evaluation: Evaluation) -> "WindowLengths":
        """Return the lengths in the settings."""
        return cls(evaluation.validation_days, evaluation.test_days, evaluation.folds)

    def apply(self, evaluation: Evaluation) -> Evaluation:
        """Return the settings with these lengths."""
        return replace(evaluation, validation_days=self.validation_days, test_days=self.test_days, folds=self.folds)

    @property
    def min_history_days(self) -> int:
        """Return the days of history with which the windows need not be shortened."""
        return math.ceil((self.validation_days + self.test_days) / MAX_WINDOWS_SHARE)


@dataclass(frozen=True)
class MeasurementPlan:
    """The windows that a run measures on, or the reason why it measures nothing."""

    first: datetime
    """The time of the first event."""
    as_of: datetime
    configured: WindowLengths
    used: WindowLengths
    """The configured lengths if they fit; if nothing is measured, those, and a single test window."""
    obstacle: str | None = None
    """Why nothing can be measured; None if the run measures."""
    relevant_events: tuple[str, ...] = ()
    """Names of the events that count as a hit; every event with a positive weight if empty."""

    @property
    def is_shortened(self) -> bool:
        """Return whether the windows are shorter, or fewer, than configured."""
        return self.used != self.configured

    @property
    def history_days(self) -> int:
        """Return the days from the first event to `as_of`, a begun day as a whole one."""
        return count_days(self.first, self.as_of)

    @property
    def required_days(self) -> int:
        """Return the days of history from which on models can be measured."""
        return min(self.configured.min_history_days, _min_history_days())

    @property
    def measured_from(self) -> datetime | None:
        """Return the day from whose start the history is long enough to measure; None if it is so already."""
        return None if self.history_days >= self.required_days else self._day(self.required_days)

    @property
    def complete_from(self) -> datetime | None:
        """Return the day from whose start the configured windows fit; None if they do already."""
        days = self.configured.min_history_days
        return None if self.history_days >= days else self._day(days)

    def _day(self, days: int) -> datetime:
        """Return the first `as_of`, at the same time of day, with `days` of history."""
        return self.as_of + timedelta(days=days - self.history_days)


def count_days(first: datetime, as_of: datetime) -> int:
    """Count the days from `first` to `as_of`, a begun day as a whole one."""
    return math.ceil((as_of - first) / timedelta(days=1))


def fit_windows(configured: WindowLengths, history_days: int) -> WindowLengths | None:
    """Shorten the windows in proportion to whole days, so that both take at most half of the history.

    There are as many test windows as fit into the other half, at least one. Returns the configured lengths if they
    fit, and None if the history is too short for two windows of `MIN_WINDOW_DAYS`.
    """
    if history_days >= configured.min_history_days:
        return configured
    if history_days < _min_history_days():
        return None
    days = math.floor(history_days * MAX_WINDOWS_SHARE)
    share = configured.test_days / (configured.validation_days + configured.test_days)
    test = max(MIN_WINDOW_DAYS, min(days - MIN_WINDOW_DAYS, math.floor(days * share)))
    test_days = min(configured.test_days, float(test))
    validation_days = min(configured.validation_days, float(days - test))
    return WindowLengths(validation_days, test_days, max(1, min(configured.folds, math.floor(days / test_days))))


def _min_history_days() -> int:
    return math.ceil(2 * MIN_WINDOW_DAYS / MAX_WINDOWS_SHARE)
