"""`torchrun --nproc-per-node 2 -m jobs.pipeline.distributed`: fit LightGCN for a run in several processes.

Each process runs this, on one machine or many that share the run's directory; the first one writes the step, and
`recsys nightly` of the same `--as-of` goes on with it.
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from jobs.cli.actions import moment_of
from jobs.cli.app import AsOf, Config
from jobs.lake import open_lake
from jobs.pipeline.run import Run, open_run, run_id
from jobs.pipeline.steps.evaluate import SEARCH
from jobs.pipeline.steps.features import FEATURES
from jobs.pipeline.steps.search import search_result, searched
from jobs.pipeline.steps.train import build_for_run, model_step
from jobs.pipeline.windows import known_in_run
from jobs.progress import LogProgress
from recsys.errors import RecsysError, RunError
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file


def main(as_of: AsOf = None, config: Config = None, model: Annotated[str, typer.Option()] = "light_gcn") -> None:
    """Fit a model of a run whose features are computed, with the settings that its search found."""
    try:
        settings = load_settings(config or settings_file())
        configure_logging(settings.log_format)
        fit_together(settings, as_of, model)
    except (RecsysError, OSError) as error:
        typer.echo(f"recsys: {error}", err=True)
        raise typer.Exit(2) from None


def fit_together(settings: Settings, as_of: str | None, name: str) -> Path:
    """Fit as one of the processes that torchrun started; the directory of the fitted model."""
    moment = moment_of(as_of)
    run = Run(settings.directory / "runs" / run_id(moment), moment)
    if not (run.directory / FEATURES).is_dir():
        raise RunError(f"{run.directory}: features are not computed; run `recsys features` or `recsys train` first")
    found = searched(settings, search_result(run)) if (run.directory / SEARCH).is_dir() else settings
    known = known_in_run(run.directory / FEATURES, moment)
    fitted = build_for_run(run, name, found, LogProgress()).fit(known)
    if int(os.environ.get("RANK", "0")) == 0:
        with open_run(settings, open_lake(settings), moment) as held:
            held.step(model_step(name), fitted.save)
    return run.directory / model_step(name)


if __name__ == "__main__":
    typer.run(main)
