"""Archive the online event stream: move its entries from Redis into the lake, block by block.

A block is removed from the stream only when all of it is on disk. If an archive is killed, the next one writes the
same entries again: events are deduplicated by their ids; the other files are named by the block's first entry and
replaced.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from jobs.ingest.source_records import read_ingests
from jobs.ingest.stream_entries import (
    EVENTS,
    ITEMS,
    change_times,
    decode_entries,
    flag_rows,
    identity_rows,
    impression_rows,
    label_rows,
    mapped_rows,
    unreadable_rows,
)
from jobs.ingest.validation import rejected_rows
from jobs.lake.erasure_requests import ErasureRequest, receipt_file, store_request
from jobs.lake.fact_tables import IDENTITIES, ONLINE, PRICES_FILE
from jobs.lake.facts import last_values
from jobs.lake.lake import DAILY_TABLES, FLAGS, IMPRESSIONS, LABELS, ONLINE_CHANGES_FILE, Lake
from jobs.lake.opt_outs import change_opt_outs, opted_out_users, without_opted_out
from jobs.lake.tombstones import Tombstones, read_tombstones
from recsys.contract import Identities, Items, Labels, events_schema, flags_schema, impressions_schema
from recsys.files import atomic_write, flush
from recsys.schema import GUEST_ID, ITEM_ID
from recsys.settings import Sources
from recsys.settings.types import REDACTED
from recsys.store.client.connect import Client
from recsys.store.event_stream import (
    Entry,
    entry_sort_key,
    last_entry_id,
    read_entries,
    remove_entries,
)
from recsys.store.keys import (
    ERASURE_FIELD,
    EVENT_FIELD,
    FLAG_FIELD,
    IDENTITY_FIELD,
    IMPRESSIONS_FIELD,
    ITEM_FIELD,
    LABEL_FIELD,
    OPT_OUT_FIELD,
    Keys,
)

BLOCK_ENTRIES: Final = 50_000
"""Entries that are archived together: for each block, the lake is searched for events that it has already."""
PART: Final = ONLINE  # prefix of the names of a block's files in directories shared with ingests


@dataclass(frozen=True)
class ArchiveResult:
    """The numbers of rows that an archive has moved into the lake."""

    events: int = 0
    """Events that are new to the lake."""
    duplicates: int = 0
    """Events that the lake already had, or that were read twice."""
    impressions: int = 0
    """Items shown."""
    items: int = 0
    """Items with changes, counted once in each block."""
    flags: int = 0
    """Flags raised online, including those in shadow mode."""
    labels: int = 0
    """Users labeled by analysts, counted once in each block."""
    identities: int = 0
    """Guests who logged in, counted once in each block."""
    invalid: int = 0
    """Rows that broke a rule, and entries that cannot be read."""
    entries: int = 0
    """Entries removed from the stream."""
    seconds: float = 0.0
    erased: int = 0
    """Rows of users who were erased since, which are left out."""
    opted_out: int = 0
    """Rows of users who have opted out, which are left out."""
    erasures: int = 0
    """Requests to erase a user."""

    def plus(self, other: "ArchiveResult") -> "ArchiveResult":
        """Return the sums of two results."""
        return ArchiveResult(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def archive(
    lake: Lake,
    sources: Sources,
    client: Client,
    keys: Keys,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> ArchiveResult:
    """Move all entries of the stream into the lake; entries that arrive meanwhile stay for the next archive.

    Events later than `latest` break a rule, as in an ingest. Each event is in the lake once, even if an archive is
    killed. Raises `StoreError` when Redis does not answer; entries that were not moved are still in the stream.
    """
    started = time.perf_counter()
    until, total = last_entry_id(client, keys), ArchiveResult()
    while until is not None:
        # Read under the lock, because another archive may just have moved these entries.
        with lake.locked():
            block = read_entries(client, keys, until, BLOCK_ENTRIES)
            if not block:
                break
            total = total.plus(_write_block(block, lake, sources, latest))
            remove_entries(client, keys, block[-1].id)
        on_rows(len(block))
    return replace(total, seconds=time.perf_counter() - started)


@dataclass
class _Block:
    """The files of one block, named by its first entry, so that writing the block again replaces them."""

    lake: Lake
    first: str
    last: str
    written: list[Path]
    tombstones: Tombstones
    opted_out_users: pl.Series | None
    erased: int = 0
    opted_out: int = 0

    def without_erased(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out the rows of users who were erased since, and count them."""
        kept = self.tombstones.without_erased(rows)
        self.erased += rows.height - kept.height
        return kept

    def without_refused(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Leave out the rows of users who were erased since, or have opted out, and count them."""
        known = self.without_erased(rows)
        kept = without_opted_out(known, self.opted_out_users)
        self.opted_out += known.height - kept.height
        return kept

    def quarantine(self, kind: str, rows: pl.DataFrame) -> int:
        """Write rejected rows to quarantine, if there are any of users who are not erased; return how many."""
        rows = self.tombstones.without_erased_texts(rows)
        if rows.height:
            file = self.lake.directory / "quarantine" / f"{PART}-{kind}-{self.first}.parquet"
            with atomic_write(file) as temporary:
                rows.write_parquet(temporary)
            self.written.append(file)
        return rows.height

    def finish(self) -> None:
        """Remove files that an earlier archive wrote for the same entries, and wait until all files are on disk."""
        directory, first, last = self.lake.directory, entry_sort_key(self.first), entry_sort_key(self.last)
        daily = (file for table in DAILY_TABLES for file in directory.glob(f"{table}/*/*.parquet"))
        blocks = [*daily, *directory.glob(f"quarantine/{PART}-*.parquet")]
        for file in set(blocks) - set(self.written):
            if first <= entry_sort_key("-".join(file.stem.split("-")[-2:])) <= last:
                file.unlink()
        items = (f"facts/items/{ONLINE}.parquet", ONLINE_CHANGES_FILE, PRICES_FILE, "items.parquet")
        identities = (f"facts/{IDENTITIES}/{ONLINE}.parquet", f"{IDENTITIES}.parquet")
        tables = (*items, *identities, f"{LABELS}.parquet")
        flush([*self.written, *(file for name in tables if (file := directory / name).exists())])


def _write_block(entries: Sequence[Entry], lake: Lake, sources: Sources, latest: datetime) -> ArchiveResult:
    """Write a block to the lake, and wait until it is on disk."""
    rows, item_times, unreadable = decode_entries(entries)
    _store_requests(rows[ERASURE_FIELD], lake)
    change_opt_outs(lake.directory, map(_opt_out, rows[OPT_OUT_FIELD]))
    refused = read_tombstones(lake.directory), opted_out_users(lake.directory)
    block = _Block(lake, entries[0].id, entries[-1].id, [], *refused)
    if lake.pseudonyms is not None:
        unreadable = [REDACTED] * len(unreadable)
    invalid = block.quarantine("entries", unreadable_rows(unreadable))

    schema = events_schema(sources.event_weights, latest)
    events, failure = schema.filter(mapped_rows(rows[EVENT_FIELD], EVENTS, sources), cast=True)
    events = block.without_refused(events)
    invalid += block.quarantine("events", rejected_rows(failure))
    added, files = lake.add_online_events(events.lazy()) if events.height else (0, ())
    block.written.extend(files)

    shown, failure = impressions_schema(latest).filter(impression_rows(rows[IMPRESSIONS_FIELD]), cast=True)
    shown = block.without_refused(shown)
    invalid += block.quarantine(IMPRESSIONS, rejected_rows(failure))
    block.written.extend(lake.write_days(IMPRESSIONS, shown, block.first))

    items, rejected_items = _write_items(rows[ITEM_FIELD], item_times, lake, sources)
    invalid += block.quarantine("items", rejected_items)

    flags, failure = flags_schema(latest).filter(flag_rows(rows[FLAG_FIELD]), cast=True)
    flags = block.without_erased(flags)
    invalid += block.quarantine(FLAGS, rejected_rows(failure))
    block.written.extend(lake.write_days(FLAGS, flags, block.first))

    new_labels, failure = Labels.filter(label_rows(rows[LABEL_FIELD]), cast=True)
    new_labels = block.without_erased(new_labels)
    invalid += block.quarantine(LABELS, rejected_rows(failure))
    labels = lake.upsert_labels(new_labels) if new_labels.height else 0

    new_identities, failure = Identities.filter(identity_rows(rows[IDENTITY_FIELD]), cast=True)
    invalid += block.quarantine(IDENTITIES, rejected_rows(failure))
    identities = last_values(block.without_erased(new_identities), GUEST_ID)
    if identities.height:
        lake.merge_online_identities(identities, datetime.now(UTC))

    block.finish()
    duplicates = events.height - added
    return ArchiveResult(
        *(added, duplicates, shown.height, items, flags.height, labels, identities.height, invalid, len(entries)),
        erased=block.erased,
        opted_out=block.opted_out,
        erasures=len(rows[ERASURE_FIELD]),
    )


def _store_requests(requests: Sequence[Any], lake: Lake) -> None:
    """Store the requests to erase users that the server took, which keep their rows out from now on."""
    for request in requests:
        if not receipt_file(lake.directory, request.request_id).exists():
            at = datetime.fromisoformat(request.timestamp)
            users = (request.user_id,)
            store_request(lake.directory, ErasureRequest(request.request_id, at, users, request.is_forever))


def _opt_out(request: Any) -> tuple[str, datetime, bool]:
    return request.user_id, datetime.fromisoformat(request.timestamp), request.is_opted_out


def _write_items(
    rows: Sequence[msgspec.Struct], times: Sequence[datetime], lake: Lake, sources: Sources
) -> tuple[int, pl.DataFrame]:
    """Take item changes into the lake in the order of their entries, each after the ingest that it followed.

    `times` are those of the entries. An archive may come long after a change, when ingests have read the feeds that
    came after it. Returns the number of items, and the rows that broke a rule.
    """
    ingests = read_ingests(lake)
    starts = list(accumulate((datetime.fromisoformat(ingest["when"]) for ingest in ingests), max))
    numbers = [0, *(ingest["number"] for ingest in ingests)]
    by_ingest: dict[int, list[tuple[msgspec.Struct, datetime]]] = {}
    for row, moment in zip(rows, times, strict=True):
        by_ingest.setdefault(numbers[bisect_right(starts, moment)], []).append((row, moment))

    item_ids: set[str] = set()
    rejected = [rejected_rows(Items.filter(mapped_rows([], ITEMS, sources), cast=True)[1])]
    for number, part in sorted(by_ingest.items()):
        changes, failure = Items.filter(mapped_rows([row for row, _ in part], ITEMS, sources), cast=True)
        rejected.append(rejected_rows(failure))
        if changes.height:
            when = min(datetime.now(UTC), max(moment for _, moment in part))
            lake.merge_online_items(last_values(changes, ITEM_ID), when, number)
        item_ids.update(changes[ITEM_ID])
    lake.merge_online_times(change_times(rows).drop_nulls())
    return len(item_ids), pl.concat(rejected)
