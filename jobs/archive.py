"""What was taken in online, from the stream in Redis into the lake, block by block.

A block leaves the stream only when all of it is on disk. What an archive that was killed had written already is
written again by the next: events are known by their ids, the other files by the block's first entry.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

import dataframely as dy
import msgspec
import polars as pl

from jobs.lake import IMPRESSIONS, Lake
from jobs.mapping import map_rows
from jobs.quarantine import RULES
from jobs.staging import rejects
from recsys.files import flush, written_whole
from recsys.schema import (
    CONTEXT,
    ITEM_ID,
    RANK,
    REQUEST_ID,
    SOURCE,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
    VERSION,
    Events,
    Impressions,
    Items,
    events_schema,
    impressions_schema,
)
from recsys.settings import Sources, Table
from recsys.store.connection import Client
from recsys.store.event_stream import (
    Entry,
    first_entries,
    id_order,
    last_entry,
    remove_entries,
)
from recsys.store.keys import EVENT_FIELD, IMPRESSIONS_FIELD, ITEM_FIELD, Keys

BLOCK_ENTRIES: Final = 10_000
PART: Final = "online"  # begins the names of a block's files among those of others
UNREADABLE: Final = "entry_is_readable"


@dataclass(frozen=True)
class Archived:
    """What an archive brought into the lake."""

    events: int = 0
    """New to the lake."""
    duplicates: int = 0
    """Events that were there already, or came twice."""
    impressions: int = 0
    """Items shown."""
    items: int = 0
    """Items whose facts were changed, counted once in each block."""
    invalid: int = 0
    """Rows that broke a rule, and entries that are none of these."""
    entries: int = 0
    """Taken from the stream."""
    seconds: float = 0.0

    def plus(self, other: "Archived") -> "Archived":
        """The sums of both."""
        return Archived(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


class _Answer(msgspec.Struct):
    """What one answer showed; `sources` says of each of `items` which list it is from."""

    items: list[str]
    sources: list[str]
    request_id: str | None = None
    user_id: str | None = None
    timestamp: str | None = None
    version: str | None = None
    context: str | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**32)] = 0

    def __post_init__(self) -> None:
        if len(self.items) != len(self.sources):
            raise ValueError("expected a source for each item")


def archive(
    lake: Lake,
    sources: Sources,
    client: Client,
    keys: Keys,
    latest: datetime,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> Archived:
    """Move what the stream holds now into the lake; what comes meanwhile stays for the next archive.

    Events later than `latest` break a rule, as in an ingest. Each event is in the lake once, whatever was killed
    when. Raises `StoreError` when Redis does not answer: what was not moved is still in the stream.
    """
    started = time.perf_counter()
    until, total = last_entry(client, keys), Archived()
    while until is not None:
        # Read under the lock too: another archive may just have moved these entries.
        with lake.locked():
            block = first_entries(client, keys, until, BLOCK_ENTRIES)
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
            with written_whole(file) as aside:
                rows.write_parquet(aside)
            self.written.append(file)
        return rows.height

    def finish(self) -> None:
        """Remove what other blocks of the same entries left behind; wait until all is on disk."""
        directory, first, last = self.lake.directory, id_order(self.first), id_order(self.last)
        blocks = [*directory.glob(f"{IMPRESSIONS}/*/*.parquet"), *directory.glob(f"quarantine/{PART}-*.parquet")]
        for file in set(blocks) - set(self.written):
            if first <= id_order("-".join(file.stem.split("-")[-2:])) <= last:
                file.unlink()
        tables = [file for file in (directory / "items.parquet",) if file.exists()]
        flush([*self.written, *tables, *directory.glob(f"events/*/*/{PART}-{self.first}-*.parquet")])


def _write(entries: Sequence[Entry], lake: Lake, sources: Sources, latest: datetime) -> Archived:
    """Put a block on disk, and wait until it is there."""
    block = _Block(lake, entries[0].id, entries[-1].id, [])
    found, unreadable = _read(entries)
    invalid = block.set_aside("entries", _unreadable(unreadable))

    known = events_schema(sources.event_weights, latest)
    events, failure = known.filter(_mapped(found[EVENT_FIELD], EVENTS, sources), cast=True)
    invalid += block.set_aside("events", rejects(failure))
    added = lake.add_events(events.lazy(), f"{PART}-{block.first}") if events.height else 0

    shown, failure = impressions_schema(latest).filter(_shown(found[IMPRESSIONS_FIELD]), cast=True)
    invalid += block.set_aside(IMPRESSIONS, rejects(failure))
    block.written.extend(lake.put_impressions(shown, block.first))

    facts, failure = Items.filter(_mapped(found[ITEM_FIELD], ITEMS, sources), cast=True)
    invalid += block.set_aside("items", rejects(failure))
    items = lake.merge_items(_last_given(facts)) if facts.height else 0

    block.finish()
    return Archived(added, events.height - added, shown.height, items, invalid, len(entries))


def _read(entries: Sequence[Entry]) -> tuple[dict[str, list[Any]], list[str]]:
    """What the entries hold, by their field, and the text of those that hold nothing that is known."""
    found: dict[str, list[Any]] = {field: [] for field in DECODERS}
    unreadable: list[str] = []
    for entry in entries:
        fields = {name.decode(errors="replace"): value for name, value in entry.fields.items()}
        field = next(iter(fields))
        try:
            if len(fields) > 1:
                raise KeyError(field)
            found[field].append(DECODERS[field].decode(fields[field]))
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            texts = {name: value.decode(errors="replace") for name, value in fields.items()}
            unreadable.append(json.dumps(texts, ensure_ascii=False))
    return found, unreadable


def _unreadable(entries: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame({"entry": entries}, schema={"entry": pl.String}).select(
        pl.lit(UNREADABLE).alias(RULES), "entry"
    )


def _mapped(rows: Sequence[msgspec.Struct], table: Table, sources: Sources) -> pl.DataFrame:
    """Events or items in the columns of their contract, as an ingest of them would have them."""
    return map_rows(_frame(rows, TEXT_TIMES[table.kind]), table, sources)


def _shown(answers: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Answers in the columns of `Impressions`: a row an item."""
    given = _frame(answers, ANSWER).filter(pl.col("items").list.len() > 0)
    first = pl.col("offset") + 1
    return (
        given.with_columns(pl.int_ranges(first, first + pl.col("items").list.len()).alias(RANK))
        .explode("items", "sources", RANK)
        .rename({"items": ITEM_ID, "sources": SOURCE})
        .with_columns(pl.col(TIMESTAMP).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False))
        .select(*pl.Schema(Impressions))
    )


