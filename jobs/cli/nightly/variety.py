"""`recsys variety`: what repeats in the lists of a run."""

from dataclasses import asdict

import typer
from rich.markup import escape

from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json
from jobs.pipeline.run import list_runs
from jobs.pipeline.step_names import LISTS
from jobs.pipeline.variety import read_variety
from recsys.errors import RunError
from recsys.evaluation.report.variety_text import variety_rows
from recsys.settings import Settings

commands = typer.Typer()


@commands.command()
def variety(context: typer.Context, as_json: AsJson = False) -> None:
    """Show what repeats in the lists of the latest run, and the items that most lists have."""
    settings: Settings = context.obj
    run = next((run for run in list_runs(settings.directory) if LISTS in run.manifest()["steps"]), None)
    summary = None if run is None else read_variety(run, settings.lists.max_per_type)
    if run is None or summary is None:
        raise RunError("no run has lists: run `recsys evaluate` or `recsys nightly` first")
    if as_json:
        print_json({"run": run.id, **asdict(summary)})
        return
    table = make_table(f"Lists of {run.id}", f"the first {summary.places} places have", right=("share of lists",))
    for name, share in variety_rows(summary):
        table.add_row(escape(name), share)
    console.print(table)
