"""Models side by side on one window: means over users, intervals, segments, and which one is best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.errors import SettingsError
from recsys.evaluation.comparison.bootstrap import RESAMPLES, bootstrap_means, confidence_interval
from recsys.evaluation.comparison.ground_truth import GroundTruth, Relevance, restrict
from recsys.evaluation.comparison.segments import HEAD, NEW, TAIL, Mask
from recsys.evaluation.metrics.catalogue import count_exposure, coverage, exposure_curve, gini, novelty
from recsys.evaluation.metrics.diversity import path_diversity, user_diversity
from recsys.evaluation.metrics.popularity_bias import PopularityBias, mean_over_lists, measure_popularity_bias
from recsys.evaluation.metrics.ranking import Values, evaluate_lists, metric_names
from recsys.ids import Rows
from recsys.settings import Evaluation

CURVE_POINTS = 101


@dataclass(frozen=True)
class SegmentMeasurement:
    """Means over the users of one segment; no metrics where it was not measured."""

    users: int
    metrics: dict[str, float]
    interval: tuple[float, float] | None = None
    """95 % interval of the metric that models are chosen by; None where it was not measured."""


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
    """Coverage, Gini index, novelty, popularity, share of head items and diversity at k; the last is missing
    where no list has two items that can be compared."""
    diversity_by: Literal["categories", "shoppers"]
    """Whether diversity is by the items' categories or by who has them."""
    popularity_bias: dict[str, PopularityBias]
    """What all users, light and heavy ones are shown, had and wanted, at the cutoff models are chosen by."""
    exposure_curve: tuple[float, ...]
    """Share of all places taken by the most shown 0 %, 1 % … 100 % of the items, at the largest cutoff."""
    resampled: tuple[float, ...]
    """Means of the metric that models are chosen by, one a resample; the same users for every model."""


def check_metric(evaluation: Evaluation) -> None:
    """Raise `SettingsError` when `evaluation.metric` is not among what is measured."""
    names = metric_names(evaluation.cutoffs)
    if evaluation.metric not in names:
        raise SettingsError(f"evaluation.metric = {evaluation.metric!r}: expected one of {', '.join(names)}")


def measure_model(
    name: str,
    recommended: Rows,
    ground_truth: GroundTruth,
    evaluation: Evaluation,
    seed: int,
    fallback: Rows | None = None,
) -> ModelMeasurement:
    """Measure a model's lists, (U, n) item rows for `ground_truth.user_rows`, n at least the largest cutoff.

    `fallback` (n,) is the list that users without history get; without one they are only counted.
    Raises `SettingsError` when `evaluation.metric` is not among what is measured.
    """
    check_metric(evaluation)
    names = metric_names(evaluation.cutoffs)
    values = _evaluate(recommended, ground_truth.returning, evaluation)
    parts = {
        **{segment: _measure_users(values, users) for segment, users in ground_truth.segments.items()},
        HEAD: _measure_items(recommended, ground_truth, ground_truth.head, evaluation, with_unknown=False),
        TAIL: _measure_items(recommended, ground_truth, ~ground_truth.head, evaluation, with_unknown=True),
    }
    columns = [*(values[metric] for metric in names), *(part[evaluation.metric] for part in parts.values())]
    resampled = bootstrap_means(np.column_stack(columns), RESAMPLES, seed)
    exposure = count_exposure(recommended[:, : max(evaluation.cutoffs)], len(ground_truth.head))
    k = evaluation.cutoff
    return ModelMeasurement(
        name=name,
        users=len(ground_truth.user_rows),
        cold_users=len(ground_truth.new.relevant_counts),
        metrics=_means(values),
        intervals={metric: confidence_interval(resampled[:, column]) for column, metric in enumerate(names)},
        segments={
            NEW: _measure_new_users(fallback, ground_truth.new, evaluation, seed),
            **{
                part: _summarize(of_users, resampled[:, len(names) + number], evaluation.metric)
                for number, (part, of_users) in enumerate(parts.items())
            },
        },
        catalogue=_measure_catalogue(recommended, ground_truth, evaluation, seed),
        diversity_by="shoppers" if ground_truth.item_paths is None else "categories",
        popularity_bias=measure_popularity_bias(recommended[:, :k], ground_truth),
        exposure_curve=tuple(exposure_curve(exposure, CURVE_POINTS).tolist()),
        resampled=tuple(resampled[:, names.index(evaluation.metric)].tolist()),
    )


