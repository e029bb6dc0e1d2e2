"""`recsys ingest` and `recsys archive`: from files, queries and the stream of events into the lake."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import structlog
import typer
from rich.markup import escape
from rich.text import Text

from jobs.checks.dry_run import SampleRows, copied_lake
from jobs.cli.options import AsJson, Scheduled, SourcePaths
from jobs.cli.render import console, make_table, print_json, print_rows
from jobs.cli.schedule import run_exclusively
from jobs.erasure.erase import finish_pending
from jobs.ingest.commit import TableCount
from jobs.ingest.files import SkippedFile
from jobs.ingest.ingest import MAX_CLOCK_SKEW, MAX_LOGGED_FILES, ingest
from jobs.ingest.mapping import RULES
from jobs.ingest.schema_drift import possible_renames
from jobs.ingest.stream import ArchiveResult, archive
from jobs.ingest.validation import StagedTable
from jobs.lake.lake import Lake, open_lake
from jobs.lake.pseudonym_key import check_store_if_running
from jobs.progress import Progress, show_progress
from jobs.retention import first_kept_day
from jobs.scheduler.scheduler import JobName
from recsys.errors import RecsysError, SettingsError, StoreError
from recsys.settings import Settings
from recsys.store.client.connect import connect
from recsys.store.keys import Keys
from recsys.store.pseudonym_key import check_store

log = structlog.get_logger(__name__)

commands = typer.Typer()

Full = Annotated[bool, typer.Option("--full", help="Read all rows again and ignore watermarks")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Let each source replace all that it gave before, also by far fewer rows")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Read and check all rows, show what would be done, and change nothing")
]


@commands.command("ingest")
def ingest_command(
    context: typer.Context,
    sources: SourcePaths = None,
    full: Full = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Read files and queries into the lake; invalid rows are quarantined, corrected rows replace earlier ones."""
    paths = source_paths(context.obj, sources)
    skipped: list[SkippedFile] = []
    with show_progress() as progress:
        read = partial(
            ingest_sources,
            context.obj,
            paths,
            progress,
            queries=not sources,
            full=full or replace,
            replace=replace,
            on_skipped=skipped.append,
        )
        if dry_run:
            counts, samples, stopped = _try_ingest(context.obj, read)
        else:
            counts, samples, stopped = read(), None, None
    if as_json:
        result = {"sources": [asdict(count) for count in counts], "skipped_files": list(map(asdict, skipped))}
        print_json(result | (sample_rows_json(samples) if samples else {}))
    else:
        if samples is not None:
            print_sample_rows(samples)
        if stopped is None:
            print_counts(counts, "Would be ingested" if dry_run else "Ingested")
        print_skipped(skipped)
    if stopped is not None:
        raise stopped


@commands.command("archive")
def archive_command(context: typer.Context, as_json: AsJson = False, scheduled: Scheduled = False) -> None:
    """Move the events received online from Redis into the lake; later events wait for the next archive."""
    settings: Settings = context.obj
    with run_exclusively(settings, JobName.ARCHIVE, scheduled):
        with show_progress() as progress:
            archived = archive_stream(settings, progress)
        finish_pending(settings)
    if as_json:
        print_json(asdict(archived))
    else:
        print_archived(archived)


def _try_ingest(
    settings: Settings, read: Callable[..., list[TableCount]]
) -> tuple[list[TableCount], SampleRows, RecsysError | None]:
    """Ingest into a temporary copy of the lake; return the counts, sample rows, and why an ingest would stop."""
    samples = SampleRows()
    with copied_lake(open_lake(settings), settings.directory) as copy:
        try:
            return read(lake=copy, on_table=samples.add), samples, None
        except RecsysError as error:
            return [], samples, error


def ingest_sources(
    settings: Settings,
    paths: tuple[str, ...],
    progress: Progress,
    queries: bool = False,
    full: bool = False,
    replace: bool = False,
    on_skipped: Callable[[SkippedFile], None] = lambda _file: None,
    lake: Lake | None = None,
    on_table: Callable[[StagedTable], None] = lambda _table: None,
) -> list[TableCount]:
    """Ingest files, and the queries of the settings if `queries` is true; into the lake of the settings if None."""
    now = datetime.now(UTC)
    latest, oldest = now + MAX_CLOCK_SKEW, first_kept_day(settings.retention.event_days, now)
    lake = lake or open_lake(settings)
    check_store_if_running(settings, lake.pseudonyms)
    with progress.task("read sources") as task:
        return ingest(
            paths,
            settings.sources,
            lake,
            latest,
            task.advance,
            queries,
            full,
            replace,
            on_skipped,
            on_table,
            oldest,
        )


