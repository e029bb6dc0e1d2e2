"""`recsys check`: check settings, sources, databases and Redis without changing anything."""

import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import typer
from rich.text import Text

from jobs.checks.outcome import Check, State, failed, passed
from jobs.checks.server import check_redis
from jobs.checks.sources import SourceChecks
from jobs.cli.data.ingest import source_paths
from jobs.cli.options import AsJson, SourcePaths
from jobs.cli.render import console, print_json
from jobs.ingest.ingest import MAX_CLOCK_SKEW
from jobs.lake.lake import open_lake
from recsys.errors import RecsysError
from recsys.settings import Settings

STYLES = {State.OK: "green", State.WARNING: "yellow", State.FAILED: "red"}

commands = typer.Typer()


@commands.command("check")
def check_command(context: typer.Context, sources: SourcePaths = None, as_json: AsJson = False) -> None:
    """Check settings, sources, the first rows of each table, databases and Redis; change nothing."""
    checks: list[Check] = []
    for check in run_checks(context.obj, sources):
        checks.append(check)
        if not as_json:
            _print_check(check)
    has_failed = any(check.state == State.FAILED for check in checks)
    if as_json:
        print_json({"checks": [asdict(check) for check in checks], "failed": has_failed})
    if has_failed:
        raise typer.Exit(2)


def run_checks(settings: Settings, sources: list[str] | None) -> Iterator[Check]:
    """Yield the outcome of each check, of the given sources or of those of the settings."""
    yield passed("settings", "all settings have accepted values")
    try:
        paths, lake = source_paths(settings, sources), open_lake(settings)
    except RecsysError as error:
        yield failed("sources", str(error))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            checks = SourceChecks(settings.sources, lake, datetime.now(UTC) + MAX_CLOCK_SKEW, Path(scratch))
            yield from checks.run(paths, with_queries=not sources)
    yield from check_redis(settings.redis, settings.directory)


def _print_check(check: Check) -> None:
    line = Text.assemble((f"{check.state:8}", STYLES[check.state]), f"{check.name}: {check.message}")
    console.print(line, soft_wrap=True)
