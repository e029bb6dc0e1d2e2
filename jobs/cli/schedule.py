"""`recsys schedule`, and the lock that keeps a job from running twice at once."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jobs.scheduler.attempts import run_job
from jobs.scheduler.child_process import EXIT_BUSY, stop_on_signals
from jobs.scheduler.history import AttemptOutcome
from jobs.scheduler.lock import job_lock, lock_holder
from jobs.scheduler.scheduler import JobName, create_job, run_schedule, scheduled_jobs
from recsys.errors import BusyError, RunError
from recsys.settings import Settings

commands = typer.Typer()


@commands.command()
def schedule(
    context: typer.Context,
    once: Annotated[JobName | None, typer.Option(help="Run this job now, with its retries, and exit")] = None,
) -> None:
    """Run the nightly, trending, archive and retention jobs at their times until SIGTERM or Ctrl-C."""
    settings: Settings = context.obj
    config: Path | None = context.find_root().params["config"]
    with stop_on_signals() as stop:
        if once is None:
            run_schedule(settings, scheduled_jobs(settings, config), stop)
            return
        attempt = run_job(create_job(once, config), datetime.now(UTC), settings, stop)
    if attempt.outcome != AttemptOutcome.SUCCEEDED:
        raise RunError(f"{once} {attempt.outcome} (attempt {attempt.attempt}): {attempt.error}")


@contextmanager
def run_exclusively(settings: Settings, job: JobName, scheduled: bool) -> Generator[None]:
    """Hold the lock of a job.

    Neither an archive nor a retention job runs beside a nightly run, whose input must not change. Raises
    `BusyError` if another process holds the lock; a job of the scheduler exits with `EXIT_BUSY` instead.
    """
    try:
        changes_input = job in (JobName.ARCHIVE, JobName.RETENTION)
        nightly = lock_holder(settings.directory, JobName.NIGHTLY) if changes_input else None
        if nightly is not None:
            raise BusyError(f"{job}: waits for {JobName.NIGHTLY}: {nightly}")
        with job_lock(settings.directory, job):
            yield
    except BusyError as error:
        if not scheduled:
            raise
        typer.echo(f"recsys: {error}", err=True)
        raise typer.Exit(EXIT_BUSY) from None
