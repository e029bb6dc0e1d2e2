"""`torchrun --nproc-per-node 2 -m jobs.cli.distributed`: fit LightGCN for a run in several processes.

Each process runs this, on one machine or on several that share the run's directory; the first one writes the step,
and `recsys nightly` of the same `--as-of` continues with it.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.options import AsOf, Config, parse_as_of
from jobs.lake.lake import open_lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.models import fit_on_all_events
from jobs.pipeline.run import Run, open_run, run_id
from jobs.pipeline.step_names import FEATURES, SEARCH, model_step
from jobs.pipeline.steps.search import apply_search, read_search_result
from jobs.progress import LogProgress
from recsys.errors import RecsysError, RunError
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file

ModelName = Annotated[str, typer.Option(help="Model to fit")]


def main(as_of: AsOf = None, config: Config = None, model: ModelName = "light_gcn") -> None:
    """Fit a model of a run whose features are computed, with the settings chosen by its search."""
    try:
        settings = load_settings(config or settings_file())
        configure_logging(settings.log_format)
        fit_together(settings, as_of, model)
    except (RecsysError, OSError) as error:
        typer.echo(f"recsys: {error}", err=True)
        raise typer.Exit(2) from None


def fit_together(settings: Settings, as_of: str | None, name: str) -> Path:
    """Fit a model in one of the processes that torchrun started; return the directory of the fitted model.

    Raises `RunError` if the run has no features yet.
    """
    moment = parse_as_of(as_of)
    run = Run(settings.directory / "runs" / run_id(moment), moment)
    if not (run.directory / FEATURES).is_dir():
        raise RunError(f"{run.directory}: features are not computed; run `recsys features` or `recsys train` first")
    has_search = (run.directory / SEARCH).is_dir()
    run_settings = apply_search(settings, read_search_result(run)) if has_search else settings
    fitted = fit_on_all_events(run, name, read_interactions(run, settings.sources), run_settings, LogProgress())
    if int(os.environ.get("RANK", "0")) == 0:
        lake = open_lake(settings)
        with open_run(settings, lake, moment) as locked_run:
            context = RunContext(locked_run, lake, run_settings, LogProgress())
            context.write_outputs({model_step(name): fitted.save})
    return run.directory / model_step(name)


if __name__ == "__main__":
    typer.run(main)
