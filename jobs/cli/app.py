"""The `recsys` command."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from features.registry import describe
from jobs.cli import render
from jobs.cli.actions import (
    advance,
    alone,
    archive_first,
    archive_online,
    complete_run,
    show_outcome,
    source_paths,
    take_in,
)
from jobs.cli.anomalies import anomalies_app
from jobs.cli.attack import attack_command
from jobs.cli.benchmark import benchmark_command
from jobs.cli.keys import keys_app
from jobs.cli.options import AsJson
from jobs.cli.serve import become_server
from jobs.demo.complete_journey import AS_OF, demo_directory, demo_settings
from jobs.demo.live import try_live
from jobs.lookup import Lookup
from jobs.pipeline.pipeline import Until, advance_run
from jobs.pipeline.steps.example_lists import find_examples
from jobs.pipeline.steps.publish import publish_run
from jobs.pipeline.trending import renew_trending
from jobs.progress import show_progress
from jobs.scheduler.attempts import run_job
from jobs.scheduler.child_process import stop_on_signals
from jobs.scheduler.history import AttemptOutcome as Ended
from jobs.scheduler.lock import lock_holder
from jobs.scheduler.scheduler import JobName, create_job, run_schedule, scheduled_jobs
from jobs.status import read_status
from recsys.errors import RecsysError, RunError
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file
from recsys.store.client.connect import connect
from recsys.store.embedded import stop_server
from recsys.store.keys import Keys
from recsys.store.publish.versions import roll_back

LISTED = 10
SHOWN_LIVE = 8


class OneLineErrors(TyperGroup):
    """Shows a user's mistake as one line and ends with status 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        try:
            return super().invoke(ctx)
        except (RecsysError, OSError) as error:
            typer.echo(f"recsys: {error}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recommendations for a shop: events in, top-N lists in Redis.\n\n"
    "Start with `recsys demo`. With data of your own: write recsys.toml, then `recsys nightly SOURCE…`.",
)
features_app = typer.Typer(
    help="User profiles, item features, interactions: computed from the lake.", invoke_without_command=True
)
app.add_typer(features_app, name="features")
app.add_typer(keys_app, name="keys")
app.add_typer(anomalies_app, name="anomalies")
app.command("attack")(attack_command)
app.command("benchmark")(benchmark_command)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="Settings file (default: $RECSYS_SETTINGS_FILE, else recsys.toml if there)"
    ),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        help="Moment up to which events count, as 2017-12-31 or 2017-12-31T06:00 in UTC (default: last midnight)"
    ),
]
Count = Annotated[int, typer.Option("--n", "-n", min=1, max=1000, help="Items to show")]
Scheduled = Annotated[bool, typer.Option("--scheduled", hidden=True)]
SourcePaths = Annotated[
    list[str] | None,
    typer.Argument(help="Files, directories, globs, s3:// addresses (default: sources.paths, and every query)"),
]
Full = Annotated[bool, typer.Option("--full", help="Read everything again, whatever the watermarks say")]


@app.callback()
def prepare(context: typer.Context, config: Config = None) -> None:
    """Read the settings once, for whichever command follows."""
    settings = load_settings(config or settings_file())
    configure_logging(settings.log_format)
    context.obj = settings


@app.command()
def demo(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(help="Directory with the Complete Journey files (default: the installed package's)"),
    ] = None,
    shoppers: Annotated[int, typer.Option(min=1, max=20, help="Shoppers to show")] = 3,
) -> None:
    """A year of a grocer's purchases: ingest, features, models, report, lists in a server of its own, and a shopper
    who buys something.
    """
    paths = (str(data or demo_directory()),)
    settings = demo_settings(context.obj)
    with show_progress() as progress:
        counts = take_in(settings, paths, progress)
        outcome = advance_run(settings, AS_OF, Until.PUBLISH, progress)
    render.show_ingest(counts)
    show_outcome(settings, outcome)
    lookup = Lookup.of(settings)
    examples = find_examples(outcome.run, lookup.lake, settings, shoppers)
    for example in examples:
        render.show_shopper(example, lookup.user(example.user_id, LISTED))
    render.show_live(try_live(settings, lookup, examples[0].user_id, SHOWN_LIVE))
    render.show_next_steps(settings.directory, lookup.address, examples[0].user_id)


@app.command("ingest")
def ingest_command(
    context: typer.Context, sources: SourcePaths = None, full: Full = False, as_json: AsJson = False
) -> None:
    """Read files and queries into the lake; bad rows go to quarantine, the same rows again change nothing."""
    with show_progress() as progress:
        counts = take_in(context.obj, source_paths(context.obj, sources), progress, queries=not sources, full=full)
    if as_json:
        render.print_json([asdict(count) for count in counts])
    else:
        render.show_ingest(counts)


