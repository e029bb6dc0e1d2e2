"""`recsys retention`: remove data that is older than the settings keep it."""

from dataclasses import asdict
from datetime import UTC, datetime

import typer

from jobs.cli.options import AsJson, Scheduled
from jobs.cli.render import print_json
from jobs.cli.schedule import run_exclusively
from jobs.retention import apply_retention
from jobs.scheduler.scheduler import JobName
from recsys.settings import Settings

commands = typer.Typer()


@commands.command()
def retention(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Remove data that is older than the settings in `[retention]` keep it."""
    settings: Settings = context.obj
    with run_exclusively(settings, JobName.RETENTION, scheduled):
        removed = apply_retention(settings, datetime.now(UTC))
    if as_json:
        print_json(asdict(removed))
        return
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in asdict(removed).items())
    typer.echo(f"Removed {counts}.")
