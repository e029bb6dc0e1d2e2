"""Read rows in quarantine again once the settings are mended, and take those that are good now into the lake."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from jobs.checks.quarantine import QuarantineFile, choose_files, list_quarantine
from jobs.ingest.ingest import MAX_CLOCK_SKEW, check_tables
from jobs.ingest.watermark import stored_watermarks
from jobs.lake.fact_tables import ONLINE
from jobs.lake.lake import Lake
from jobs.quarantine.commit import commit_rereadings
from jobs.quarantine.online import retry_online
from jobs.quarantine.reading import NotRetriedError, QuarantineReader, Rereading
from recsys.settings import Sources


@dataclass(frozen=True)
class RetriedFile:
    """What became of the rows of a file in quarantine."""

    table: str
    source: str
    ingest: int | None
    """Number of the ingest that read the rows first; None for what was received online."""
    rows: int
    """Rows in quarantine that were read again."""
    accepted: int = 0
    """Those that keep all rules now."""
    quarantined: int = 0
    """Rows of the file that are in quarantine afterwards."""
    rules: dict[str, int] = field(default_factory=dict[str, int])
    """Rule -> rows that break it by the present settings; a row may break several."""
    is_whole: bool = False
    """Whether the source's file, which is still there, was read again as a whole."""
    reason: str = ""
    """Why the rows were not read again."""


@dataclass(frozen=True)
class Retry:
    """What reading rows in quarantine again changed, or would change."""

    ingest: int | None
    """Number of the ingest that took the rows in, for undoing it; None if nothing changed."""
    files: tuple[RetriedFile, ...]


def retry(
    lake: Lake,
    sources: Sources,
    latest: datetime,
    source: str | None = None,
    table: str | None = None,
    rule: str | None = None,
    dry_run: bool = False,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> Retry:
    """Read the rows in quarantine of a source and a table that broke a rule again, by the present settings.

    Where the source's file is still there as it was, it is read again as a whole. Rows that are good now become
    events, items or users of their source, by an ingest of its own; the others stay with the rules that they break
    now. Events later than `latest` break a rule, as in an ingest. With `dry_run` nothing changes. Raises
    `SourceError` for names without rows in quarantine.
    """
    check_tables(sources)
    with lake.locked() as scratch:
        listed = list_quarantine(lake)
        chosen = choose_files(listed, source, table, rule)
        reader = QuarantineReader(lake, sources, latest, scratch, on_rows)
        rereadings: list[Rereading] = []
        results: list[RetriedFile] = []
        for file, rules in chosen:
            try:
                if file.table == ONLINE:
                    results.append(_online_result(file, rules, reader, dry_run))
                    continue
                rereadings.append(reader.read(file, rules))
                results.append(_result(rereadings[-1]))
            except NotRetriedError as error:
                results.append(_unread(file, str(error)))
        number = None
        if not dry_run:
            now = latest - MAX_CLOCK_SKEW
            number = commit_rereadings(rereadings, listed, lake, now, stored_watermarks(lake))
    return Retry(number, tuple(results))


def _online_result(file: QuarantineFile, rules: list[str], reader: QuarantineReader, dry_run: bool) -> RetriedFile:
    rows, accepted, quarantined, broken = retry_online(
        file, rules, reader.lake, reader.sources, reader.latest, reader.scratch, dry_run
    )
    return RetriedFile(file.table, file.source, None, rows, accepted, quarantined, broken)


def _result(rereading: Rereading) -> RetriedFile:
    file = rereading.file
    counts = rereading.rows, rereading.accepted, rereading.quarantined, rereading.rules
    return RetriedFile(file.table, file.source, file.ingest, *counts, rereading.is_whole)


def _unread(file: QuarantineFile, reason: str) -> RetriedFile:
    return RetriedFile(
        file.table, file.source, file.ingest, 0, quarantined=file.rows, rules=file.rules, reason=reason
    )