def choose(measurements: Sequence[ModelMeasurement], metric: str) -> str:
    """The name of the model with the highest mean of `metric`; of equals the first by name."""
    return min(measurements, key=lambda model: (-model.metrics[metric], model.name)).name


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


def _measure_new_users(
    fallback: Rows | None, wanted: Relevance, evaluation: Evaluation, seed: int
) -> SegmentMeasurement:
    users = len(wanted.relevant_counts)
    if fallback is None or users == 0:
        return SegmentMeasurement(users, {})
    lists = np.broadcast_to(fallback, (users, len(fallback)))
    values = _evaluate(lists, wanted, evaluation)
    resampled = bootstrap_means(values[evaluation.metric][:, None], RESAMPLES, seed)
    return _summarize(values, resampled[:, 0], evaluation.metric)


def _measure_users(values: dict[str, Values], users: Mask) -> dict[str, Values]:
    """The values of some of the users; not a number for the others."""
    return {metric: np.where(users, of_users, np.nan) for metric, of_users in values.items()}


def _measure_items(
    recommended: Rows, ground_truth: GroundTruth, items: Mask, evaluation: Evaluation, *, with_unknown: bool
) -> dict[str, Values]:
    """The values of the users who wanted some of the items, by those alone; not a number for the others."""
    wanted, users = restrict(ground_truth.returning, items, with_unknown=with_unknown)
    values = {metric: np.full(len(users), np.nan) for metric in metric_names(evaluation.cutoffs)}
    for metric, of_users in _evaluate(recommended[users], wanted, evaluation).items():
        values[metric][users] = of_users
    return values


def _summarize(values: dict[str, Values], resampled: Values, metric: str) -> SegmentMeasurement:
    """Means over the users who have a value, with the interval of the one metric that was resampled."""
    users = int((~np.isnan(values[metric])).sum())
    if users == 0:
        return SegmentMeasurement(0, {})
    means = {name: float(np.nanmean(of_users)) for name, of_users in values.items()}
    return SegmentMeasurement(users, means, confidence_interval(resampled))


def _measure_catalogue(
    recommended: Rows, ground_truth: GroundTruth, evaluation: Evaluation, seed: int
) -> dict[str, float]:
    values: dict[str, float] = {}
    popularity = ground_truth.item_users / ground_truth.users
    diversity = (
        user_diversity(recommended, ground_truth.user_items, evaluation.cutoffs, seed)
        if ground_truth.item_paths is None
        else path_diversity(recommended, ground_truth.item_paths, evaluation.cutoffs)
    )
    for k in evaluation.cutoffs:
        lists = recommended[:, :k]
        exposure = count_exposure(lists, len(ground_truth.head))
        values[f"coverage@{k}"] = coverage(exposure)
        values[f"gini@{k}"] = gini(exposure)
        values[f"novelty@{k}"] = novelty(exposure, ground_truth.item_users, ground_truth.users)
        values[f"popularity@{k}"] = _mean_of_known(mean_over_lists(lists, popularity))
        values[f"head_share@{k}"] = float(exposure[ground_truth.head].sum() / max(1, exposure.sum()))
        if not np.isnan(diversity[k]).all():
            values[f"diversity@{k}"] = _mean_of_known(diversity[k])
    return values


def _mean_of_known(of_users: Values) -> float:
    known = of_users[~np.isnan(of_users)]
    return float(known.mean()) if len(known) else 0.0
