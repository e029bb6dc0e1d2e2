"""`recsys features`, `train`, `evaluate` and `nightly`: take a run through its steps."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import polars as pl
import typer
from rich.markup import escape

from features.registry import describe
from jobs.cli.data.ingest import archive_if_available, ingest_sources, print_archived, print_counts, source_paths
from jobs.cli.nightly.publish import print_published
from jobs.cli.options import AsJson, AsOf, Scheduled, SourcePaths, parse_as_of
from jobs.cli.render import console, make_table, print_json, print_path
from jobs.cli.schedule import run_exclusively
from jobs.erasure.erase import finish_pending
from jobs.erasure.receipts import close_receipts
from jobs.lake.lake import open_lake
from jobs.pipeline.run import COMPLETE
from jobs.pipeline.step_names import FEATURES, TEST, VALIDATION, Until
from jobs.progress import show_progress
from jobs.scheduler.scheduler import JobName
from recsys.settings import Settings

if TYPE_CHECKING:
    from jobs.pipeline.pipeline import RunResult
    from recsys.evaluation.comparison.measurement import ModelMeasurement

commands = typer.Typer()
features_app = typer.Typer(
    help="Compute the features of a run (`recsys features describe` lists them).", invoke_without_command=True
)
commands.add_typer(features_app, name="features")


@features_app.callback()
def features(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compute the features of a run (`recsys features describe` lists them)."""
    if context.invoked_subcommand is None:
        _advance(context.obj, as_of, Until.FEATURES, as_json)


@features_app.command("describe")
def describe_command(as_json: AsJson = False) -> None:
    """Print every feature: table, name, dtype, meaning, unit."""
    catalogue = describe()
    if as_json:
        print_json(catalogue.to_dicts())
    else:
        print_features(catalogue)


@commands.command()
def train(context: typer.Context, as_of: AsOf = None, as_json: AsJson = False) -> None:
    """Compare the models on the validation window and fit the winner on all events."""
    _advance(context.obj, as_of, Until.TRAIN, as_json)


@commands.command()
def evaluate(
    context: typer.Context,
    as_of: AsOf = None,
    folds: Annotated[
        int | None, typer.Option(min=1, help="Number of consecutive test windows (default: evaluation.folds)")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train, rank items, and write the run's report.html."""
    settings: Settings = context.obj
    if folds is not None:
        settings = replace(settings, evaluation=replace(settings.evaluation, folds=folds))
    _advance(settings, as_of, Until.EVALUATE, as_json)


@commands.command()
def nightly(
    context: typer.Context,
    sources: SourcePaths = None,
    as_of: AsOf = None,
    as_json: AsJson = False,
    scheduled: Scheduled = False,
) -> None:
    """Do everything in one run: archive, ingest, features, models, report, publish. A killed run resumes."""
    settings: Settings = context.obj
    parse_as_of(as_of)  # a wrong moment is an error before any work
    with run_exclusively(settings, JobName.NIGHTLY, scheduled):
        with show_progress() as progress:
            archived = archive_if_available(settings, progress)
        finish_pending(settings)
        if archived.entries and not as_json:
            print_archived(archived)
        if sources or settings.sources.paths or settings.sources.queries:
            with show_progress() as progress:
                counts = ingest_sources(settings, source_paths(settings, sources), progress, queries=not sources)
            if not as_json:
                print_counts(counts)
        started_at = datetime.now(UTC)
        result = _advance(settings, as_of, Until.PUBLISH, as_json)
        if result.published is not None:
            close_receipts(open_lake(settings), result.run.id, started_at, datetime.now(UTC))


def _advance(settings: Settings, as_of: str | None, until: Until, as_json: bool) -> "RunResult":
    from jobs.pipeline.pipeline import advance_run  # the models take longer to import than an ingest

    with show_progress() as progress:
        result = advance_run(settings, parse_as_of(as_of), until, progress)
    if as_json:
        print_json(result.run.manifest())
    else:
        print_result(settings, result)
    return result


def print_result(settings: Settings, result: "RunResult") -> None:
    """Print the measurements and outputs of a run, and its published version."""
    from jobs.pipeline.steps.evaluate import read_measurements
    from jobs.pipeline.steps.plan_measurement import describe_plan

    if result.winner is not None:
        for window in (VALIDATION, TEST):
            measurements = read_measurements(result.run, settings, window)
            if measurements:
                print_measurements(measurements, result.winner, settings.evaluation.metric, window)
        for sentence in describe_plan(result.run, result.winner):
            typer.echo(sentence)
    if result.report is not None:
        print_path("Report", result.report)
    if result.published is not None:
        print_published(result.published)
    elif result.run.manifest()["status"] == COMPLETE:
        typer.echo(f"The run {result.run.id} was complete already; `recsys publish` loads its lists again.")
    if result.winner is None:
        print_path("Features", result.run.directory / FEATURES)


def print_measurements(measurements: "Sequence[ModelMeasurement]", winner: str, metric: str, window: str) -> None:
    """Print the models' metrics on one window, best first."""
    cutoff = metric.partition("@")[2]
    names = ("recall", "ndcg", "hit_rate")
    table = make_table(
        f"Models on the {window} window, at {cutoff}", "model", right=(*names, "coverage", f"{metric}, 95 %")
    )
    for model in sorted(measurements, key=lambda model: -model.metrics[metric]):
        low, high = model.intervals[metric]
        cells = [f"{model.metrics[f'{name}@{cutoff}']:.4f}" for name in names]
        name = f"[bold green]{model.name}[/] *" if model.name == winner else model.name
        table.add_row(name, *cells, f"{model.catalogue[f'coverage@{cutoff}']:.1%}", f"{low:.4f}–{high:.4f}")
    console.print(table)
    if window == VALIDATION:
        console.print(f"* {winner} is published: the best {metric} on this window, where weights are chosen.\n")


def print_features(catalogue: pl.DataFrame) -> None:
    """Print the features, one table for each feature table."""
    for (name,), rows in catalogue.group_by("table", maintain_order=True):
        table = make_table(str(name), "feature", "dtype", "unit", "meaning")
        for row in rows.select("name", "dtype", "unit", "meaning").rows():
            table.add_row(*(escape(cell) for cell in row))
        console.print(table)
