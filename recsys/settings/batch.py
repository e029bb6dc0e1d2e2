"""Settings of the batch half: lake, evaluation, model search, lists, schedule."""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import (
    STRICT,
    CronOrNever,
    Days,
    DaysOrForever,
    Length,
    Memory,
    OptionalLength,
    Positive,
    TimeZone,
    check_clock_zone,
)


@dataclass(frozen=True, config=STRICT)
class Lake:
    """How events are stored in the lake."""

    buckets: Annotated[int, Field(ge=1, le=1000)] = 1
    """Number of buckets that users are hashed into. A step holds one bucket in memory: plan for about 5 million
    events per bucket."""


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """How models are compared."""

    validation_days: Days = 28.0
    """Length of the validation window, on which the published model is chosen; it ends where the test window
    starts. Both windows are shortened, in proportion, to at most half of a shorter history."""
    test_days: Days = 28.0
    """Length of the test window, which ends at `as_of`; its results are reported and choose nothing. It is also
    shortened for a shorter history."""
    folds: Positive = 1
    """Number of consecutive test windows, each before the next, on which every model is measured to see whether its
    results are stable over time."""
    relevant_events: tuple[str, ...] = ()
    """Names of the events that count as a hit. If empty, only purchases do where the lake has any, and every event
    with a positive weight elsewhere."""
    cutoffs: tuple[Positive, ...] = (5, 10, 20)
    """List lengths k at which metrics are computed, as in ndcg@k."""
    metric: str = "ndcg@20"
    """Metric by which the published model is chosen."""
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.005
    """Smallest relative gain that matters. A blend replaces the best single model only if it gains at least this
    share on users that did not choose its weights, with a 95 % confidence interval above 0; the same holds for the
    weights of a segment. The report says of smaller differences that they are too small to matter."""
    light_user_events: Positive | None = None
    """Number of events below which a user counts as light; users without events are new, the others heavy. If not
    set, the number that makes `light_user_share` of the users of the validation window light."""
    light_user_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the measured users, those with the fewest events, that count as light."""
    max_users: Positive = 20_000
    """Maximum number of users measured on a window; a random sample if there are more."""
    head_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of all interactions that belongs to the head: the most popular items that together make up this
    share."""

    @property
    def cutoff(self) -> int:
        """Return the k of `metric`."""
        return int(self.metric.partition("@")[2])


@dataclass(frozen=True, config=STRICT)
class Search:
    """Limits of the search for the best models and their hyperparameters."""

    budget: Annotated[float, Field(gt=0)] = 1_000.0
    """Units of work that the search may cost, with the later fits of the models that it keeps. A unit is a billion
    elementary operations, about a second of one processor core; the machine does not change what is found."""
    max_minutes: Annotated[float, Field(gt=0)] = 60.0
    """Minutes after which the search is stopped whatever its budget: it fits no further model and tries no further
    hyperparameters, and a faster machine may find others. The run's manifest and report say so."""
    max_memory: Memory | None = None
    """Memory limit of one fit, such as `8GB`; the memory available on the machine if not set."""
    max_trials: Annotated[int, Field(ge=0)] = 24
    """Maximum number of hyperparameter sets tried per model, the configured one included; 0 or 1 tries only that
    one."""
    ranker_windows: Annotated[int, Field(ge=0)] = 4
    """Maximum number of earlier windows that the second stage, which ranks the candidates of the best models, is
    trained on; its members are fitted once for each. 0 turns it off."""


