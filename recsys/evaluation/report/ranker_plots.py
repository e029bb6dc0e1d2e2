"""The report's plots of the second stage: importance of features, and partial dependence on them."""

# matplotlib leaves the types of its keyword arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.ticker import MaxNLocator, PercentFormatter

from recsys.evaluation.report.contents import RankerFeature
from recsys.evaluation.report.drawing import ACCENT, MUTED, OTHER, STYLE, draw, name_rows, to_svg, write
from recsys.evaluation.report.formatting import format_percent

MAX_FEATURES: Final = 15


def plot_importance(features: Sequence[RankerFeature]) -> str:
    """Plot the importance of the most important features, the first of `features` on top."""
    shown = [*features[:MAX_FEATURES]][::-1]
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=44 + 22 * len(shown))
        for row, feature in enumerate(shown):
            axes.barh(row, feature.importance, height=0.5, color=ACCENT if feature.values else OTHER)
            write(axes, format_percent(feature.importance), (feature.importance, row), offset=(5, 0), color=MUTED)
        axes.set_xlim(0, max(feature.importance for feature in shown) * 1.25 or 1)
        axes.xaxis.set_visible(False)
        name_rows(axes, [feature.name for feature in shown])
        return to_svg(figure, "importance")


def plot_partial_dependence(number: int, feature: RankerFeature) -> str:
    """Plot the mean probability of purchase over the values of one feature; `number` makes its ids unique."""
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=170)
        axes.plot(feature.values, feature.probabilities, color=ACCENT, linewidth=2, marker="o", markersize=4)
        axes.set_ylim(0, max(feature.probabilities) * 1.15 or 1)
        axes.set_xlabel(feature.name)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.grid(axis="y", linewidth=0.8)
        return to_svg(figure, f"dependence{number}")
