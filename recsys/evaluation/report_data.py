"""What the report is made of, in plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from recsys.data.splits import Windows
from recsys.evaluation.comparison import ModelMeasurement
from recsys.settings import Evaluation


@dataclass(frozen=True)
class DataSummary:
    """The events that the run learned from and was measured on."""

    users: int
    items: int
    events: int
    first_day: date
    last_day: date
    events_per_day: tuple[tuple[date, int], ...]
    """Days in order; one that is missing had no event."""
    events_per_type: Mapping[str, int]
    median_events_per_user: float
    items_for_most_events: float
    """Share of the items that make 80 % of the events."""


@dataclass(frozen=True)
class SourceCounts:
    """What became of the rows of one source."""

    name: str
    rows_read: int
    accepted: int
    duplicates: int
    quarantined: int
    """Rows set aside."""
    rules: Mapping[str, int]
    """Rule -> rows that broke it; a row may break several."""


@dataclass(frozen=True)
class Step:
    """What one step of the run took."""

    name: str
    seconds: float
    peak_memory: int
    """In bytes."""


@dataclass(frozen=True)
class ListedItem:
    """An item as a list shows it."""

    item_id: str
    title: str | None


@dataclass(frozen=True)
class Example:
    """One user's recent items, newest first, and the list the user gets, best first."""

    user_id: str
    recent: tuple[ListedItem, ...]
    recommended: tuple[ListedItem, ...]


@dataclass(frozen=True)
class Report:
    """One run's report. `validation` and `test` measure the same models, on which the winner is chosen on the
    first and only reported on the second."""

    title: str
    windows: Windows
    evaluation: Evaluation
    repeat: str
    winner: str
    validation: tuple[ModelMeasurement, ...]
    test: tuple[ModelMeasurement, ...]
    data: DataSummary
    sources: tuple[SourceCounts, ...]
    steps: tuple[Step, ...]
    examples: tuple[Example, ...]
    settings: Mapping[str, str]

    @property
    def cutoff(self) -> int:
        """The k of the metric that the winner is chosen by."""
        return int(self.evaluation.metric.partition("@")[2])

    @property
    def winner_on_validation(self) -> ModelMeasurement:
        """The winner where it was chosen."""
        return find_model(self.validation, self.winner)

    @property
    def winner_on_test(self) -> ModelMeasurement:
        """The winner where nothing was chosen."""
        return find_model(self.test, self.winner)


def find_model(measurements: tuple[ModelMeasurement, ...], name: str) -> ModelMeasurement:
    """The measurement of one model; raises `ValueError` when it is not there."""
    for measurement in measurements:
        if measurement.name == name:
            return measurement
    raise ValueError(f"no measurement of {name!r}")
