"""Render the description of a lake as one self-contained HTML page."""

from pathlib import Path

from markupsafe import Markup

from jobs.description.description import LATEST_DAYS, LakeDescription
from jobs.description.findings import find_unusual, has_times
from jobs.lake.attributes import MAX_VALUES
from recsys.evaluation.report.data_plots import plot_events_per_day, plot_events_per_hour, plot_quarantine
from recsys.evaluation.report.report import template_environment
from recsys.files import atomic_write


def write_page(path: Path, lake: LakeDescription) -> None:
    """Write the page to `path` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(render_page(lake), encoding="utf-8")


def render_page(lake: LakeDescription) -> str:
    """Render the description as a page in the style of the report, without external resources."""
    template = template_environment("jobs.description").get_template("lake.html")
    return template.render(
        lake=lake, findings=find_unusual(lake), latest_days=LATEST_DAYS, max_values=MAX_VALUES, plots=_plots(lake)
    )


def _plots(lake: LakeDescription) -> dict[str, Markup]:
    if lake.first_day is None or lake.last_day is None:
        return {}
    plots = {"events": plot_events_per_day(lake.events_per_day)}
    if has_times(lake):
        plots["hours"] = plot_events_per_hour(lake.events_per_hour)
    if lake.quarantine.per_day:
        plots["quarantine"] = plot_quarantine(lake.quarantine, lake.first_day, lake.last_day)
    return {name: Markup(svg) for name, svg in plots.items()}
