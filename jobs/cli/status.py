"""`recsys status` and `recsys stop`: show an installation, and stop its embedded server."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import typer
from rich.markup import escape

from jobs.audit import audit
from jobs.cli.options import AsJson
from jobs.cli.render import console, make_table, print_json
from jobs.status import CatalogueStatus, LakeStatus, RedisStatus, RunStatus, ScheduleStatus, Status, read_status
from recsys.settings import Settings
from recsys.store.embedded import stop_server

commands = typer.Typer()


@commands.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """Show the lake, the catalogue, the runs, the scheduled jobs and the live version."""
    current = read_status(context.obj, datetime.now(UTC))
    if as_json:
        print_json(asdict(current))
    else:
        print_status(current)


@commands.command()
def stop(context: typer.Context) -> None:
    """Stop the embedded Redis server; its data stays, and the next command starts it again."""
    settings: Settings = context.obj
    audit(settings, "stop")
    stopped = stop_server(settings.directory / "valkey")
    typer.echo("The embedded server has stopped." if stopped else "No embedded server was running.")


def print_status(status: Status) -> None:
    """Print the lake, the catalogue, the runs, the jobs and the versions."""
    _print_lake(status.lake)
    _print_catalogue(status.catalogue)
    _print_runs(status.runs)
    _print_schedule(status.schedule)
    if status.redis is None:
        console.print(f"Redis: {escape(status.redis_error or '')}")
    else:
        _print_redis(status.redis)


def _print_lake(lake: LakeStatus) -> None:
    span = f", {lake.first:%Y-%m-%d} to {lake.last:%Y-%m-%d}" if lake.first and lake.last else ""
    console.print(f"Lake: {lake.events:,} events{span}; {lake.items:,} items, {lake.users:,} users")


def _print_catalogue(catalogue: CatalogueStatus) -> None:
    console.print(
        f"Catalogue: {catalogue.items:,} items; {catalogue.offered:,} can be recommended, "
        f"{catalogue.unavailable:,} are unavailable, {catalogue.outside_validity:,} are outside their validity",
        soft_wrap=True,
    )
    times = {
        table: "unknown" if time is None else f"{time:%Y-%m-%d %H:%M} UTC"
        for table, time in catalogue.last_changes.items()
    }
    if times:
        changes = "; ".join(f"{table} {time}" for table, time in times.items())
        console.print(f"Last change of the catalogue: {escape(changes)}", soft_wrap=True)


def _print_runs(runs: list[RunStatus]) -> None:
    table = make_table("Runs", "run", "status", "model", "seconds", "directory")
    for run in runs:
        state = f"{run.status}: {run.error}" if run.error else run.status
        cells = (run.run_id, state, run.winner or "", str(run.seconds), str(run.directory))
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)
    if runs and runs[0].unmeasured:
        console.print(f"Run {runs[0].run_id}: {escape(runs[0].unmeasured)}", soft_wrap=True)


def _print_schedule(schedule: ScheduleStatus) -> None:
    due = "; ".join(f"{job} next at {moment:%Y-%m-%d %H:%M} UTC" for job, moment in schedule.due.items())
    if schedule.scheduler is None:
        console.print("Schedule: not running" + (f" ({due}, once `recsys schedule` runs)" if due else ""))
    else:
        console.print(f"Schedule: {schedule.scheduler}; {due}")
    if schedule.attempts:
        table = make_table("Jobs", "job", "due (UTC)", "attempt", "outcome", "seconds")
        for attempt in schedule.attempts:
            state = f"{attempt.outcome}: {attempt.error}" if attempt.error else attempt.outcome
            seconds = f"{(attempt.ended - attempt.started).total_seconds():.1f}" if attempt.ended else ""
            due_at = f"{attempt.scheduled:%Y-%m-%d %H:%M:%S}"
            table.add_row(escape(attempt.job), due_at, str(attempt.attempt), escape(state), seconds)
        console.print(table)


def _print_redis(redis: RedisStatus) -> None:
    console.print(f"Redis at {redis.address}: {redis.memory_bytes / 2**20:.1f} MB in use")
    for problem in redis.problems:
        console.print(f"[red]Redis: {escape(problem)}[/]", soft_wrap=True)
    waited = redis.oldest_entry_seconds
    since = "" if waited is None else f", the oldest for {timedelta(seconds=round(waited))}"
    console.print(f"Stream of events: {redis.stream.entries:,} entries wait to be archived{since}")
    table = make_table("Versions", "version", "published", "live")
    for version in redis.versions:
        incomplete = "" if version.live else "incomplete"
        published = f"{version.published_at:%Y-%m-%d %H:%M:%S}" if version.published_at else incomplete
        table.add_row(version.name, published, "live" if version.live else "")
    console.print(table)
