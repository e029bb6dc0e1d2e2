"""Measure a model's lists on one window: means over users, confidence intervals, segments, catalogue metrics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.errors import SettingsError
from recsys.evaluation.comparison.bootstrap import RESAMPLES, bootstrap_means, confidence_interval
from recsys.evaluation.comparison.popularity_bias import PopularityBias, mean_over_lists, measure_popularity_bias
from recsys.evaluation.ground_truth import GroundTruth, Relevance, restrict
from recsys.evaluation.metrics.catalogue import count_exposure, coverage, exposure_curve, gini, novelty
from recsys.evaluation.metrics.diversity import path_diversity, user_diversity
from recsys.evaluation.metrics.ranking import Values, evaluate_lists, metric_names
from recsys.evaluation.segments import HEAD, NEW, TAIL, Mask
from recsys.ids import Rows
from recsys.settings import Evaluation

CURVE_POINTS = 101


@dataclass(frozen=True)
class SegmentMeasurement:
    """Means over the users of one segment; the metrics are empty where the segment was not measured."""

    users: int
    metrics: dict[str, float]
    interval: tuple[float, float] | None = None
    """95 % confidence interval of the selection metric; None where the segment was not measured."""


@dataclass(frozen=True)
class ModelMeasurement:
    """The measurement of one model on one window, in plain values that `dataclasses.asdict` converts to JSON."""

    name: str
    users: int
    """Users with history and a relevant item; the means are over these users."""
    cold_users: int
    """Users with a relevant item and no history."""
    metrics: dict[str, float]
    """Metric at k -> mean."""
    intervals: dict[str, tuple[float, float]]
    """Metric at k -> 95 % confidence interval of the mean."""
    segments: dict[str, SegmentMeasurement]
    """New, light and heavy users, head and tail items."""
    catalogue: dict[str, float]
    """Coverage, Gini index, novelty, popularity, share of head items and diversity at k; diversity is missing
    where no list has two comparable items."""
    diversity_by: Literal["categories", "shoppers"]
    """Whether diversity is based on the items' categories or on their users."""
    popularity_bias: dict[str, PopularityBias]
    """Segment (all, light, heavy) -> popularity of recommended, history and relevant items, at the cutoff of the
    selection metric."""
    exposure_curve: tuple[float, ...]
    """Share of the list positions taken by the most recommended 0 %, 1 % … 100 % of the items, at the largest
    cutoff."""
    resampled: tuple[float, ...]
    """Bootstrap means of the selection metric; each resample draws the same users for every model."""
    auc: float | None = None
    """Mean over a sample of the users of the area under the ROC curve over all items; None where the lists come
    without scores of all items, as those of a blend."""


def check_metric(evaluation: Evaluation) -> None:
    """Raise `SettingsError` if `evaluation.metric` is not one of the measured metrics."""
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

    `fallback` (n,) is the list that users without history get; without it they are only counted.
    Raises `SettingsError` if `evaluation.metric` is not one of the measured metrics.
    """
    check_metric(evaluation)
    names = metric_names(evaluation.cutoffs)
    values = _evaluate(recommended, ground_truth.returning, evaluation)
    by_segment = {
        **{segment: _measure_users(values, users) for segment, users in ground_truth.segments.items()},
        HEAD: _measure_items(recommended, ground_truth, ground_truth.head, evaluation, with_unknown=False),
        TAIL: _measure_items(recommended, ground_truth, ~ground_truth.head, evaluation, with_unknown=True),
    }
    columns = [*(values[metric] for metric in names), *(part[evaluation.metric] for part in by_segment.values())]
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
                segment: _summarize(segment_values, resampled[:, len(names) + number], evaluation.metric)
                for number, (segment, segment_values) in enumerate(by_segment.items())
            },
        },
        catalogue=_measure_catalogue(recommended, ground_truth, evaluation, seed),
        diversity_by="shoppers" if ground_truth.item_paths is None else "categories",
        popularity_bias=measure_popularity_bias(recommended[:, :k], ground_truth),
        exposure_curve=tuple(exposure_curve(exposure, CURVE_POINTS).tolist()),
        resampled=tuple(resampled[:, names.index(evaluation.metric)].tolist()),
    )


def select_best(measurements: Sequence[ModelMeasurement], metric: str) -> str:
    """Return the name of the model with the highest mean of `metric`; ties go to the first by name."""
    return rank_models(measurements, metric)[0].name


def rank_models(measurements: Iterable[ModelMeasurement], metric: str) -> list[ModelMeasurement]:
    """Sort models by the mean of `metric`, the highest first; ties are in order of name."""
    return sorted(measurements, key=lambda model: (-model.metrics[metric], model.name))


def _evaluate(recommended: Rows, relevance: Relevance, evaluation: Evaluation) -> dict[str, Values]:
    return evaluate_lists(
        recommended,
        relevance.relevant,
        relevance.relevant_counts,
        evaluation.cutoffs,
    )


def _means(values: dict[str, Values]) -> dict[str, float]:
    """Average each metric over the users; empty without users."""
    return {metric: float(user_values.mean()) for metric, user_values in values.items() if len(user_values)}


def _measure_new_users(
    fallback: Rows | None, relevance: Relevance, evaluation: Evaluation, seed: int
) -> SegmentMeasurement:
    users = len(relevance.relevant_counts)
    if fallback is None or users == 0:
        return SegmentMeasurement(users, {})
    lists = np.broadcast_to(fallback, (users, len(fallback)))
    values = _evaluate(lists, relevance, evaluation)
    resampled = bootstrap_means(values[evaluation.metric][:, None], RESAMPLES, seed)
    return _summarize(values, resampled[:, 0], evaluation.metric)


def _measure_users(values: dict[str, Values], users: Mask) -> dict[str, Values]:
    """Set the values of all other users to NaN."""
    return {metric: np.where(users, user_values, np.nan) for metric, user_values in values.items()}


def _measure_items(
    recommended: Rows, ground_truth: GroundTruth, items: Mask, evaluation: Evaluation, *, with_unknown: bool
) -> dict[str, Values]:
    """Evaluate the lists on the relevant items in `items` (items,); NaN for users without any."""
    relevance, users = restrict(ground_truth.returning, items, with_unknown=with_unknown)
    values = {metric: np.full(len(users), np.nan) for metric in metric_names(evaluation.cutoffs)}
    for metric, user_values in _evaluate(recommended[users], relevance, evaluation).items():
        values[metric][users] = user_values
    return values


def _summarize(values: dict[str, Values], resampled: Values, metric: str) -> SegmentMeasurement:
    """Average over the users that have a value, with the interval of the resampled metric."""
    users = int((~np.isnan(values[metric])).sum())
    if users == 0:
        return SegmentMeasurement(0, {})
    means = {name: float(np.nanmean(user_values)) for name, user_values in values.items()}
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
        values[f"popularity@{k}"] = _mean_without_nan(mean_over_lists(lists, popularity))
        values[f"head_share@{k}"] = float(exposure[ground_truth.head].sum() / max(1, exposure.sum()))
        if not np.isnan(diversity[k]).all():
            values[f"diversity@{k}"] = _mean_without_nan(diversity[k])
    return values


def _mean_without_nan(user_values: Values) -> float:
    values = user_values[~np.isnan(user_values)]
    return float(values.mean()) if len(values) else 0.0
