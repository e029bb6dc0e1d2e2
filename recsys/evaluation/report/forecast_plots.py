"""The report's plot of the calibration of forecasts of customers."""

# matplotlib leaves the types of its keyword arguments open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib.ticker import MultipleLocator, PercentFormatter

from recsys.evaluation.metrics.forecasts import ProbabilityScore
from recsys.evaluation.report.drawing import ACCENT, DASHED, INK, MUTED, OTHER, STYLE, draw, to_svg

COLORS: Final = (ACCENT, OTHER, INK, MUTED)
MARKERS: Final = ("o", "s", "^", "D")


def plot_calibration(scores: Sequence[ProbabilityScore]) -> str:
    """Plot the share of forecasts that came true by their mean probability, a line each, at most four."""
    with mpl.rc_context(STYLE):
        figure, axes = draw(height=330)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
        for score, color, marker in zip(scores, COLORS, MARKERS, strict=False):
            probabilities = [each.probability for each in score.calibration]
            shares = [each.share for each in score.calibration]
            axes.plot(
                probabilities, shares, color=color, linewidth=1.5, marker=marker, markersize=4, label=score.name
            )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("probability forecast")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MultipleLocator(0.25))
            axis.set_major_formatter(PercentFormatter(1))
        axes.grid(linewidth=0.8)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0, borderaxespad=0.4, handlelength=1.5)
        return to_svg(figure, "calibration")
