"""The report's plots of data and run: events and quarantined rows per day, duration and memory of steps."""

# matplotlib leaves the types of its keyword arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from typing import Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from recsys.data.quality import QuarantineCounts
from recsys.data.splits import TimeSplit
from recsys.evaluation.report.contents import StepUsage
from recsys.evaluation.report.drawing import (
    ACCENT,
    INK,
    LINE,
    MUTED,
    OTHER,
    SHADE,
    STYLE,
    day_axis,
    day_number,
    draw,
    name_rows,
    to_svg,
    write,
    write_above,
)
from recsys.evaluation.report.formatting import rule_label

RULE_COLORS: Final = (ACCENT, OTHER, INK)
OTHER_RULES: Final = "other rules"
MAX_PLOTTED_STEPS = 12


def plot_events_per_day(events_per_day: Sequence[tuple[date, int]], split: TimeSplit | None = None) -> str:
    """Plot the events per day; with a split, the validation and test windows are shaded."""
    days, events = _fill_days(events_per_day)
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=240)
        axes.fill_between(days, events, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(days, events, color=ACCENT, linewidth=1.2, marker="o" if len(days) == 1 else "")
        axes.set_xlim(*((days[0] - 1, days[0] + 1) if len(days) == 1 else (days[0], days[-1])))
        if split is not None:
            _mark_windows(axes, split, days[0])
        _count_axis(axes, max(events))
        day_axis(axes)
        return to_svg(figure, "events")


def plot_events_per_hour(events_per_hour: Sequence[int]) -> str:
    """Plot the events of each of the 24 hours of the day as bars."""
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=180)
        axes.bar(range(len(events_per_hour)), events_per_hour, width=0.8, color=ACCENT)
        axes.set_xticks(range(0, len(events_per_hour), 6))
        _count_axis(axes, max(events_per_hour))
        return to_svg(figure, "hours")


def plot_quarantine(quarantine: QuarantineCounts, first_day: date, last_day: date) -> str:
    """Plot the quarantined rows per day as bars stacked by rule, the most broken rule at the bottom."""
    rows_by_rule: Counter[str] = Counter()
    for _, rule, rows in quarantine.per_day:
        rows_by_rule[rule] += rows
    ordered = sorted(rows_by_rule.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [rule for rule, _ in ordered[: len(RULE_COLORS)]]
    stacks: dict[str, Counter[date]] = {}
    for day, rule, rows in quarantine.per_day:
        stacks.setdefault(rule if rule in named else OTHER_RULES, Counter())[day] += rows
    days = sorted({day for day, _, _ in quarantine.per_day})
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=260)
        below = [0] * len(days)
        for rule, color in zip([*named, OTHER_RULES], [*RULE_COLORS, MUTED], strict=False):
            if rule in stacks:
                rows = [stacks[rule][day] for day in days]
                numbers = [day_number(day) for day in days]
                axes.bar(numbers, rows, width=1, bottom=below, color=color, label=rule_label(rule))
                below = [low + more for low, more in zip(below, rows, strict=True)]
        axes.set_xlim(day_number(first_day), day_number(last_day) + 1)
        _count_axis(axes, max(below))
        day_axis(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.4, handlelength=1)
        return to_svg(figure, "quarantine")


def plot_steps(
    name: str, steps: Sequence[StepUsage], measure: Callable[[StepUsage], float], label: Callable[[float], str]
) -> str:
    """Plot one bar for each of the steps with the highest values of `measure`, labeled by `label`."""
    largest = sorted(steps, key=lambda step: (-measure(step), step.name))[:MAX_PLOTTED_STEPS]
    largest.reverse()
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=30 + 22 * len(largest))
        values = [measure(step) for step in largest]
        highest = max(values) or 1
        axes.barh(range(len(largest)), [highest] * len(largest), height=0.55, color=SHADE)
        axes.barh(range(len(largest)), values, height=0.55, color=ACCENT)
        for row, number in enumerate(values):
            write(axes, label(number), (highest, row), offset=(8, 0))
        axes.set_xlim(0, highest)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        name_rows(axes, [step.name.removeprefix("evaluation/") for step in largest])
        return to_svg(figure, name)


def _count_axis(axes: Axes, highest: float) -> None:
    axes.set_ylim(0, max(1, highest) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", linewidth=0.8, color=LINE)


def _mark_windows(axes: Axes, split: TimeSplit, first_day: float) -> None:
    """Shade the validation and test windows, label them, and end the axis with the test window."""
    _shade(axes, split.train_end, split.validation_end, alpha=0.5)
    _shade(axes, split.validation_end, split.as_of, alpha=1.0)
    # Both labels are placed at the boundary of the windows, so that they fit whatever the windows' widths.
    write_above(axes, "validation", day_number(split.validation_end), align="right", shift=-4)
    write_above(axes, "test", day_number(split.validation_end), align="left", shift=4)
    axes.set_xlim(min(first_day, day_number(split.train_end)), day_number(split.as_of))


def _shade(axes: Axes, start: datetime, end: datetime, alpha: float) -> None:
    left, right = day_number(start), day_number(end)
    axes.axvspan(left, right, color=SHADE, linewidth=0, alpha=alpha, zorder=0)


def _fill_days(events_per_day: Sequence[tuple[date, int]]) -> tuple[list[float], list[int]]:
    """Return the axis position and the number of events of each day from the first to the last."""
    events = dict(events_per_day)
    first, last = min(events), max(events)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [day_number(day) for day in days], [events.get(day, 0) for day in days]
