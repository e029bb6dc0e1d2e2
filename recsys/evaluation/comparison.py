"""Models side by side on one window: means over users, intervals, segments, and which one is best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import SettingsError
from recsys.evaluation.catalogue_metrics import count_exposure, coverage, exposure_curve, gini, novelty
from recsys.evaluation.metrics import Values, evaluate_lists, metric_names
from recsys.evaluation.segments import HEAD, NEW, TAIL, Mask
from recsys.evaluation.truth import Relevance, Truth, restrict
from recsys.ids import Rows
from recsys.settings import Evaluation

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles
RESAMPLED_ENTRIES = 1 << 21  # users drawn at a time, over all resamples of a batch
CURVE_POINTS = 101


@dataclass(frozen=True)
class SegmentMeasurement:
    """Means over the users of one segment; no metrics where it was not measured."""

    users: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class ModelMeasurement:
    """One model on one window, in plain values: `dataclasses.asdict` of it is JSON."""

    name: str
    users: int
    """Users with history who wanted something: what the means are over."""
    cold_users: int
    """Users who wanted something and had no history."""
    metrics: dict[str, float]
    """Metric at k -> mean."""
    intervals: dict[str, tuple[float, float]]
    """Metric at k -> 95 % interval of the mean."""
    segments: dict[str, SegmentMeasurement]
    """New, light and heavy users, head and tail items."""
    catalogue: dict[str, float]
    """Coverage, Gini index and novelty at k."""
    exposure_curve: tuple[float, ...]
    """Share of all places taken by the most shown 0 %, 1 % … 100 % of the items, at the largest cutoff."""
    resampled: tuple[float, ...]
    """Means of the metric that models are chosen by, one a resample; the same users for every model."""


@dataclass(frozen=True)
class Lead:
    """How far the winner is ahead of the next best model, with the 95 % interval of the difference."""

    runner_up: str
    difference: float
    interval: tuple[float, float]


def measure(
    name: str,
    recommended: Rows,
    truth: Truth,
    evaluation: Evaluation,
    seed: int,
    fallback: Rows | None = None,
) -> ModelMeasurement:
    """Measure a model's lists, (U, n) item rows for `truth.user_rows`, n at least the largest cutoff.

    `fallback` (n,) is the list that users without history get; without one they are only counted.
    Raises `SettingsError` when `evaluation.metric` is not among what is measured.
    """
    names = metric_names(evaluation.cutoffs)
    if evaluation.metric not in names:
        raise SettingsError(f"evaluation.metric = {evaluation.metric!r}: expected one of {', '.join(names)}")
    values = _evaluate(recommended, truth.returning, evaluation)
    means = np.column_stack([values[metric] for metric in names])
    resampled = bootstrap_means(means, RESAMPLES, seed)
    low, high = np.percentile(resampled, INTERVAL, axis=0)
    exposure = count_exposure(recommended[:, : max(evaluation.cutoffs)], len(truth.head))
    return ModelMeasurement(
        name=name,
        users=len(truth.user_rows),
        cold_users=len(truth.new.relevant_counts),
        metrics=_means(values),
        intervals={metric: (float(low[i]), float(high[i])) for i, metric in enumerate(names)},
        segments={
            NEW: _measure_new_users(fallback, truth.new, evaluation),
            **{segment: _measure_users(values, users) for segment, users in truth.segments.items()},
            HEAD: _measure_items(recommended, truth, truth.head, evaluation, with_unknown=False),
            TAIL: _measure_items(recommended, truth, ~truth.head, evaluation, with_unknown=True),
        },
        catalogue=_measure_catalogue(recommended, truth, evaluation),
        exposure_curve=tuple(exposure_curve(exposure, CURVE_POINTS).tolist()),
        resampled=tuple(resampled[:, names.index(evaluation.metric)].tolist()),
    )


def choose(measurements: Sequence[ModelMeasurement], metric: str) -> str:
    """The name of the model with the highest mean of `metric`; of equals the first by name."""
    return min(measurements, key=lambda model: (-model.metrics[metric], model.name)).name


def find_lead(measurements: Sequence[ModelMeasurement], winner: str, metric: str) -> Lead | None:
    """How far `winner` is ahead of the best other model in `metric`, which the models were resampled by.

    None when there is no other model. Models of one window were resampled with the same users, so the
    interval is that of a paired difference. A negative difference means that another model is ahead.
    """
    models = {model.name: model for model in measurements}
    first = models.pop(winner)
    if not models:
        return None
    second = models[choose(list(models.values()), metric)]
    differences = np.array(first.resampled) - np.array(second.resampled)
    low, high = np.percentile(differences, INTERVAL)
    return Lead(second.name, first.metrics[metric] - second.metrics[metric], (float(low), float(high)))


def bootstrap_means(values: Values, resamples: int, seed: int) -> Values:
    """Means of `values` (U, M) over `resamples` draws of U users with replacement, (resamples, M).

    The draws depend on U and `seed` alone. (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993.)
    """
    generator = np.random.default_rng(seed)
    users = len(values)
    batch = max(1, RESAMPLED_ENTRIES // users)
    means = np.empty((resamples, values.shape[1]))
    for start in range(0, resamples, batch):
        size = min(batch, resamples - start)
        drawn = generator.integers(users, size=(size, users)) + np.arange(size)[:, None] * users
        times_drawn = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
        means[start : start + size] = times_drawn.astype(np.float64) @ values / users
    return means


def _evaluate(recommended: Rows, wanted: Relevance, evaluation: Evaluation) -> dict[str, Values]:
    return evaluate_lists(
        recommended,
        wanted.relevant,
        wanted.relevant_counts,
        wanted.candidate_counts,
        evaluation.cutoffs,
    )


def _means(values: dict[str, Values]) -> dict[str, float]:
    """The mean of each metric over users; nothing where there are none."""
    return {metric: float(of_users.mean()) for metric, of_users in values.items() if len(of_users)}


def _measure_new_users(fallback: Rows | None, wanted: Relevance, evaluation: Evaluation) -> SegmentMeasurement:
    users = len(wanted.relevant_counts)
    if fallback is None or users == 0:
        return SegmentMeasurement(users, {})
    lists = np.broadcast_to(fallback, (users, len(fallback)))
    return SegmentMeasurement(users, _means(_evaluate(lists, wanted, evaluation)))


def _measure_users(values: dict[str, Values], users: Mask) -> SegmentMeasurement:
    of_segment = {metric: of_users[users] for metric, of_users in values.items()}
    return SegmentMeasurement(int(users.sum()), _means(of_segment))


def _measure_items(
    recommended: Rows, truth: Truth, items: Mask, evaluation: Evaluation, *, with_unknown: bool
) -> SegmentMeasurement:
    wanted, users = restrict(truth.returning, items, with_unknown=with_unknown)
    return SegmentMeasurement(int(users.sum()), _means(_evaluate(recommended[users], wanted, evaluation)))


def _measure_catalogue(recommended: Rows, truth: Truth, evaluation: Evaluation) -> dict[str, float]:
    values: dict[str, float] = {}
    for k in evaluation.cutoffs:
        exposure = count_exposure(recommended[:, :k], len(truth.head))
        values[f"coverage@{k}"] = coverage(exposure)
        values[f"gini@{k}"] = gini(exposure)
        values[f"novelty@{k}"] = novelty(exposure, truth.item_users, truth.users)
    return values
