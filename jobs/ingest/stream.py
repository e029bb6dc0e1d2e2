"""What was taken in online, from the stream in Redis into the lake, block by block.

A block leaves the stream only when all of it is on disk. What an archive that was killed had written already is
written again by the next: events are known by their ids, the other files by the block's first entry.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from jobs.ingest.stream_entries import (
    EVENTS,
    ITEMS,
    given_labels,
    mapped,
    raised_flags,
    read,
    shown_items,
    unreadable_rows,
)
from jobs.ingest.validation import rejects
from jobs.lake import DAILY_TABLES, FLAGS, IMPRESSIONS, LABELS, Lake
from recsys.files import atomic_write, flush
from recsys.schema import ITEM_ID, Items, Labels, events_schema, flags_schema, impressions_schema
from recsys.settings import Sources
from recsys.store.client.connect import Client
from recsys.store.event_stream import (
    Entry,
    entry_sort_key,
    last_entry_id,
    read_entries,
    remove_entries,
)
from recsys.store.keys import EVENT_FIELD, FLAG_FIELD, IMPRESSIONS_FIELD, ITEM_FIELD, LABEL_FIELD, Keys

BLOCK_ENTRIES: Final = 10_000
PART: Final = "online"  # begins the names of a block's files among those of others


@dataclass(frozen=True)
class ArchiveResult:
    """What an archive brought into the lake."""

    events: int = 0
    """New to the lake."""
    duplicates: int = 0
    """Events that were there already, or came twice."""
    impressions: int = 0
    """Items shown."""
    items: int = 0
    """Items whose facts were changed, counted once in each block."""
    flags: int = 0
    """Flags that were raised online, or would have been."""
    labels: int = 0
    """Users whom analysts labelled, counted once in each block."""
    invalid: int = 0
    """Rows that broke a rule, and entries that are none of these."""
    entries: int = 0
    """Taken from the stream."""
    seconds: float = 0.0

    def plus(self, other: "ArchiveResult") -> "ArchiveResult":
        """The sums of both."""
        return ArchiveResult(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def archive(
    lake: Lake,
    sources: Sources,
    client: Client,
    keys: Keys,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> ArchiveResult:
    """Move what the stream holds now into the lake; what comes meanwhile stays for the next archive.

    Events later than `latest` break a rule, as in an ingest. Each event is in the lake once, whatever was killed
    when. Raises `StoreError` when Redis does not answer: what was not moved is still in the stream.
    """
    started = time.perf_counter()
    until, total = last_entry_id(client, keys), ArchiveResult()
    while until is not None:
        # Read under the lock too: another archive may just have moved these entries.
        with lake.locked():
            block = read_entries(client, keys, until, BLOCK_ENTRIES)
            if not block:
                break
            total = total.plus(_write(block, lake, sources, latest))
            remove_entries(client, keys, block[-1].id)
        on_rows(len(block))
    return replace(total, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class _Block:
    """The files of one block, named after its first entry so that writing it again replaces them."""

    lake: Lake
    first: str
    last: str
    written: list[Path]

    def set_aside(self, kind: str, rows: pl.DataFrame) -> int:
        """Keep what is not accepted, where there is any; returns how many rows."""
        if rows.height:
            file = self.lake.directory / "quarantine" / f"{PART}-{kind}-{self.first}.parquet"
            with atomic_write(file) as aside:
                rows.write_parquet(aside)
            self.written.append(file)
        return rows.height

    def finish(self) -> None:
        """Remove what other blocks of the same entries left behind; wait until all is on disk."""
        directory, first, last = self.lake.directory, entry_sort_key(self.first), entry_sort_key(self.last)
        daily = (file for table in DAILY_TABLES for file in directory.glob(f"{table}/*/*.parquet"))
        blocks = [*daily, *directory.glob(f"quarantine/{PART}-*.parquet")]
        for file in set(blocks) - set(self.written):
            if first <= entry_sort_key("-".join(file.stem.split("-")[-2:])) <= last:
                file.unlink()
        tables = [file for name in ("items", LABELS) if (file := directory / f"{name}.parquet").exists()]
        flush([*self.written, *tables, *directory.glob(f"events/*/*/{PART}-{self.first}-*.parquet")])


def _write(entries: Sequence[Entry], lake: Lake, sources: Sources, latest: datetime) -> ArchiveResult:
    """Put a block on disk, and wait until it is there."""
    block = _Block(lake, entries[0].id, entries[-1].id, [])
    found, unreadable = read(entries)
    invalid = block.set_aside("entries", unreadable_rows(unreadable))

    known = events_schema(sources.event_weights, latest)
    events, failure = known.filter(mapped(found[EVENT_FIELD], EVENTS, sources), cast=True)
    invalid += block.set_aside("events", rejects(failure))
    added = lake.add_events(events.lazy(), f"{PART}-{block.first}") if events.height else 0

    shown, failure = impressions_schema(latest).filter(shown_items(found[IMPRESSIONS_FIELD]), cast=True)
    invalid += block.set_aside(IMPRESSIONS, rejects(failure))
    block.written.extend(lake.write_days(IMPRESSIONS, shown, block.first))

    facts, failure = Items.filter(mapped(found[ITEM_FIELD], ITEMS, sources), cast=True)
    invalid += block.set_aside("items", rejects(failure))
    items = lake.merge_items(_last_given(facts)) if facts.height else 0

    flags, failure = flags_schema(latest).filter(raised_flags(found[FLAG_FIELD]), cast=True)
    invalid += block.set_aside(FLAGS, rejects(failure))
    block.written.extend(lake.write_days(FLAGS, flags, block.first))

    given, failure = Labels.filter(given_labels(found[LABEL_FIELD]), cast=True)
    invalid += block.set_aside(LABELS, rejects(failure))
    labels = lake.upsert(LABELS, given) if given.height else 0

    block.finish()
    duplicates = events.height - added
    return ArchiveResult(added, duplicates, shown.height, items, flags.height, labels, invalid, len(entries))


def _last_given(facts: pl.DataFrame) -> pl.DataFrame:
    """Each item once, with the latest value that any of its changes gives of each column."""
    return facts.group_by(ITEM_ID, maintain_order=True).agg(pl.all().drop_nulls().last()).select(facts.columns)
