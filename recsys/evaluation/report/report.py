"""Render report.html: one self-contained page about the published model, its accuracy and its data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.evaluation.comparison.measurement import rank_models
from recsys.evaluation.comparison.popularity_bias import ALL
from recsys.evaluation.comparison.significance import Difference, compare_pairs
from recsys.evaluation.comparison.stability import FoldStatistics, summarize_folds
from recsys.evaluation.metrics.ranking import METRICS
from recsys.evaluation.report import (
    catalogue_text,
    category_text,
    data_text,
    forecast_text,
    formatting,
    list_text,
    model_text,
    plan_text,
    ranker_text,
    screening_text,
    variety_text,
)
from recsys.evaluation.report.contents import RankerFeature, Report
from recsys.evaluation.report.data_plots import plot_events_per_day, plot_quarantine, plot_steps
from recsys.evaluation.report.forecast_plots import plot_calibration
from recsys.evaluation.report.metric_explanations import EXPLANATIONS
from recsys.evaluation.report.model_plots import (
    SEGMENT_LABELS,
    plot_exposure,
    plot_folds,
    plot_models,
    plot_popularity,
    plot_segments,
    plot_tradeoff,
)
from recsys.evaluation.report.ranker_plots import plot_importance, plot_partial_dependence
from recsys.evaluation.segments import HEAVY, LIGHT, MIN_RELIABLE_USERS
from recsys.files import atomic_write

MAX_EXAMPLES = 10
MAX_EXAMPLE_ITEMS = 10
FILTERS: Final[dict[str, Callable[..., str]]] = {
    "p_value": formatting.format_p_value,
    "day": formatting.format_day,
    "duration": formatting.format_duration,
    "interval": formatting.format_interval,
    "memory": formatting.format_memory,
    "metric": formatting.format_metric,
    "metric_label": formatting.metric_label,
    "percent": formatting.format_percent,
    "rule_label": formatting.rule_label,
    "settings": formatting.format_settings,
    "shorten": formatting.shorten,
    "integer": formatting.format_integer,
}
CATALOGUE_METRICS = ("coverage", "gini", "novelty", "diversity", "popularity", "head_share")


def write_report(path: Path, report: Report) -> None:
    """Write the report to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(render_report(report), encoding="utf-8")


def render_report(report: Report) -> str:
    """Render the report as one HTML page without external resources."""
    base = report.evaluation.metric.partition("@")[0]
    own, other = _differences(report) if report.is_measured else ([], [])
    return (
        template_environment()
        .get_template("report.html")
        .render(
            report=report,
            winner=report.winner_on_test if report.is_measured else None,
            k=report.cutoff,
            metric=report.evaluation.metric,
            metric_base=base,
            metrics=[base, *(metric for metric in METRICS if metric != base)],
            catalogue_metrics=CATALOGUE_METRICS,
            segments=SEGMENT_LABELS,
            min_reliable_users=MIN_RELIABLE_USERS,
            everyone=ALL,
            bias_segments=(ALL, LIGHT, HEAVY),
            examples=report.examples[:MAX_EXAMPLES],
            example_items=MAX_EXAMPLE_ITEMS,
            validation=rank_models(report.validation, report.evaluation.metric),
            test=rank_models(report.test, report.evaluation.metric),
            own_differences=own,
            other_differences=other,
            blend_segments=_blend_segments(report),
            ranker_plots=_plotted_features(report),
            over_folds=_over_folds(report),
            steps=[(step, data_text.events_per_second(step)) for step in report.steps],
            windows=_windows(report) if report.is_measured else [],
            explanations=EXPLANATIONS,
            origins=screening_text.ORIGINS,
            part_labels=list_text.PART_LABELS,
            part_label=list_text.part_label,
            list_labels=list_text.LIST_LABELS,
            list_sentences=_list_sentences(report),
            sentences=_sentences(report)
            | _measurement_sentences(report)
            | _forecast_sentences(report)
            | _category_sentences(report)
            | _screening_sentences(report)
            | ({"variety": variety_text.variety_sentence(report.variety)} if report.variety else {}),
            variety_rows=variety_text.variety_rows(report.variety) if report.variety else [],
            plots=_plots(report),
        )
    )


