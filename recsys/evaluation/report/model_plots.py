"""The report's plots of models: accuracy by model, segment and window, coverage, exposure and popularity."""

# matplotlib leaves the types of its keyword arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.comparison.popularity_bias import ALL
from recsys.evaluation.report.contents import Fold
from recsys.evaluation.report.drawing import (
    ACCENT,
    DASHED,
    INK,
    MUTED,
    OTHER,
    STYLE,
    draw,
    name_rows,
    spread,
    to_svg,
    write,
    write_above,
)
from recsys.evaluation.report.formatting import format_metric, format_percent, format_short_day
from recsys.evaluation.segments import HEAD, HEAVY, LIGHT, MIN_RELIABLE_USERS, NEW, TAIL

SEGMENT_LABELS: Final = {
    NEW: "new users",
    LIGHT: "light users",
    HEAVY: "heavy users",
    HEAD: "head items",
    TAIL: "tail items",
}
LABEL_GAP = 0.065  # minimum distance of two labels, as a share of the height of the plot
MIN_LOG_RATIO = 20  # ratio of the largest to the smallest value from which an axis is logarithmic


def plot_models(
    window: str, measurements: Sequence[ModelMeasurement], metric: str, winner: str, highest: float
) -> str:
    """Plot the mean and confidence interval of each model on one window, the best on top, from 0 to `highest`."""
    ordered = sorted(measurements, key=lambda model: (model.metrics[metric], model.name))
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=56 + 27 * len(ordered))
        for row, model in enumerate(ordered):
            color = ACCENT if model.name == winner else OTHER
            low, high = model.intervals[metric]
            axes.plot([low, high], [row, row], color=color, linewidth=2, solid_capstyle="round")
            axes.plot([model.metrics[metric]], [row], color=color, marker="o", markersize=5)
            shade = INK if model.name == winner else MUTED
            write(axes, format_metric(model.metrics[metric]), (high, row), offset=(6, 0), color=shade)
        axes.set_xlim(0, highest * 1.25 or 1)
        axes.set_ylim(-0.6, len(ordered) - 0.4)
        name_rows(axes, [model.name for model in ordered])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.8)
        return to_svg(figure, window)


def plot_segments(model: ModelMeasurement, metric: str) -> str:
    """Plot the mean and confidence interval of one model for each segment, with its mean over all users.

    Segments with fewer than `MIN_RELIABLE_USERS` users are drawn in gray.
    """
    measured = [name for name in SEGMENT_LABELS if metric in model.segments[name].metrics]
    measured.reverse()
    segments = [model.segments[name] for name in measured]
    overall = model.metrics[metric]
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=60 + 29 * len(measured))
        highest = overall
        for row, segment in enumerate(segments):
            mean = segment.metrics[metric]
            low, high = segment.interval or (mean, mean)
            highest = max(highest, high)
            axes.barh(row, mean, height=0.5, color=OTHER if segment.users < MIN_RELIABLE_USERS else ACCENT)
            axes.plot([low, high], [row, row], color=INK, linewidth=1.2, solid_capstyle="butt")
        for row, segment in enumerate(segments):
            few = " (few)" if segment.users < MIN_RELIABLE_USERS else ""
            write(axes, f"{format_metric(segment.metrics[metric])}{few}", (highest or 1, row), offset=(12, 0))
        axes.axvline(overall, color=MUTED, linewidth=1, linestyle=DASHED)
        write_above(axes, f"all users {format_metric(overall)}", overall, align="center", shift=0)
        axes.set_xlim(0, highest * 1.04 or 1)
        name_rows(axes, [SEGMENT_LABELS[name] for name in measured])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.8)
        return to_svg(figure, "segments")


def plot_folds(folds: Sequence[Fold], metric: str, winner: str) -> str:
    """Plot the mean of each model on consecutive windows."""
    lines: Mapping[str, list[float]] = {
        name: [_metrics_by_model(fold)[name][metric] for fold in folds] for name in _shared_models(folds)
    }
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=280)
        last = len(folds) - 1
        for name, means in lines.items():
            color, width = (ACCENT, 2.2) if name == winner else (OTHER, 1.2)
            axes.plot(range(len(folds)), means, color=color, linewidth=width, marker="o", markersize=4)
        highest = max(max(means) for means in lines.values()) * 1.08 or 1
        places = spread([means[-1] for means in lines.values()], LABEL_GAP * highest)
        for (name, _), place in zip(lines.items(), places, strict=True):
            write(axes, name, (last, place), offset=(8, 0), color=INK if name == winner else MUTED)
        step = max(1, len(folds) // 4)
        shown = list(range(last, -1, -step))
        axes.set_xticks(shown, [format_short_day(folds[place].start) for place in shown])
        axes.set_xlabel("first day of the window")
        axes.set_ylim(0, highest)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="y", linewidth=0.8)
        return to_svg(figure, "folds")