@features_app.callback()
def features_command(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compute the features of a run (`recsys features describe` explains them)."""
    if context.invoked_subcommand is None:
        advance(context.obj, as_of, Until.FEATURES, as_json)


@features_app.command("describe")
def describe_command(as_json: AsJson = False) -> None:
    """Print every feature: table, name, dtype, meaning, unit."""
    catalogue = describe()
    if as_json:
        render.print_json(catalogue.to_dicts())
    else:
        render.show_features(catalogue)


@app.command()
def train(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compare the candidates on the validation window and fit the winner on everything."""
    advance(context.obj, as_of, Until.TRAIN, as_json)


@app.command()
def evaluate(
    context: typer.Context,
    as_of: AsOf = None,
    folds: Annotated[
        int | None, typer.Option(min=1, help="Test windows in a row to measure on (default: evaluation.folds)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train, rank, and write the run's report.html."""
    settings: Settings = context.obj
    if folds is not None:
        settings = replace(settings, evaluation=replace(settings.evaluation, folds=folds))
    advance(settings, as_of, Until.EVALUATE, as_json)


@app.command()
def publish(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Load a complete run's lists into Redis once more, the latest run's without --as-of."""
    settings: Settings = context.obj
    with show_progress() as progress:
        published = publish_run(complete_run(settings, as_of), settings, progress)
    if as_json:
        render.print_json(asdict(published))
    else:
        render.show_published(published)


@app.command()
def rollback(
    context: typer.Context,
    version: Annotated[
        str | None, typer.Argument(help="Version to make live (default: the one that was live before)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an older version's lists live again; readers notice nothing but the lists."""
    settings: Settings = context.obj
    client = connect(settings.redis, settings.directory)
    done = roll_back(client, Keys(settings.redis.namespace), version)
    if as_json:
        render.print_json(asdict(done))
    else:
        render.show_rolled_back(done)


@app.command()
def nightly(
    context: typer.Context,
    sources: SourcePaths = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
    scheduled: Scheduled = False,
) -> None:
    """Everything, in one run directory: ingest, features, models, report, publish. A killed run resumes."""
    settings: Settings = context.obj
    with alone(settings, JobName.NIGHTLY, scheduled):
        with show_progress() as progress:
            archived = archive_first(settings, progress)
        if archived.entries and not as_json:
            render.show_archived(archived)
        if sources or settings.sources.paths or settings.sources.queries:
            with show_progress() as progress:
                counts = take_in(settings, source_paths(settings, sources), progress, queries=not sources)
            if not as_json:
                render.show_ingest(counts)
        advance(settings, as_of, Until.PUBLISH, as_json)


@app.command()
def trending(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Archive and ingest what is new, and renew the trending list of the live version as of now."""
    settings: Settings = context.obj
    with alone(settings, JobName.TRENDING, scheduled), show_progress() as progress:
        # What a nightly run reads does not change under it; it has just taken in what there was.
        named = settings.sources.paths or settings.sources.queries
        free = lock_holder(settings.directory, JobName.NIGHTLY) is None
        if free:
            archive_first(settings, progress)
        if free and named:
            take_in(settings, settings.sources.paths, progress, queries=True)
        renewed = renew_trending(settings, datetime.now(UTC), progress)
    if as_json:
        render.print_json(asdict(renewed))
    else:
        render.show_renewed(renewed)


@app.command("archive")
def archive_command(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Move what was taken in online from Redis into the lake; what comes meanwhile is for the next archive."""
    settings: Settings = context.obj
    with alone(settings, JobName.ARCHIVE, scheduled), show_progress() as progress:
        archived = archive_online(settings, progress)
    if as_json:
        render.print_json(asdict(archived))
    else:
        render.show_archived(archived)


@app.command()
def schedule(
    context: typer.Context,
    once: Annotated[JobName | None, typer.Option(help="Run this job now, with its retries, and end")] = None,
) -> None:
    """Do the nightly run, the trending list and the archive at their times, until SIGTERM or Ctrl-C."""
    settings: Settings = context.obj
    config: Path | None = context.find_root().params["config"]
    with stop_on_signals() as stop:
        if once is None:
            run_schedule(settings, scheduled_jobs(settings, config), stop)
            return
        ended = run_job(create_job(once, config), datetime.now(UTC), settings, stop)
    if ended.outcome != Ended.SUCCEEDED:
        raise RunError(f"{once} {ended.outcome} (attempt {ended.attempt}): {ended.error}")


@app.command()
def recommend(
    context: typer.Context,
    user_id: Annotated[str, typer.Argument(metavar="USER")],
    n: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Look a user's list up in Redis; an unknown user gets the popular list."""
    found = Lookup.of(context.obj).user(user_id, n)
    render.show_lookup(found, as_json)


@app.command()
def similar(
    context: typer.Context,
    item_id: Annotated[str, typer.Argument(metavar="ITEM")],
    n: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Look up the items most like an item."""
    found = Lookup.of(context.obj).item(item_id, n)
    render.show_lookup(found, as_json)


@app.command()
def serve(
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: serving.host)")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port to listen on (default: serving.port)")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that answer (default: serving.workers)")
    ] = None,
) -> None:
    """Answer over HTTP from the live lists, until SIGTERM or Ctrl-C."""
    settings: Settings = context.obj
    given = {"host": host, "port": port, "workers": workers}
    serving = replace(settings.serving, **{name: value for name, value in given.items() if value is not None})
    become_server(replace(settings, serving=serving), context.find_root().params["config"])


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """What is in the lake, which runs and scheduled jobs there are, and what is live."""
    found = read_status(context.obj, datetime.now(UTC))
    if as_json:
        render.print_json(asdict(found))
    else:
        render.show_status(found)


@app.command()
def stop(context: typer.Context) -> None:
    """Stop the embedded server; its data stays, and the next command starts it again."""
    settings: Settings = context.obj
    stopped = stop_server(settings.directory / "valkey")
    typer.echo("The embedded server has stopped." if stopped else "No embedded server was running.")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
