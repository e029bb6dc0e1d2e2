"""Read quarantined events that were received online again. An archive cannot be undone, and neither can this."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import polars as pl

from jobs.checks.quarantine import QuarantineFile, breaks_rule, count_rules
from jobs.ingest.mapping import RULES, map_rows
from jobs.ingest.stream_entries import EVENTS
from jobs.ingest.validation import rejected_rows
from jobs.lake.event_writer import scan_files
from jobs.lake.lake import Lake
from jobs.quarantine.reading import NotRetriedError
from recsys.contract import events_schema
from recsys.files import atomic_write, copy_times, flush, link_or_copy
from recsys.settings import Sources

EVENTS_KIND = "events"


def retry_online(
    file: QuarantineFile,
    rules: Sequence[str],
    lake: Lake,
    sources: Sources,
    latest: datetime,
    scratch: Path,
    dry_run: bool,
) -> tuple[int, int, int, dict[str, int]]:
    """Read the events of a file that broke a rule again, and add those that are good now to the lake.

    Returns the rows that were read, those that are good, those that stay, and the rules that these break. Raises
    `NotRetriedError` for what are no events, or events of which a value was not kept.
    """
    if file.source != EVENTS_KIND:
        raise NotRetriedError(f"only events are read again, not {file.source}")
    stored = scan_files([file.path])
    is_read = breaks_rule(rules)
    rows = stored.filter(is_read).collect()
    mapped = map_rows(rows.drop(RULES), EVENTS, sources)
    # A time that could not be read was not kept: it is null, and breaks a rule again.
    accepted, failure = events_schema(sources.event_weights, latest).filter(mapped, cast=True)
    kept = scratch / f"{file.path.stem}.parquet"
    remaining = [stored.filter(~is_read).collect(), rejected_rows(failure)]
    pl.concat(remaining, how="diagonal_relaxed").write_parquet(kept)
    quarantined, broken = count_rules(kept)
    if not dry_run and accepted.height:
        _, files = lake.add_online_events(accepted.lazy())
        flush(files)
    if not dry_run:
        _replace(file.path, kept, quarantined)
    return rows.height, accepted.height, quarantined, broken


def _replace(path: Path, kept: Path, quarantined: int) -> None:
    if not quarantined:
        path.unlink(missing_ok=True)
        return
    copy_times(path, kept)
    with atomic_write(path) as temporary:
        link_or_copy(kept, temporary)
