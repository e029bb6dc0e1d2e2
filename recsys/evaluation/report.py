"""report.html: one file that tells a shop which model is published, how good it is and what it learned from."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from recsys.evaluation import formatting, sentences
from recsys.evaluation.comparison import ModelMeasurement
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.plots import (
    SEGMENT_LABELS,
    plot_events_per_day,
    plot_exposure,
    plot_models,
    plot_segments,
)
from recsys.evaluation.report_data import Report
from recsys.files import written_whole

EXAMPLES = 6
EXAMPLE_ITEMS = 10
FILTERS: Final[dict[str, Callable[..., str]]] = {
    "day": formatting.day,
    "duration": formatting.duration,
    "interval": formatting.interval,
    "memory": formatting.memory,
    "metric_name": formatting.metric_name,
    "percent": formatting.percent,
    "rule_in_words": formatting.rule_in_words,
    "shorten": formatting.shorten,
    "value": formatting.value,
    "whole": formatting.whole,
}
CATALOGUE_METRICS = ("coverage", "gini", "novelty")


def write_report(path: Path, report: Report) -> None:
    """Write the report to `path`, whole or not at all."""
    with written_whole(path) as aside:
        aside.write_text(render_report(report), encoding="utf-8")


def render_report(report: Report) -> str:
    """The report as one HTML page that loads nothing from elsewhere."""
    base = report.evaluation.metric.partition("@")[0]
    environment = Environment(
        loader=PackageLoader("recsys.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= FILTERS  # pyright: ignore[reportUnknownMemberType]
    return environment.get_template("report.html").render(
        report=report,
        metric=report.evaluation.metric,
        metric_base=base,
        metrics=[base, *(metric for metric in METRICS if metric != base)],
        catalogue_metrics=CATALOGUE_METRICS,
        segments=SEGMENT_LABELS,
        examples=report.examples[:EXAMPLES],
        example_items=EXAMPLE_ITEMS,
        validation=_best_first(report.validation, report.evaluation.metric),
        test=_best_first(report.test, report.evaluation.metric),
        windows=_windows(report),
        explanations=sentences.EXPLANATIONS,
        sentences=_sentences(report),
        plots=_plots(report),
    )


def _best_first(measurements: Sequence[ModelMeasurement], metric: str) -> list[ModelMeasurement]:
    return sorted(measurements, key=lambda model: (-model.metrics[metric], model.name))


def _windows(report: Report) -> list[tuple[str, str, str]]:
    """Name, days and purpose of each window."""
    cuts = report.windows
    return [
        ("Train", formatting.span(None, cuts.train_end), "what the models learn from"),
        ("Validation", formatting.span(cuts.train_end, cuts.validation_end), "where the winner is chosen"),
        ("Test", formatting.span(cuts.validation_end, cuts.as_of), "only reported"),
    ]


def _sentences(report: Report) -> dict[str, str]:
    return {
        "winner": sentences.winner_sentence(report),
        "test": sentences.test_sentence(report),
        "cold": sentences.cold_sentence(report),
        "catalogue": sentences.catalogue_sentence(report),
        "data": sentences.data_sentence(report),
        "quarantine": sentences.quarantine_sentence(report),
    }


def _plots(report: Report) -> dict[str, Any]:
    metric = report.evaluation.metric
    highest = max(model.intervals[metric][1] for model in (*report.validation, *report.test))
    drawn = {
        "validation": plot_models("validation", report.validation, metric, report.winner, highest),
        "test": plot_models("test", report.test, metric, report.winner, highest),
        "segments": plot_segments(report.winner_on_test, metric),
        "exposure": plot_exposure(report.test, report.winner),
        "events": plot_events_per_day(report.data.events_per_day, report.windows),
    }
    return {name: Markup(svg) for name, svg in drawn.items()}