def source_paths(settings: Settings, sources: list[str] | None) -> tuple[str, ...]:
    """Return the given sources, or those of the settings; raises `SettingsError` if there are none."""
    paths = tuple(sources or settings.sources.paths)
    if not paths and not settings.sources.queries:
        raise SettingsError("no source is named: give files, directories or globs, or set sources.paths")
    return paths


def archive_stream(settings: Settings, progress: Progress) -> ArchiveResult:
    """Move the stream of events into the lake; raises `StoreError` if Redis does not answer."""
    lake, keys = open_lake(settings), Keys(settings.redis.namespace)
    client = connect(settings.redis, settings.directory)
    check_store(client, keys, lake.pseudonyms)
    latest = datetime.now(UTC) + MAX_CLOCK_SKEW
    with progress.task("archive the stream of events") as task:
        return archive(lake, settings.sources, client, keys, latest, task.advance)


def archive_if_available(settings: Settings, progress: Progress) -> ArchiveResult:
    """Move the stream of events into the lake; if Redis does not answer, log it and leave the stream for later."""
    try:
        return archive_stream(settings, progress)
    except StoreError as error:
        log.warning("stream of events is not archived", error=str(error))
        return ArchiveResult()


def print_counts(counts: Sequence[TableCount], title: str = "Ingested") -> None:
    """Print the counts of each table's rows, the broken rules and the changed columns."""
    table = make_table(title, "file", "as", right=("rows", "new", "changed", "duplicate", "removed", "quarantined"))
    for count in counts:
        numbers = (
            *(count.rows, count.accepted, count.changed, count.duplicates),
            *(count.removed, count.quarantined),
        )
        table.add_row(escape(count.file), escape(count.table), *(f"{number:,}" for number in numbers))
    console.print(table)
    for count in counts:
        for rule, rows in sorted(count.rules.items()):
            console.print(f"  {escape(count.table)}: {rows:,} rows broke {rule}")
        _print_left_out(count)
        if count.passed_over:
            console.print(
                f"  {escape(count.table)}: {count.passed_over:,} rows are below the watermark (see --full)"
            )
        for note in (*count.notes, *count.findings):
            console.print(Text(f"  {count.file}: {note}"), soft_wrap=True)
        for change in count.schema_changes:
            before, after = change.before or "missing", change.after or "missing"
            console.print(Text(f"  {count.table}: column {change.column} was {before}, is {after}"), soft_wrap=True)
        for old, new in possible_renames(count.schema_changes):
            hint = f"  {count.table}: was column {old} renamed to {new}? Then map {new} instead, and ingest again"
            console.print(Text(hint), soft_wrap=True)


def _print_left_out(count: TableCount) -> None:
    """Print how many rows were left out although they keep all rules, and why."""
    reasons = {
        "are of erased users": count.erased,
        "are of users who opted out": count.opted_out,
        "are older than retention.event_days": count.expired,
    }
    for reason, rows in reasons.items():
        if rows:
            console.print(f"  {escape(count.table)}: {rows:,} rows {reason}, and left out")


def print_sample_rows(samples: SampleRows) -> None:
    """Print the first rows of each table as they will be read, and the first bad rows of each rule."""
    for name, rows in samples.valid.items():
        print_rows(f"First rows of {name}, as they are read", rows)
    for bad in samples.bad:
        print_rows(f"Rows of {bad.table} in {bad.file} that break {bad.rule}, as they came", bad.rows.drop(RULES))


def sample_rows_json(samples: SampleRows) -> dict[str, object]:
    """Return sample rows for `print_json`."""
    return {
        "first_rows": {name: rows.to_dicts() for name, rows in samples.valid.items()},
        "bad_rows": [asdict(bad) | {"rows": bad.rows.to_dicts()} for bad in samples.bad],
    }


def print_skipped(skipped: Sequence[SkippedFile]) -> None:
    """Print the files that were found and not read, at most `MAX_LOGGED_FILES`, and the number of the others."""
    for file in skipped[:MAX_LOGGED_FILES]:
        console.print(Text(f"  skipped {file.file}: {file.reason}"), soft_wrap=True)
    if len(skipped) > MAX_LOGGED_FILES:
        console.print(f"  skipped {len(skipped) - MAX_LOGGED_FILES:,} more files")


def print_archived(archived: ArchiveResult) -> None:
    """Print the counts of rows moved from Redis into the lake."""
    console.print(
        f"Archived {archived.entries:,} entries in {archived.seconds:.1f} s: {archived.events:,} new events, "
        f"{archived.duplicates:,} duplicates, {archived.impressions:,} items shown, "
        f"{archived.items:,} items changed, {archived.flags:,} flags, {archived.labels:,} labels, "
        f"{archived.identities:,} log-ins, {archived.erased:,} of erased users, "
        f"{archived.opted_out:,} of users who opted out, "
        f"{archived.invalid:,} quarantined",
        soft_wrap=True,
    )
