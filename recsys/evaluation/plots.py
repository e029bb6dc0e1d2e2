"""The report's plots, as SVG that takes its colours and font from the page."""

# matplotlib leaves the types of its keyword arguments and of dates open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import re
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from io import StringIO
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from recsys.data.splits import Windows
from recsys.evaluation.comparison import ModelMeasurement
from recsys.evaluation.formatting import value
from recsys.evaluation.segments import HEAD, HEAVY, LIGHT, NEW, TAIL

# A colour that the page sets, and the stand-in that is drawn.
INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
ACCENT: Final = "#040404"
OTHER: Final = "#050505"
SHADE: Final = "#060606"
PAGE_COLOURS: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    ACCENT: "var(--accent)",
    OTHER: "var(--other)",
    SHADE: "var(--shade)",
}

WIDTH = 380  # pixels at which a plot is drawn; the page scales it
POINTS_PER_PIXEL = 0.75
TEXT = 12 * POINTS_PER_PIXEL
SMALL_TEXT = 11 * POINTS_PER_PIXEL
DASHED: Final = (0, (3, 3))

SEGMENT_LABELS: Final = {
    NEW: "new shoppers",
    LIGHT: "light shoppers",
    HEAVY: "heavy shoppers",
    HEAD: "head items",
    TAIL: "tail items",
}

# What a file of its own needs and an element of a page must not have.
NOT_FOR_HTML: Final = (
    r"<metadata>.*?</metadata>",
    r"<defs>\s*<style.*?</style>\s*</defs>",
    r'\sxmlns(:xlink)?="[^"]*"',
    r'(?<=<g) id="[^"]*"',
    r"font-family: [^;\"]*;? ?",
)

STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": TEXT,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.labelsize": SMALL_TEXT,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": SMALL_TEXT,
    "ytick.labelsize": SMALL_TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.major.pad": 6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": SMALL_TEXT,
}


def plot_models(
    window: str, measurements: Sequence[ModelMeasurement], metric: str, winner: str, highest: float
) -> str:
    """Every model's mean and interval on one window, best on top, on an axis from 0 to `highest`."""
    ordered = sorted(measurements, key=lambda model: (model.metrics[metric], model.name))
    with mpl.rc_context(STYLE):
        figure, axes = _draw(height=56 + 27 * len(ordered))
        for row, model in enumerate(ordered):
            colour = ACCENT if model.name == winner else OTHER
            low, high = model.intervals[metric]
            axes.plot([low, high], [row, row], color=colour, linewidth=2, solid_capstyle="round")
            axes.plot([model.metrics[metric]], [row], color=colour, marker="o", markersize=5)
            shade = INK if model.name == winner else MUTED
            text = value(model.metrics[metric])
            _write(axes, text, (high, row), offset=(6, 0), color=shade)
        axes.set_xlim(0, highest * 1.25 or 1)
        axes.set_ylim(-0.6, len(ordered) - 0.4)
        _name_rows(axes, [model.name for model in ordered])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.8)
        return _to_svg(figure, window)


def plot_segments(model: ModelMeasurement, metric: str) -> str:
    """One model's mean for each part of the users and items, beside its mean over all."""
    measured = [name for name in SEGMENT_LABELS if metric in model.segments[name].metrics]
    measured.reverse()
    values = [model.segments[name].metrics[metric] for name in measured]
    overall = model.metrics[metric]
    with mpl.rc_context(STYLE):
        figure, axes = _draw(height=60 + 29 * len(measured))
        colours = [OTHER if name == NEW else ACCENT for name in measured]
        axes.barh(range(len(measured)), values, height=0.5, color=colours)
        highest = max([overall, *values]) or 1
        for row, number in enumerate(values):
            _write(axes, value(number), (highest, row), offset=(12, 0), color=INK)
        axes.axvline(overall, color=MUTED, linewidth=1, linestyle=DASHED)
        _write_above(axes, f"all {value(overall)}", overall, align="center", shift=0)
        axes.set_xlim(0, highest * 1.04)
        _name_rows(axes, [SEGMENT_LABELS[name] for name in measured])
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.grid(axis="x", linewidth=0.8)
        return _to_svg(figure, "segments")


