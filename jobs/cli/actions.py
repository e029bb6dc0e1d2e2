"""What several commands do: ingest, take a run on, keep others out, show what came of it."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime

import structlog
import typer

from jobs.cli import render
from jobs.ingest.ingest import MAX_CLOCK_SKEW, TableCount, ingest
from jobs.ingest.stream import ArchiveResult, archive
from jobs.lake import open_lake
from jobs.pipeline.pipeline import RunResult, Until, advance_run
from jobs.pipeline.run import COMPLETE, Run, list_runs, run_id
from jobs.pipeline.step_names import FEATURES, TEST, VALIDATION
from jobs.pipeline.steps.evaluate import read_measurements
from jobs.progress import Progress, show_progress
from jobs.scheduler.child_process import EXIT_BUSY
from jobs.scheduler.lock import job_lock, lock_holder
from jobs.scheduler.scheduler import JobName
from recsys.errors import BusyError, RunError, SettingsError, StoreError
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys

log = structlog.get_logger(__name__)


def take_in(
    settings: Settings, paths: tuple[str, ...], progress: Progress, queries: bool = False, full: bool = False
) -> list[TableCount]:
    """Ingest files, and the queries of the settings where asked to."""
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW
    with progress.task("read sources") as task:
        return ingest(paths, settings.sources, open_lake(settings), latest, task.advance, queries, full)


def archive_online(settings: Settings, progress: Progress) -> ArchiveResult:
    """Move what was taken in online into the lake; raises `StoreError` when Redis does not answer."""
    client = connect(settings.redis, settings.directory)
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW
    with progress.task("archive the stream of events") as task:
        return archive(
            open_lake(settings), settings.sources, client, Keys(settings.redis.namespace), latest, task.advance
        )


def archive_first(settings: Settings, progress: Progress) -> ArchiveResult:
    """The same before other work, which goes on when Redis does not answer: what is in the stream stays there."""
    try:
        return archive_online(settings, progress)
    except StoreError as error:
        log.warning("what was taken in online is not archived", error=str(error))
        return ArchiveResult()


@contextmanager
def alone(settings: Settings, job: JobName, scheduled: bool) -> Generator[None]:
    """Do a job that no other process is doing; the scheduler is told by a status of its own when one is.

    What a nightly run reads does not change under it, so nothing is archived meanwhile.
    """
    try:
        nightly = lock_holder(settings.directory, JobName.NIGHTLY) if job == JobName.ARCHIVE else None
        if nightly is not None:
            raise BusyError(f"{job}: waits for {JobName.NIGHTLY}: {nightly}")
        with job_lock(settings.directory, job):
            yield
    except BusyError as error:
        if not scheduled:
            raise
        typer.echo(f"recsys: {error}", err=True)
        raise typer.Exit(EXIT_BUSY) from None


def source_paths(settings: Settings, sources: list[str] | None) -> tuple[str, ...]:
    """What is typed, else what the settings name; raises `SettingsError` when neither names anything."""
    paths = tuple(sources or settings.sources.paths)
    if not paths and not settings.sources.queries:
        raise SettingsError("no source is named: give files, directories or globs, or set sources.paths")
    return paths


def parse_as_of(as_of: str | None) -> datetime:
    """What --as-of says, in UTC; the last midnight where it says nothing."""
    now = datetime.now(UTC)
    if as_of is None:
        return now.replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        moment = datetime.fromisoformat(as_of)
    except ValueError:
        raise SettingsError(f"--as-of = {as_of!r}: expected a date or time such as 2017-12-31T06:00") from None
    moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    if moment > now:
        raise SettingsError(f"--as-of = {as_of!r}: lies in the future")
    return moment


def advance(settings: Settings, as_of: str | None, until: Until, as_json: bool) -> None:
    """Take the run of `as_of` to `until`, and show what came of it."""
    with show_progress() as progress:
        outcome = advance_run(settings, parse_as_of(as_of), until, progress)
    if as_json:
        render.print_json(outcome.run.manifest())
    else:
        show_outcome(settings, outcome)


def complete_run(settings: Settings, as_of: str | None) -> Run:
    """The complete run of `as_of`, the latest where it says nothing; raises `RunError` when there is none."""
    wanted = None if as_of is None else run_id(parse_as_of(as_of))
    for run in list_runs(settings.directory):
        if run.manifest()["status"] == COMPLETE and wanted in (None, run.id):
            return run
    raise RunError(
        f"no complete run{f' {wanted}' if wanted else ''} under {settings.directory}: run `recsys nightly`"
    )


def show_outcome(settings: Settings, outcome: RunResult) -> None:
    """What a run measured, wrote and published."""
    if outcome.winner is not None:
        for window in (VALIDATION, TEST):
            found = read_measurements(outcome.run, settings, window)
            render.show_measurements(found, outcome.winner, settings.evaluation.metric, window)
    if outcome.report is not None:
        render.show_path("Report", outcome.report)
    if outcome.published is not None:
        render.show_published(outcome.published)
    elif outcome.run.manifest()["status"] == COMPLETE:
        typer.echo(f"The run {outcome.run.id} was complete already; `recsys publish` loads its lists once more.")
    if outcome.winner is None:
        render.show_path("Features", outcome.run.directory / FEATURES)