def _shared_models(folds: Sequence[Fold]) -> list[str]:
    """Return the names of the models that were measured on all folds, sorted."""
    models = [_metrics_by_model(fold).keys() for fold in folds]
    return sorted(set.intersection(*map(set, models)))


def _metrics_by_model(fold: Fold) -> dict[str, dict[str, float]]:
    return {model.name: model.metrics for model in fold.measurements}


def plot_tradeoff(measurements: Sequence[ModelMeasurement], metric: str, winner: str) -> str:
    """Plot the selection metric of each model against its coverage."""
    coverage = f"coverage@{metric.partition('@')[2]}"
    coverages = [max(model.catalogue[coverage], 1e-6) for model in measurements]
    metrics = [model.metrics[metric] for model in measurements]
    logarithmic = max(coverages) > MIN_LOG_RATIO * min(coverages)
    highest = max(metrics) * 1.1 or 1
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=280)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_xlim(min(coverages) / 1.6, min(1, max(coverages) * 1.6))
            axes.xaxis.set_major_locator(LogLocator(numticks=6))
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_xlim(0, max(coverages) * 1.15)
        axes.xaxis.set_major_formatter(FuncFormatter(_share))
        axes.set_ylim(0, highest)
        for x, y, label, model in zip(
            coverages, metrics, spread(metrics, LABEL_GAP * highest), measurements, strict=True
        ):
            is_winner = model.name == winner
            axes.plot([x], [y], color=ACCENT if is_winner else OTHER, marker="o", markersize=7 if is_winner else 5)
            right = axes.transAxes.inverted().transform(axes.transData.transform((x, y)))[0] > 0.6
            write(
                axes,
                model.name,
                (x, label),
                offset=(-8, 0) if right else (8, 0),
                color=INK if is_winner else MUTED,
                align="right" if right else "left",
            )
        axes.set_xlabel(f"coverage{' (logarithmic scale)' if logarithmic else ''}")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.grid(linewidth=0.8)
        return to_svg(figure, "tradeoff")


def plot_exposure(measurements: Sequence[ModelMeasurement], winner: str) -> str:
    """Plot the share of the list positions taken by the most recommended items, for each model."""
    others = [model for model in measurements if model.name != winner]
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=270)
        for model in measurements:
            if model.name == winner:
                _draw_curve(axes, model, color=ACCENT, linewidth=2.2, label=winner)
        for number, model in enumerate(others):
            label = None if number else "other models"
            _draw_curve(axes, model, color=OTHER, linewidth=1.0, label=label)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED, label="equal exposure")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("share of items, most recommended first")
        axes.set_ylabel("share of list positions")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(linewidth=0.8)
        axes.legend(loc="lower right")
        return to_svg(figure, "exposure")


def plot_popularity(measurements: Sequence[ModelMeasurement], winner: str) -> str:
    """Plot the mean popularity of the items each model recommends, with those of history and relevant items."""
    ordered = sorted(
        measurements, key=lambda model: (-model.popularity_bias[ALL].recommended.share_of_users, model.name)
    )
    bias = ordered[0].popularity_bias[ALL]
    shown = [model.popularity_bias[ALL].recommended.share_of_users for model in ordered]
    marks = sorted([(bias.had.share_of_users, "history"), (bias.wanted.share_of_users, "relevant")])
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=76 + 27 * len(ordered))
        highest = max([*shown, marks[-1][0]]) or 1
        colors = [ACCENT if model.name == winner else OTHER for model in ordered]
        axes.barh(range(len(ordered)), shown, height=0.5, color=colors)
        for row, share in enumerate(shown):
            write(axes, format_percent(share), (highest, row), offset=(12, 0))
        # Labels are aligned away from each other, so that they do not overlap.
        for (place, name), align, shift in zip(marks, ("right", "left"), (-3, 3), strict=True):
            axes.axvline(place, color=INK, linewidth=1, linestyle=DASHED)
            write_above(axes, name, place, align=align, shift=shift)
        axes.set_xlim(0, highest * 1.04)
        axes.set_xlabel("mean share of users who have interacted with an item")
        axes.xaxis.set_major_formatter(FuncFormatter(_share))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        name_rows(axes, [model.name for model in ordered])
        axes.grid(axis="x", linewidth=0.8)
        return to_svg(figure, "popularity")


def _share(share: float, _place: int) -> str:
    return f"{share * 100:g}%"


def _draw_curve(axes: Axes, model: ModelMeasurement, color: str, linewidth: float, label: str | None) -> None:
    steps = np.linspace(0, 1, len(model.exposure_curve))
    axes.plot(steps, model.exposure_curve, color=color, linewidth=linewidth, zorder=1 + linewidth, label=label)
