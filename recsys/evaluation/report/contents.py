"""The contents of the report, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from recsys.data.measurement_plan import MeasurementPlan
from recsys.data.quality import QuarantineCounts, SchemaChange, SourceCounts
from recsys.data.splits import TimeSplit
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.metrics.classification import CategoryMeasurement
from recsys.evaluation.report.forecast_contents import ForecastSummary
from recsys.evaluation.report.list_contents import ListPart, NewUsers
from recsys.evaluation.report.variety_text import VarietySummary
from recsys.settings import Evaluation


@dataclass(frozen=True)
class DataSummary:
    """Statistics of the events that the run was trained and evaluated on."""

    users: int
    items: int
    events: int
    first_day: date
    last_day: date
    events_per_day: tuple[tuple[date, int], ...]
    """Days in order; days without events are missing."""
    events_per_type: Mapping[str, int]
    median_events_per_user: float
    items_for_most_events: float
    """Share of the items that account for 80 % of the events."""
    variants: int = 0
    """Items of the catalogue in a group; all of a group count as one item."""
    groups: int = 0
    uncatalogued_items: int = 0
    """Items with events that the catalogue lacks; they are in no model and no list."""
    uncatalogued_events: int = 0
    empty_purchases: int = 0
    """Purchases of quantity 0, which count as nothing."""


@dataclass(frozen=True)
class StepUsage:
    """Duration and memory of one step of the run."""

    name: str
    seconds: float
    peak_memory: int
    """In bytes."""
    events: int | None = None
    """The number of events that the step processed; None for a step that does not process events."""


@dataclass(frozen=True)
class ListedItem:
    """An item of an example list."""

    item_id: str
    title: str | None
    category: str | None = None


@dataclass(frozen=True)
class Example:
    """One user's recent items, newest first, and the recommended items, best first."""

    user_id: str
    segment: str
    """`new`, `light` or `heavy`."""
    source: str
    """The model that made the list."""
    recent: tuple[ListedItem, ...]
    recommended: tuple[ListedItem, ...]


@dataclass(frozen=True)
class Fold:
    """The models' measurements on one of several consecutive windows."""

    start: datetime
    end: datetime
    measurements: tuple[ModelMeasurement, ...]


@dataclass(frozen=True)
class BlendMember:
    """A model of the blend."""

    name: str
    weight_by_segment: Mapping[str, float]
    """Segment of users -> weight of the model's scores for them."""
    gain_without: float | None
    """Change of the metric on the validation window when this model is removed, negative where it is needed; None
    where that was not measured."""


@dataclass(frozen=True)
class BlendSummary:
    """The members of the blend and their weights."""

    members: tuple[BlendMember, ...]
    chosen: bool
    """Whether the blend is published rather than a single model."""
    gain: float | None = None
    """Gain in NDCG over the best single model on validation users that did not choose the weights."""


@dataclass(frozen=True)
class RankerFeature:
    """A feature of the second stage."""

    name: str
    importance: float
    """Share of the gain of all splits."""
    values: tuple[float, ...] = ()
    """Values of the feature, ascending; empty where its effect is not plotted."""
    probabilities: tuple[float, ...] = ()
    """Mean probability of purchase of the candidates at each of `values`."""


@dataclass(frozen=True)
class RankerSummary:
    """The second stage, which ranks the candidates of several models."""

    members: tuple[str, ...]
    windows: int
    """Number of windows that it was trained on; 0 if it could not be trained."""
    rejected: str | None
    """Why it is not published; None if it is."""
    gain: float
    """Metric on the validation window minus that of the best model without it."""
    features: tuple[RankerFeature, ...]
    """The most important first."""


@dataclass(frozen=True)
class SearchedModel:
    """The result of the model and settings search for one model."""

    name: str
    metric: float | None
    """Metric on the validation window with the settings used; None where the model was never ranked."""
    seconds: float
    """Duration of its fits and rankings."""
    trials: int
    """The number of settings evaluated tonight, including those that tuning started from."""
    gain: float
    """Gain of the settings used over the configured ones as a share of their metric, on users that did not choose
    them, over all nights that tuned them."""
    values: Mapping[str, float]
    """The tuned settings, by this night or an earlier one; empty where the configured ones are used."""
    left_out: str | None
    """Why the model was skipped; None where it was not."""
    work: float = 0.0
    """Units of work that the model cost, or would have cost where it was never fitted."""


@dataclass(frozen=True)
class SearchBudget:
    """The budget of the search and its use, in units of work."""

    budget: float
    search: float
    """Work of the search."""
    refits: float
    """Work of the later fits of its models, at most."""
    seconds: float
    """Duration of the search."""
    stopped: str | None = None
    """Why the search ended before its work was done; None where it did not."""

    def seconds_of(self, work: float) -> float:
        """Return the seconds that units of work take at the speed of the search."""
        return self.seconds * work / self.search if self.search else 0.0


