"""`recsys trending`: renew the trending list between nightly runs."""

from dataclasses import asdict
from datetime import UTC, datetime

import typer

from jobs.cli.data.ingest import archive_if_available, ingest_sources
from jobs.cli.options import AsJson, Scheduled
from jobs.cli.render import console, print_json
from jobs.cli.schedule import run_exclusively
from jobs.pipeline.trending import renew_trending
from jobs.progress import show_progress
from jobs.scheduler.lock import lock_holder
from jobs.scheduler.scheduler import JobName
from recsys.settings import Settings

commands = typer.Typer()


@commands.command()
def trending(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Archive and ingest new events, and renew the trending list of the live version as of now."""
    settings: Settings = context.obj
    with run_exclusively(settings, JobName.TRENDING, scheduled), show_progress() as progress:
        # The input of a nightly run does not change while it runs; it has just ingested what there was.
        if lock_holder(settings.directory, JobName.NIGHTLY) is None:
            archive_if_available(settings, progress)
            if settings.sources.paths or settings.sources.queries:
                ingest_sources(settings, settings.sources.paths, progress, queries=True)
        renewed = renew_trending(settings, datetime.now(UTC), progress)
    if as_json:
        print_json(asdict(renewed))
    else:
        console.print(
            f"The trending list of version [bold]{renewed.version}[/] has {renewed.items:,} items now, "
            f"in {renewed.seconds:.1f} s"
        )