def plot_exposure(measurements: Sequence[ModelMeasurement], winner: str) -> str:
    """Share of all places that the most shown items take, for every model."""
    others = [model for model in measurements if model.name != winner]
    with mpl.rc_context(STYLE):
        figure, axes = _draw(height=270)
        for model in measurements:
            if model.name == winner:
                _draw_curve(axes, model, color=ACCENT, linewidth=2.2, label=winner)
        for number, model in enumerate(others):
            label = None if number else "other models"
            _draw_curve(axes, model, color=OTHER, linewidth=1.0, label=label)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED, label="all items alike")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("share of the items, most shown first")
        axes.set_ylabel("share of all places")
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(linewidth=0.8)
        axes.legend(loc="lower right")
        return _to_svg(figure, "exposure")


def plot_events_per_day(events_per_day: Sequence[tuple[date, int]], cuts: Windows) -> str:
    """Events of each day, with the validation and the test window shaded."""
    days, events = _fill_days(events_per_day)
    with mpl.rc_context(STYLE):
        figure, axes = _draw(height=240)
        axes.fill_between(days, events, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(days, events, color=ACCENT, linewidth=1.2)
        _shade(axes, cuts.train_end, cuts.validation_end, alpha=0.5)
        _shade(axes, cuts.validation_end, cuts.as_of, alpha=1.0)
        # Both names lean on the cut between the windows: they fit however narrow those are.
        _write_above(axes, "validation", _day_number(cuts.validation_end), align="right", shift=-4)
        _write_above(axes, "test", _day_number(cuts.validation_end), align="left", shift=4)
        axes.set_xlim(min(days[0], _day_number(cuts.train_end)), _day_number(cuts.as_of))
        axes.set_ylim(0, max(1, *events) * 1.1)
        locator = dates.AutoDateLocator(maxticks=6)
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.grid(axis="y", linewidth=0.8)
        return _to_svg(figure, "events")


def _draw(height: float) -> tuple[Figure, Axes]:
    inches = 72 / POINTS_PER_PIXEL
    figure = Figure(figsize=(WIDTH / inches, height / inches), layout="constrained")
    return figure, figure.add_subplot()


def _draw_curve(axes: Axes, model: ModelMeasurement, color: str, linewidth: float, label: str | None) -> None:
    steps = np.linspace(0, 1, len(model.exposure_curve))
    axes.plot(steps, model.exposure_curve, color=color, linewidth=linewidth, zorder=1 + linewidth, label=label)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), list(names), color=INK, fontsize=TEXT)


def _write(axes: Axes, text: str, place: tuple[float, float], offset: tuple[float, float], color: str) -> None:
    axes.annotate(text, place, xytext=offset, textcoords="offset points", va="center", color=color)


def _write_above(axes: Axes, text: str, x: float, align: str, shift: float) -> None:
    axes.annotate(
        text,
        (x, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(shift, 2),
        textcoords="offset points",
        ha=align,
        va="bottom",
        fontsize=SMALL_TEXT,
        color=MUTED,
    )


def _shade(axes: Axes, start: datetime, end: datetime, alpha: float) -> None:
    left, right = _day_number(start), _day_number(end)
    axes.axvspan(left, right, color=SHADE, linewidth=0, alpha=alpha, zorder=0)


def _day_number(moment: date) -> float:
    return float(dates.date2num(moment))


def _fill_days(events_per_day: Sequence[tuple[date, int]]) -> tuple[list[float], list[int]]:
    """The number of every day from the first to the last and its events, 0 where there is none."""
    events = dict(events_per_day)
    first, last = min(events), max(events)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [_day_number(day) for day in days], [events.get(day, 0) for day in days]


def _to_svg(figure: Figure, name: str) -> str:
    """The figure as an `svg` element for HTML: no outer links, the page's looks, ids that `name` sets apart."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern in NOT_FOR_HTML:
        svg = re.sub(pattern, "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'aria-hidden="true"', svg, count=1)
    for stand_in, colour in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg
