"""Settings of the batch half: lake, evaluation, model search, lists, schedule."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import STRICT, CronOrNever, Days, Length, Memory, Positive, TimeZone, check_clock_zone


@dataclass(frozen=True, config=STRICT)
class Lake:
    """Where events are kept."""

    buckets: Annotated[int, Field(ge=1, le=1000)] = 1
    """A user's events lie in one of so many buckets; a step holds one in memory: about 5 million events."""


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How models are compared."""

    validation_days: Days = 28.0
    """Window on which the published model is chosen, just before the test window."""
    test_days: Days = 28.0
    """Last window before `as_of`, only reported."""
    folds: Positive = 1
    """Test windows, each before the other, that every model is measured on to see whether results last."""
    relevant_events: tuple[str, ...] = ()
    """Events that count as a hit; all of positive weight where none is named."""
    cutoffs: tuple[Positive, ...] = (5, 10, 20)
    """The k of every metric at k."""
    metric: str = "ndcg@20"
    """What the published model is chosen by."""
    light_user_events: Positive = 20
    """A user with fewer events than this is light, with none new, with more heavy."""
    users: Positive = 20_000
    """Most users that are measured on a window, drawn at random."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """The share of all interactions that the head items make."""

    @property
    def cutoff(self) -> int:
        """The k of the metric that the published model is chosen by."""
        return int(self.metric.partition("@")[2])


@dataclass(frozen=True, config=STRICT)
class Search:
    """What may be spent on choosing models and their settings."""

    minutes: Annotated[float, Field(gt=0)] = 10.0
    """No candidate is fitted, and no other settings are tried, after so long; fits and lists come on top."""
    memory: Memory | None = None
    """Most that a fit may take, as `8GB`; without it what the machine has left."""
    trials: Annotated[int, Field(ge=0)] = 24
    """Most settings of a model that are tried, its own among them; 0 or 1 for none but its own."""


@dataclass(frozen=True, config=STRICT)
class Lists:
    """What is published."""

    user_items: Length = 100
    """Longest list of a user."""
    similar_items: Length = 50
    """Longest list of similar items."""
    popular_items: Length = 200
    """Longest popular and trending list."""
    history_items: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Latest items of a user that serving keeps out of every answer, where `repeat` is exclude."""


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """When `recsys schedule` runs what, and what it does when that fails."""

    nightly: CronOrNever = "30 2 * * *"
    """Cron expression of the nightly run; an empty one for never."""
    trending: CronOrNever = "15 * * * *"
    """Cron expression of the trending list's renewal; an empty one for never."""
    archive: CronOrNever = "*/15 * * * *"
    """Cron expression of the archive of what was taken in online; an empty one for never."""
    time_zone: Annotated[TimeZone, AfterValidator(check_clock_zone)] = "UTC"
    """Time zone of the cron expressions."""
    misfire_grace_seconds: Positive = 21_600
    """A job that could not start at its time starts up to so much later, after that not until its next time."""
    retries: Annotated[int, Field(ge=0)] = 3
    """How often a failed job is tried again."""
    backoff_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Wait before the first retry; it doubles with each."""
    max_backoff_seconds: Annotated[float, Field(gt=0)] = 3_600.0
    """Longest wait before a retry."""
    stop_seconds: Annotated[float, Field(ge=0)] = 30.0
    """How long a job has to end when the scheduler is told to stop; then it is killed."""
