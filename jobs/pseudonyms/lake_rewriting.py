"""Write a lake a second time, with other pseudonyms: day by day, and resumed where a killed process stopped."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl

from jobs.ingest.hidden_values import hide_broken
from jobs.ingest.mapping import RULES
from jobs.lake.event_writer import BUCKET, DATE, bucket_expression, partition_file, partition_files, scan_files
from jobs.lake.pseudonym_key import FILE as FINGERPRINT_FILE
from jobs.lake.state_files import read_state
from recsys.errors import StateError
from recsys.files import PARTIAL_SUFFIX, atomic_write, copy_times, flush, link_or_copy, remove_partial
from recsys.pseudonyms import Pseudonyms, replace_ids
from recsys.schema import GUEST_ID, USER_ID

EVENTS: Final = "events"
DONE: Final = ".rewritten"
"""Directory of a file for each day whose events are written."""
ARROW_SCHEMA: Final = "ARROW:schema"
"""Metadata that Polars writes itself."""


def rewrite_lake(
    source: Path,
    target: Path,
    buckets: int,
    added: Pseudonyms,
    on_files: Callable[[int], None] = lambda _files: None,
) -> None:
    """Write the lake `source` to `target` with the pseudonyms that `added` makes of its ids.

    A user's bucket changes with the id. The events of one day are in memory at a time, or one other file. Files
    that `target` has are not written again. Raises `StateError` if the numbers of events differ at the end.
    """
    remove_partial(target)
    files = [file for file in source.rglob("*") if file.is_file() and _is_copied(file.relative_to(source))]
    for file in sorted(files):
        copy = target / file.relative_to(source)
        if not copy.exists():
            _rewrite_file(file, copy, added)
        on_files(1)
    days = sorted({file.parent.name for file in partition_files(source / EVENTS)})
    for day in days:
        done = target / DONE / day
        if not done.exists():
            _rewrite_day(source / EVENTS, target / EVENTS, day.removeprefix(f"{DATE}="), buckets, added)
            done.parent.mkdir(parents=True, exist_ok=True)
            done.touch()
        on_files(1)
    _check_counts(source / EVENTS, target / EVENTS)


def _is_copied(file: Path) -> bool:
    """Return whether a file of a lake, by its relative path, is rewritten or linked as it is."""
    is_temporary = any(part.endswith(PARTIAL_SUFFIX) for part in file.parts)
    return file.parts[0] not in (EVENTS, ".lock", FINGERPRINT_FILE) and not is_temporary


def _rewrite_file(file: Path, copy: Path, added: Pseudonyms) -> None:
    with atomic_write(copy) as temporary:
        if file.suffix != ".parquet" or not added.by_column().keys() & pl.read_parquet_schema(file).keys():
            link_or_copy(file, temporary)
            return
        rows = read_state(file)
        metadata = {name: text for name, text in pl.read_parquet_metadata(file).items() if name != ARROW_SCHEMA}
        replaced = replace_ids(rows, added)
        if RULES in rows.columns:  # an earlier version kept what broke a rule
            replaced = hide_broken(replaced)
        _in_order(rows, replaced).write_parquet(temporary, metadata=metadata)
        copy_times(file, temporary)


def _in_order(rows: pl.DataFrame, replaced: pl.DataFrame) -> pl.DataFrame:
    """Return replaced rows sorted by the key by which the rows are sorted, if they are."""
    key = rows.columns[0]
    return replaced.sort(key) if key in (USER_ID, GUEST_ID) and rows[key].is_sorted() else replaced


def _rewrite_day(source: Path, target: Path, day: str, buckets: int, added: Pseudonyms) -> None:
    """Write the events of all buckets of a day, each into the bucket of the user's new id."""
    files = [file for file in partition_files(source) if file.parent.name == f"{DATE}={day}"]
    rows = replace_ids(pl.concat([read_state(file) for file in files]), added)
    parts = rows.with_columns(bucket_expression(buckets).alias(BUCKET)).partition_by(
        BUCKET, as_dict=True, include_key=False, maintain_order=True
    )
    written = [partition_file(target, int(bucket), day) for (bucket,) in parts]
    for file, part in zip(written, parts.values(), strict=True):
        with atomic_write(file) as temporary:
            part.write_parquet(temporary)
    flush(written)


def _check_counts(source: Path, target: Path) -> None:
    expected, counted = (_count(partition_files(directory)) for directory in (source, target))
    if expected != counted:
        raise StateError(f"{target}: has {counted:,} events, expected {expected:,}: remove {target.parent}")


def _count(files: list[Path]) -> int:
    return int(scan_files(files).select(pl.len()).collect().item()) if files else 0
