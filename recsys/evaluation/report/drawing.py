"""Style and SVG output of the report's plots; colors and font come from the page's CSS."""

# matplotlib leaves the types of its keyword arguments and of dates open.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

import re
from collections.abc import Sequence
from datetime import date
from io import StringIO
from statistics import mean
from typing import Any, Final, Literal

import matplotlib as mpl
from matplotlib import dates
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Colors that stand for CSS variables of the page: `to_svg` replaces them.
INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
ACCENT: Final = "#040404"
OTHER: Final = "#050505"
SHADE: Final = "#060606"
PAGE_COLORS: Final = {
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

# Parts of a standalone SVG file that must not be in an inline `svg` element.
STANDALONE_PARTS: Final = (
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


def draw(height: float) -> tuple[Figure, Axes]:
    """Create a figure of `height` pixels and its axes."""
    inches = 72 / POINTS_PER_PIXEL
    figure = Figure(figsize=(WIDTH / inches, height / inches), layout="constrained")
    return figure, figure.add_subplot()


def name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Label the rows of a plot, from the bottom."""
    axes.set_yticks(range(len(names)), list(names), color=INK, fontsize=TEXT)


def write(
    axes: Axes,
    text: str,
    position: tuple[float, float],
    offset: tuple[float, float],
    color: str = INK,
    align: Literal["left", "right"] = "left",
) -> None:
    """Write text `offset` points from a position in data coordinates."""
    axes.annotate(text, position, xytext=offset, textcoords="offset points", va="center", ha=align, color=color)


def write_above(axes: Axes, text: str, x: float, align: str, shift: float) -> None:
    """Write text above the top edge, `shift` points from `x`."""
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


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Return label positions close to `positions`, in the same order, each at least `gap` from the next.

    >>> spread([5, 1, 1], 2)
    [5.0, 0.0, 2.0]
    """
    order = sorted(range(len(positions)), key=lambda index: (positions[index], index))
    # Isotonic regression after subtracting the gaps: adjacent runs in the wrong order are pooled to their mean.
    runs: list[list[float]] = []
    for rank, index in enumerate(order):
        runs.append([positions[index] - rank * gap])
        while len(runs) > 1 and mean(runs[-2]) >= mean(runs[-1]):
            last = runs.pop()
            runs[-1] += last
    settled = [mean(run) for run in runs for _ in run]
    spaced = {index: settled[rank] + rank * gap for rank, index in enumerate(order)}
    return [float(spaced[index]) for index in range(len(positions))]


def day_axis(axes: Axes) -> None:
    """Label the x-axis with at most six short dates."""
    locator = dates.AutoDateLocator(maxticks=6)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, show_offset=False))


def day_number(moment: date) -> float:
    """Return the position of a day on an axis of days."""
    return float(dates.date2num(moment))


def to_svg(figure: Figure, name: str) -> str:
    """Render the figure as an inline `svg` element with the page's colors; `name` makes its ids unique."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    for pattern in STANDALONE_PARTS:
        svg = re.sub(pattern, "", svg, flags=re.DOTALL)
    svg = re.sub(r'width="[\d.]+pt" height="[\d.]+pt"', 'aria-hidden="true"', svg, count=1)
    for drawn, color in PAGE_COLORS.items():
        svg = svg.replace(drawn, color)
    return svg