def _last_given(facts: pl.DataFrame) -> pl.DataFrame:
    """Each item once, with the latest value that any of its changes gives of each column."""
    return facts.group_by(ITEM_ID, maintain_order=True).agg(pl.all().drop_nulls().last()).select(facts.columns)


def _frame(rows: Sequence[msgspec.Struct], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame([msgspec.structs.asdict(row) for row in rows], schema=schema)


def _text_times(schema: type[dy.Schema]) -> pl.Schema:
    """The columns of a contract as JSON has them."""
    return pl.Schema(
        {name: pl.String() if dtype == TIMESTAMP_DTYPE else dtype for name, dtype in pl.Schema(schema).items()}
    )


def _decoder(schema: pl.Schema) -> msgspec.json.Decoder[Any]:
    """Reads a JSON object of these columns, any of which may be left out."""
    types: dict[pl.DataType, Any] = {
        pl.String(): str,
        pl.Float64(): float,
        pl.Boolean(): bool,
        pl.List(pl.String): list[str],
    }
    fields = [(name, types[dtype] | None, None) for name, dtype in schema.items()]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields))


TEXT_TIMES = {"events": _text_times(Events), "items": _text_times(Items)}
ANSWER = pl.Schema(
    {
        "items": pl.List(pl.String),
        "sources": pl.List(pl.String),
        REQUEST_ID: pl.String,
        USER_ID: pl.String,
        TIMESTAMP: pl.String,
        VERSION: pl.String,
        CONTEXT: pl.String,
        "offset": pl.Int64,
    }
)
DECODERS: dict[str, msgspec.json.Decoder[Any]] = {
    EVENT_FIELD: _decoder(TEXT_TIMES["events"]),
    IMPRESSIONS_FIELD: msgspec.json.Decoder(_Answer),
    ITEM_FIELD: _decoder(TEXT_TIMES["items"]),
}
EVENTS = Table(PART, "events", columns={name: name for name in TEXT_TIMES["events"]}, time_zone="UTC")
ITEMS = Table(PART, "items", columns={name: name for name in TEXT_TIMES["items"]}, time_zone="UTC")