@dataclass(frozen=True)
class CategoryExample:
    """An item with its proposed category and, where known, its actual one."""

    item: ListedItem
    proposed: str
    confidence: float


@dataclass(frozen=True)
class CategorySummary:
    """The proposals for items without a category."""

    items_without: int
    """Items of the catalogue or the events without a category."""
    with_events: int
    """Those of them with events, which the classifier needs."""
    proposed: int
    """Those of them with a proposal."""
    least_confidence: float
    """Confidence threshold of a proposal."""
    skipped: str | None = None
    """Why the classifier was not run; None where it was."""
    measured: CategoryMeasurement | None = None
    examples: tuple[CategoryExample, ...] = ()
    """Proposals for items without a category and, where these are few, for held-out items."""


@dataclass(frozen=True)
class ScreenedMetric:
    """A metric of the published model, trained without and with the bots' events, for all other users."""

    metric: str
    without: float
    with_all: float
    interval: tuple[float, float]
    """95 % confidence interval of `without - with_all`, paired over the same users."""


@dataclass(frozen=True)
class ScreenComparison:
    """The effect of excluding the bots' events from training, for users not classified as bots."""

    users: int
    """Users with history and a relevant item in the test window."""
    metrics: tuple[ScreenedMetric, ...]


@dataclass(frozen=True)
class Suspect:
    """A user's anomaly score with its reasons."""

    user_id: str
    score: float
    """0 to 100."""
    screened: bool
    origin: str
    """Source of the classification: `label`, `online` or `nightly`."""
    events: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ScreeningSummary:
    """The users classified as bots, and the effect of excluding them."""

    shadow: bool
    """Whether bots are only reported, and models are trained on the events of all users."""
    users: int
    events: int
    """All classified users and their events, without impressions."""
    screened_users: int
    screened_events: int
    by_origin: Mapping[str, int]
    """Users classified as bots, by source of the classification."""
    reasons: tuple[tuple[str, int], ...]
    """Reason and number of users, the most frequent first."""
    suspects: tuple[Suspect, ...]
    """Users with the highest scores, the highest first."""
    bots: int
    """Users labeled as bots by analysts."""
    fine: int
    """Users labeled as legitimate by analysts."""
    has_labeled_detector: bool
    """Whether there were enough labels to train a supervised detector."""
    min_labels: int
    """The number of labels that a supervised detector needs."""
    comparison: ScreenComparison | None = None


@dataclass(frozen=True)
class Report:
    """The report of one run.

    `validation` and `test` measure the same models, or none if that was not possible. The winner is chosen on the
    first; the second is held out.
    """

    title: str
    windows: TimeSplit
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
    quarantine: QuarantineCounts = field(default_factory=QuarantineCounts)
    schema_changes: tuple[SchemaChange, ...] = ()
    folds: tuple[Fold, ...] = ()
    """The oldest first, the test window last; empty without cross-validation."""
    blend: BlendSummary | None = None
    ranker: RankerSummary | None = None
    """None where the second stage is off."""
    list_parts: tuple[ListPart, ...] = ()  # empty where items are not repeated
    new_users: NewUsers | None = None
    search: tuple[SearchedModel, ...] = ()
    search_budget: SearchBudget | None = None
    categories: CategorySummary | None = None
    screening: ScreeningSummary | None = None
    """None where bot detection is off."""
    plan: MeasurementPlan | None = None
    """How the windows were chosen; None if they have their configured lengths."""
    variety: VarietySummary | None = None
    """None if no user has a list."""
    forecasts: ForecastSummary | None = None
    """None where forecasts are off."""

    @property
    def is_measured(self) -> bool:
        """Return whether models were measured; otherwise `validation` and `test` are empty."""
        return bool(self.test)

    @property
    def cutoff(self) -> int:
        """Return the k of the metric that the winner is chosen by."""
        return self.evaluation.cutoff

    @property
    def winner_on_validation(self) -> ModelMeasurement:
        """Return the winner's measurement on the validation window."""
        return find_model(self.validation, self.winner)

    @property
    def winner_on_test(self) -> ModelMeasurement:
        """Return the winner's measurement on the test window."""
        return find_model(self.test, self.winner)


def find_model(measurements: tuple[ModelMeasurement, ...], name: str) -> ModelMeasurement:
    """Return the measurement of the model called `name`; raise `ValueError` if there is none."""
    for measurement in measurements:
        if measurement.name == name:
            return measurement
    raise ValueError(f"no measurement of {name!r}")