def template_environment(*packages: str) -> Environment:
    """Return the templates of this package and of others, with the filters that format numbers, dates and names."""
    loaders = [PackageLoader(package) for package in (*packages, "recsys.evaluation.report")]
    environment = Environment(
        loader=ChoiceLoader(loaders),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS  # pyright: ignore[reportUnknownMemberType]
    return environment


def _differences(report: Report) -> tuple[list[Difference], list[Difference]]:
    """Compare all pairs of models on the test window; return the pairs with the winner, and the others."""
    pairs = compare_pairs(report.test, report.evaluation.metric)
    own = model_text.select_pairs(pairs, report.winner)
    return own, [pair for pair in pairs if pair not in own]


def _plotted_features(report: Report) -> list[RankerFeature]:
    """Return the features of the second stage whose effect is plotted."""
    return [feature for feature in (report.ranker.features if report.ranker else ()) if feature.values]


def _blend_segments(report: Report) -> list[str]:
    """Return the segments that the blend has weights for, those with the shortest history first."""
    members = report.blend.members if report.blend else ()
    order = [*SEGMENT_LABELS]
    segments = {segment for member in members for segment in member.weight_by_segment}
    return sorted(segments, key=lambda segment: (order.index(segment) if segment in order else -1, segment))


def _over_folds(report: Report) -> tuple[FoldStatistics, ...]:
    return summarize_folds(model_text.fold_metrics(report)) if report.folds else ()


def _windows(report: Report) -> list[tuple[str, str, str]]:
    """Return the name, the days and the purpose of each window."""
    split = report.windows
    return [
        ("Train", formatting.format_window(None, split.train_end), "training data"),
        (
            "Validation",
            formatting.format_window(split.train_end, split.validation_end),
            "tuning and model selection",
        ),
        (
            "Test",
            formatting.format_window(split.validation_end, split.as_of),
            "held out, for the final measurement only",
        ),
    ]


def _sentences(report: Report) -> dict[str, str]:
    return {
        "data": data_text.data_sentence(report),
        "events": data_text.events_sentence(report),
        "quarantine": data_text.quarantine_sentence(report),
        "quarantine_days": data_text.quarantine_days_sentence(report),
        "schema": data_text.schema_sentence(report.schema_changes) if report.schema_changes else "",
        "steps": data_text.steps_sentence(report) if report.steps else "",
        "memory": data_text.memory_sentence(report) if report.steps else "",
        "examples": data_text.examples_sentence(report),
    }


def _measurement_sentences(report: Report) -> dict[str, str]:
    """Return the sentences about measurements, or those about why there are none."""
    plan = report.plan
    if not report.is_measured:
        return {
            "unmeasured": plan_text.unmeasured_sentence(plan) if plan else "Nothing was measured.",
            "published": plan_text.published_sentence(report.winner),
        }
    metric = report.evaluation.metric
    return {
        "shortened": plan_text.shortened_sentence(plan) if plan and plan.is_shortened else "",
        "relevant": plan_text.relevant_sentence(report.evaluation.relevant_events),
        "winner": model_text.winner_sentence(report),
        "test": model_text.test_window_sentence(report),
        "validation_intervals": model_text.interval_sentence(report.validation, metric),
        "test_intervals": model_text.interval_sentence(report.test, metric),
        "order": model_text.order_sentence(report),
        "differences": model_text.differences_sentence(report),
        "folds": model_text.folds_sentence(report) if report.folds else "",
        "best_fold": model_text.best_fold_sentence(report) if report.folds else "",
        "search": model_text.search_sentence(report) if report.search else "",
        "blend": model_text.blend_sentence(report, report.blend) if report.blend else "",
        "ranker": ranker_text.ranker_sentence(report.ranker, metric) if report.ranker else "",
        "importance": ranker_text.importance_sentence(report.ranker) if report.ranker else "",
        "cold": catalogue_text.cold_sentence(report),
        "segments": catalogue_text.segments_sentence(report),
        "head_and_tail": catalogue_text.items_sentence(report),
        "catalogue": catalogue_text.catalogue_sentence(report),
        "exposure": catalogue_text.exposure_sentence(report),
        "tradeoff": catalogue_text.tradeoff_sentence(report),
        "popularity": catalogue_text.popularity_sentence(report),
        "lift": catalogue_text.lift_sentence(report),
        "diversity": catalogue_text.diversity_sentence(report),
    }


def _list_sentences(report: Report) -> list[str]:
    """Return the sentences about the lists beside the best one of each user."""
    metric, new_users = report.evaluation.metric, report.new_users
    sentences = [list_text.part_sentence(part, metric) for part in report.list_parts]
    return sentences if new_users is None else [*sentences, list_text.new_users_sentence(new_users, metric)]


def _category_sentences(report: Report) -> dict[str, str]:
    categories = report.categories
    if categories is None:
        return {}
    sentences = {"categories": category_text.categories_sentence(categories)}
    if categories.measured is not None:
        sentences["category_accuracy"] = category_text.accuracy_sentence(categories.measured)
        sentences["category_calibration"] = category_text.calibration_sentence(categories.measured)
    return sentences


def _forecast_sentences(report: Report) -> dict[str, str]:
    forecasts = report.forecasts
    if forecasts is None:
        return {}
    sentences = {
        "forecasts": forecast_text.forecasts_sentence(forecasts),
        "forecast_scores": forecast_text.scores_sentence(forecasts.scores),
    }
    if forecasts.scores.probabilities:
        sentences["forecast_calibration"] = forecast_text.calibration_sentence(forecasts.scores)
    return sentences


def _screening_sentences(report: Report) -> dict[str, str]:
    screening = report.screening
    if screening is None:
        return {}
    sentences = {
        "screening": screening_text.screening_sentence(screening, is_measured=report.is_measured),
        "labels": screening_text.labels_sentence(screening),
    }
    if screening.comparison is not None:
        sentences["screening_comparison"] = screening_text.comparison_sentence(screening.comparison)
    return sentences


def _plots(report: Report) -> dict[str, Any]:
    data, windows = report.data, report.windows if report.is_measured else None
    plots = {"events": plot_events_per_day(data.events_per_day, windows)}
    if report.is_measured:
        plots |= _measurement_plots(report)
    if report.forecasts and report.forecasts.scores.probabilities:
        plots["calibration"] = plot_calibration(report.forecasts.scores.probabilities)
    if report.quarantine.per_day:
        plots["quarantine"] = plot_quarantine(report.quarantine, data.first_day, data.last_day)
    if report.steps:
        plots["seconds"] = plot_steps(
            "seconds", report.steps, lambda step: step.seconds, formatting.format_duration
        )
        plots["memory"] = plot_steps(
            "memory", report.steps, lambda step: step.peak_memory, formatting.format_memory
        )
    return {name: Markup(svg) for name, svg in plots.items()}


def _measurement_plots(report: Report) -> dict[str, str]:
    metric = report.evaluation.metric
    highest = max(model.intervals[metric][1] for model in (*report.validation, *report.test))
    plots = {
        "validation": plot_models("validation", report.validation, metric, report.winner, highest),
        "test": plot_models("test", report.test, metric, report.winner, highest),
        "segments": plot_segments(report.winner_on_test, metric),
        "tradeoff": plot_tradeoff(report.test, metric, report.winner),
        "exposure": plot_exposure(report.test, report.winner),
        "popularity": plot_popularity(report.test, report.winner),
    }
    if report.ranker and report.ranker.features:
        plots["importance"] = plot_importance(report.ranker.features)
    for number, feature in enumerate(_plotted_features(report)):
        plots[f"dependence{number}"] = plot_partial_dependence(number, feature)
    if report.folds:
        plots["folds"] = plot_folds(report.folds, metric, report.winner)
    return plots