@dataclass(frozen=True, config=STRICT)
class Lists:
    """Lengths of the published lists, and the items that are in none."""

    user_items: Length = 100
    """Maximum length of a user's list of recommendations."""
    again_items: OptionalLength = 50
    """Maximum length of a user's list of items bought before, those most likely to be bought again first, if
    `repeat` is allow; 0 turns it off."""
    new_items: OptionalLength = 50
    """Maximum length of a user's list of items never bought before, if `repeat` is allow; 0 turns it off. If
    `repeat` is exclude, the list of recommendations is that list."""
    similar_items: Length = 50
    """Maximum length of a list of similar items."""
    popular_items: Length = 200
    """Maximum length of the popular and trending lists."""
    history_items: Annotated[int, Field(ge=1, le=10_000)] = 1_000
    """Number of a user's latest items that serving excludes from every answer if `repeat` is exclude, and otherwise
    from the lists of items never bought before; as many disliked items are excluded in any case."""
    not_recommendable: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Patterns, such as `POST` or `*gift card*`, of the ids, titles or category names of items that are no goods.
    They are kept out of features, models, lists and answers."""
    never_show: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The same patterns for goods that no list should show, such as fuel, bottle deposits or tobacco. Models learn
    from their purchases; they are in no list and no answer, and count as no hit when models are measured."""
    max_per_type: Annotated[int, Field(ge=0)] = 2
    """Maximum number of items of one product type in any ten consecutive places of a list or an answer; 0 for no
    limit. A user who bought more of a type on one day, on two days at least, has as many: see
    [variety](variety.md)."""
    max_per_title: Annotated[int, Field(ge=0)] = 1
    """The same for items whose titles are equal but for upper case, spaces and punctuation."""
    max_exposure: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Maximum share of the users in whose first ten places an item is; 1 for no limit."""
    variant_attributes: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Attributes of items, such as `size`, by which each user's lists show the variant of a group that is most like
    what the user has bought."""


@dataclass(frozen=True, config=STRICT)
class Forecasts:
    """Forecasts of what each customer does next: orders, churn, spend and categories."""

    enabled: bool = True
    """Whether the nightly run learns and writes them."""
    max_users: Positive = 10_000
    """Maximum number of users that they are learned from, drawn at random; all users get them."""
    category_level: Positive = 2
    """Number of names at which category paths are cut, the root first: with 2, `["Dairy", "Milk", "Oat"]` counts as
    `["Dairy", "Milk"]`."""


@dataclass(frozen=True, config=STRICT)
class Retention:
    """How long data is kept; `recsys retention` removes what is older."""

    event_days: DaysOrForever = 0.0
    """Days for which events stay in the lake, by their own time, whole days (UTC); 0 keeps them. An ingest leaves
    out older ones."""
    impression_days: DaysOrForever = 0.0
    """Days for which the items shown online stay in the lake; 0 keeps them."""
    quarantine_days: DaysOrForever = 0.0
    """Days for which rows that broke a rule stay in quarantine, from when they were written; 0 keeps them."""
    run_days: DaysOrForever = 0.0
    """Days for which a run is kept, from its `as_of`; 0 keeps all. The latest complete and the live one stay."""
    audit_days: DaysOrForever = 0.0
    """Days for which actions stay in the audit log; 0 keeps them. Whole logs are removed: the log is rotated every
    half of these days."""


@dataclass(frozen=True, config=STRICT)
class Schedule:
    """When `recsys schedule` runs each job, and what it does when a job fails."""

    nightly: CronOrNever = "30 2 * * *"
    """Cron expression of the nightly run; an empty string turns it off."""
    trending: CronOrNever = "15 * * * *"
    """Cron expression of the update of the trending list; an empty string turns it off."""
    archive: CronOrNever = "*/15 * * * *"
    """Cron expression of the job that moves events received online to the lake; an empty string turns it off."""
    retention: CronOrNever = "50 3 * * *"
    """Cron expression of the job that removes old data, see `retention`; an empty string turns it off."""
    time_zone: Annotated[TimeZone, AfterValidator(check_clock_zone)] = "UTC"
    """Time zone of the cron expressions."""
    misfire_grace_seconds: Positive = 21_600
    """Seconds by which a job may start late; later than that, it waits for its next scheduled time."""
    retries: Annotated[int, Field(ge=0)] = 3
    """Number of times a failed job is retried."""
    backoff_seconds: Annotated[float, Field(gt=0)] = 60.0
    """Seconds before the first retry; the delay doubles with each retry."""
    max_backoff_seconds: Annotated[float, Field(gt=0)] = 3_600.0
    """Maximum seconds before a retry."""
    stop_seconds: Annotated[float, Field(ge=0)] = 30.0
    """Seconds that a job has to finish when the scheduler is stopped; then it is killed."""
