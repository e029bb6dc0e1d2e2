"""What the report is made of, in plain values."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from recsys.data.quality import QuarantineCounts, SchemaChange, SourceCounts
from recsys.data.splits import Windows
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.metrics.classification import CategoryMeasurement
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
class StepUsage:
    """What one step of the run took."""

    name: str
    seconds: float
    peak_memory: int
    """In bytes."""
    events: int | None = None
    """How many events it worked on; None for a step that works on something else."""


@dataclass(frozen=True)
class ListedItem:
    """An item as a list shows it."""

    item_id: str
    title: str | None
    category: str | None = None


@dataclass(frozen=True)
class Example:
    """One user's recent items, newest first, and the list the user gets, best first."""

    user_id: str
    segment: str
    """New, light or heavy."""
    source: str
    """The model that made the list."""
    recent: tuple[ListedItem, ...]
    recommended: tuple[ListedItem, ...]


@dataclass(frozen=True)
class Fold:
    """The models on one of the windows that follow each other in time."""

    start: datetime
    end: datetime
    measurements: tuple[ModelMeasurement, ...]


@dataclass(frozen=True)
class BlendMember:
    """One model's part in the blend."""

    name: str
    weight_by_segment: Mapping[str, float]
    """Segment of users -> weight of the model's scores for them."""
    gain_without: float | None
    """Change of the metric on the validation window when the blend does without this model, below 0 where it is
    needed; None where that was not tried."""


@dataclass(frozen=True)
class BlendSummary:
    """How the blend of models is made up."""

    members: tuple[BlendMember, ...]
    chosen: bool
    """Whether the blend, rather than one model, is published."""


@dataclass(frozen=True)
class SearchedModel:
    """What became of one candidate in the search for models and settings."""

    name: str
    metric: float | None
    """On the validation window, as it went on to the blend; None where it was left out."""
    seconds: float
    """Of fitting it and ranking by it once."""
    trials: int
    """Settings that were tried, its own among them."""
    gain: float
    """By how much the best of them beat its own, on the users that settings are tuned on."""
    values: Mapping[str, float]
    """What was found and is used; empty where its own settings stay."""
    left_out: str | None
    """Why it takes no part."""


@dataclass(frozen=True)
class CategoryExample:
    """An item with the category that is proposed for it, beside the one it has, if any."""

    item: ListedItem
    proposed: str
    confidence: float


@dataclass(frozen=True)
class CategorySummary:
    """What was proposed for items without a category."""

    items_without: int
    """Items without a category, in the catalogue or only in the events."""
    with_events: int
    """Those of them that users want: the others cannot be told apart."""
    proposed: int
    """Those that got a proposal."""
    least_confidence: float
    """What a proposal needs to be made."""
    skipped: str | None = None
    """Why nothing was proposed; None where it was tried."""
    measured: CategoryMeasurement | None = None
    examples: tuple[CategoryExample, ...] = ()
    """Proposals for items without a category and, where these are few, for items that nothing was learned from."""


@dataclass(frozen=True)
class ScreenedMetric:
    """One metric of what is published on clean users, as it learned without the screened users and with them."""

    metric: str
    without: float
    with_all: float
    interval: tuple[float, float]
    """95 % interval of the difference, the first less the second, over the same users."""


@dataclass(frozen=True)
class ScreenComparison:
    """How the published model does on users who were not screened out, and how it would have done."""

    users: int
    """Those who came back in the test window and wanted something."""
    metrics: tuple[ScreenedMetric, ...]


@dataclass(frozen=True)
class Suspect:
    """A user who is suspected, and why."""

    user_id: str
    score: float
    """0 to 100."""
    screened: bool
    origin: str
    """Who found the user: an analyst's label, the online half, the nightly detectors."""
    events: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ScreeningSummary:
    """Who was taken for no shopper, and what that changed."""

    shadow: bool
    """Whether they were only looked for, and models learned from everyone."""
    users: int
    events: int
    """All users and events that were looked at, impressions left out."""
    screened_users: int
    screened_events: int
    by_origin: Mapping[str, int]
    """Screened users by who found them."""
    reasons: tuple[tuple[str, int], ...]
    """What was unusual and for how many screened users, the most frequent first."""
    suspects: tuple[Suspect, ...]
    """Some of the highest scores, the highest first."""
    bots: int
    """Users whom analysts call bots."""
    fine: int
    """Users whom analysts call fine."""
    has_labeled_detector: bool
    """Whether there were labels enough for a detector to learn from them."""
    min_labels: int
    """How many that takes."""
    comparison: ScreenComparison | None = None


@dataclass(frozen=True)
class Report:
    """One run's report. `validation` and `test` measure the same models, on which the winner is chosen on the
    first and only reported on the second.
    """

    title: str
    windows: Windows
    evaluation: Evaluation
    repeat: str
    winner: str
    validation: tuple[ModelMeasurement, ...]
    test: tuple[ModelMeasurement, ...]
    data: DataSummary
    sources: tuple[SourceCounts, ...]
    steps: tuple[StepUsage, ...]
    examples: tuple[Example, ...]
    settings: Mapping[str, str]
    quarantine: QuarantineCounts = QuarantineCounts((), 0)
    schema_changes: tuple[SchemaChange, ...] = ()
    folds: tuple[Fold, ...] = ()
    """The oldest first, the test window last; none without cross-validation."""
    blend: BlendSummary | None = None
    search: tuple[SearchedModel, ...] = ()
    categories: CategorySummary | None = None
    screening: ScreeningSummary | None = None
    """None where nobody was looked for."""

    @property
    def cutoff(self) -> int:
        """The k of the metric that the winner is chosen by."""
        return self.evaluation.cutoff

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
