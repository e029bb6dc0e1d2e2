"""The report's plots of data and run: events and quarantine day by day, what each step took."""

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
from recsys.data.splits import Windows
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
from recsys.evaluation.report.formatting import rule_in_words

RULE_COLOURS: Final = (ACCENT, OTHER, INK)
OTHER_RULES: Final = "other rules"
PLOTTED_STEPS = 12


def plot_events_per_day(events_per_day: Sequence[tuple[date, int]], cuts: Windows) -> str:
    """Events of each day, with the validation and the test window shaded."""
    days, events = _fill_days(events_per_day)
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=240)
        axes.fill_between(days, events, color=ACCENT, alpha=0.15, linewidth=0)
        axes.plot(days, events, color=ACCENT, linewidth=1.2)
        _shade(axes, cuts.train_end, cuts.validation_end, alpha=0.5)
        _shade(axes, cuts.validation_end, cuts.as_of, alpha=1.0)
        # Both names lean on the cut between the windows: they fit however narrow those are.
        write_above(axes, "validation", day_number(cuts.validation_end), align="right", shift=-4)
        write_above(axes, "test", day_number(cuts.validation_end), align="left", shift=4)
        axes.set_xlim(min(days[0], day_number(cuts.train_end)), day_number(cuts.as_of))
        _count_axis(axes, max(events))
        day_axis(axes)
        return to_svg(figure, "events")


def plot_quarantine(quarantine: QuarantineCounts, first_day: date, last_day: date) -> str:
    """Rows set aside of each day, one rule on the other, the most broken at the bottom."""
    of_rules: Counter[str] = Counter()
    for _, rule, rows in quarantine.per_day:
        of_rules[rule] += rows
    named = [
        rule for rule, _ in sorted(of_rules.items(), key=lambda pair: (-pair[1], pair[0]))[: len(RULE_COLOURS)]
    ]
    stacks: dict[str, Counter[date]] = {}
    for day, rule, rows in quarantine.per_day:
        stacks.setdefault(rule if rule in named else OTHER_RULES, Counter())[day] += rows
    days = sorted({day for day, _, _ in quarantine.per_day})
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=260)
        below = [0] * len(days)
        for rule, colour in zip([*named, OTHER_RULES], [*RULE_COLOURS, MUTED], strict=False):
            if rule in stacks:
                rows = [stacks[rule][day] for day in days]
                numbers = [day_number(day) for day in days]
                axes.bar(numbers, rows, width=1, bottom=below, color=colour, label=rule_in_words(rule))
                below = [low + more for low, more in zip(below, rows, strict=True)]
        axes.set_xlim(day_number(first_day), day_number(last_day) + 1)
        _count_axis(axes, max(below))
        day_axis(axes)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.4, handlelength=1)
        return to_svg(figure, "quarantine")


def plot_steps(
    name: str, steps: Sequence[StepUsage], of_step: Callable[[StepUsage], float], told: Callable[[float], str]
) -> str:
    """One bar for each of the steps that took the most of something, the most on top, with it in words."""
    most = sorted(steps, key=lambda step: (-of_step(step), step.name))[:PLOTTED_STEPS]
    most.reverse()
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=30 + 22 * len(most))
        taken = [of_step(step) for step in most]
        highest = max(taken) or 1
        axes.barh(range(len(most)), [highest] * len(most), height=0.55, color=SHADE)
        axes.barh(range(len(most)), taken, height=0.55, color=ACCENT)
        for row, number in enumerate(taken):
            write(axes, told(number), (highest, row), offset=(8, 0))
        axes.set_xlim(0, highest)
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        name_rows(axes, [step.name.removeprefix("evaluation/") for step in most])
        return to_svg(figure, name)


def _count_axis(axes: Axes, highest: float) -> None:
    axes.set_ylim(0, max(1, highest) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.grid(axis="y", linewidth=0.8, color=LINE)


def _shade(axes: Axes, start: datetime, end: datetime, alpha: float) -> None:
    left, right = day_number(start), day_number(end)
    axes.axvspan(left, right, color=SHADE, linewidth=0, alpha=alpha, zorder=0)


def _fill_days(events_per_day: Sequence[tuple[date, int]]) -> tuple[list[float], list[int]]:
    """The number of every day from the first to the last and its events, 0 where there is none."""
    events = dict(events_per_day)
    first, last = min(events), max(events)
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return [day_number(day) for day in days], [events.get(day, 0) for day in days]
