"""Decode the entries of the event stream into rows of the lake's tables."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

import dataframely as dy
import msgspec
import polars as pl

from jobs.ingest.mapping import map_rows
from jobs.ingest.validation import RULES
from recsys.contract import Events, Flags, Identities, Impressions, Items, Labels
from recsys.schema import (
    CHANGED_ONLINE_AT,
    CONTEXT,
    ITEM_ID,
    LABELED_AT,
    RANK,
    REQUEST_ID,
    SOURCE,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
    VERSION,
)
from recsys.settings import Sources, Table
from recsys.store.event_stream import Entry, entry_time
from recsys.store.item_changes import UPDATED_AT
from recsys.store.keys import (
    ERASURE_FIELD,
    EVENT_FIELD,
    FLAG_FIELD,
    IDENTITY_FIELD,
    IMPRESSIONS_FIELD,
    ITEM_FIELD,
    LABEL_FIELD,
    OPT_OUT_FIELD,
)

UNREADABLE: Final = "entry_is_readable"


class _Erasure(msgspec.Struct):
    """A request to erase a user, by the id in the lake."""

    request_id: str
    user_id: str
    timestamp: str
    is_forever: bool = False

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.timestamp)


class _OptOut(msgspec.Struct):
    """A user who opts out of personal lists, or in again, by the id in the lake."""

    user_id: str
    timestamp: str
    is_opted_out: bool

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.timestamp)


class _Impressions(msgspec.Struct):
    """The items of one answer, and the source of each."""

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


def decode_entries(entries: Sequence[Entry]) -> tuple[dict[str, list[Any]], list[datetime], list[str]]:
    """Return the decoded entries by field, the times of item changes, and as text what cannot be decoded.

    The time of an item change is that of its entry, by the clock of Redis: servers may have other clocks.
    """
    decoded: dict[str, list[Any]] = {field: [] for field in DECODERS}
    item_times: list[datetime] = []
    unreadable: list[str] = []
    for entry in entries:
        fields = {name.decode(errors="replace"): value for name, value in entry.fields.items()}
        field = next(iter(fields))
        try:
            if len(fields) > 1:
                raise KeyError(field)
            decoded[field].append(DECODERS[field].decode(fields[field]))
            if field == ITEM_FIELD:
                item_times.append(entry_time(entry.id))
        except (KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            texts = {name: value.decode(errors="replace") for name, value in fields.items()}
            unreadable.append(json.dumps(texts, ensure_ascii=False))
    return decoded, item_times, unreadable


def unreadable_rows(entries: Sequence[str]) -> pl.DataFrame:
    """Return entries that cannot be decoded as rows for quarantine."""
    return pl.DataFrame({"entry": entries}, schema={"entry": pl.String}).select(
        pl.lit(UNREADABLE).alias(RULES), "entry"
    )


def mapped_rows(rows: Sequence[msgspec.Struct], table: Table, sources: Sources) -> pl.DataFrame:
    """Return events or items in the columns of their contract, mapped as an ingest maps them."""
    return map_rows(_frame(rows, JSON_SCHEMAS[table.kind]), table, sources)


def change_times(rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return the time of each item change, as `ONLINE_CHANGE_DTYPES`; null for a change without one."""
    return _frame(rows, CHANGES).select(ITEM_ID, _time(UPDATED_AT).alias(CHANGED_ONLINE_AT))


def impression_rows(answers: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return answers in the columns of `Impressions`: one row for each item."""
    shown = _frame(answers, ANSWER).filter(pl.col("items").list.len() > 0)
    first = pl.col("offset") + 1
    return (
        shown.with_columns(pl.int_ranges(first, first + pl.col("items").list.len()).alias(RANK))
        .explode("items", "sources", RANK)
        .rename({"items": ITEM_ID, "sources": SOURCE})
        .with_columns(_time(TIMESTAMP))
        .select(*pl.Schema(Impressions))
    )


def flag_rows(rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return flags in the columns of `Flags`."""
    return _frame(rows, JSON_SCHEMAS["flags"]).with_columns(_time(TIMESTAMP))


def label_rows(rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return labels in the columns of `Labels`."""
    return _frame(rows, JSON_SCHEMAS["labels"]).with_columns(_time(LABELED_AT))


def identity_rows(rows: Sequence[msgspec.Struct]) -> pl.DataFrame:
    """Return identities of guests in the columns of `Identities`."""
    return _frame(rows, JSON_SCHEMAS["identities"]).with_columns(_time(TIMESTAMP))


def _time(name: str) -> pl.Expr:
    return pl.col(name).str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)


def _frame(rows: Sequence[msgspec.Struct], schema: pl.Schema) -> pl.DataFrame:
    return pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")


def _json_schema(schema: type[dy.Schema]) -> pl.Schema:
    """Return the columns of a contract in JSON, where times are text."""
    return pl.Schema(
        {name: pl.String() if dtype == TIMESTAMP_DTYPE else dtype for name, dtype in pl.Schema(schema).items()}
    )


def _decoder(schema: pl.Schema) -> msgspec.json.Decoder[Any]:
    """Return a decoder of JSON objects with these columns, all of them optional."""
    types: dict[pl.DataType, Any] = {
        pl.String(): str,
        pl.Float64(): float,
        pl.Boolean(): bool,
        pl.List(pl.String): list[str],
        pl.List(pl.List(pl.String)): list[list[str]],
    }
    fields = [(name, types[dtype] | None, None) for name, dtype in schema.items()]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields))


JSON_SCHEMAS = {
    "events": _json_schema(Events),
    "items": _json_schema(Items),
    "flags": _json_schema(Flags),
    "labels": _json_schema(Labels),
    "identities": _json_schema(Identities),
}
CHANGES = pl.Schema({**JSON_SCHEMAS["items"], UPDATED_AT: pl.String})
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
    EVENT_FIELD: _decoder(JSON_SCHEMAS["events"]),
    IMPRESSIONS_FIELD: msgspec.json.Decoder(_Impressions),
    ITEM_FIELD: _decoder(CHANGES),
    FLAG_FIELD: _decoder(JSON_SCHEMAS["flags"]),
    LABEL_FIELD: _decoder(JSON_SCHEMAS["labels"]),
    IDENTITY_FIELD: _decoder(JSON_SCHEMAS["identities"]),
    ERASURE_FIELD: msgspec.json.Decoder(_Erasure),
    OPT_OUT_FIELD: msgspec.json.Decoder(_OptOut),
}
EVENTS = Table("online", "events", columns={name: name for name in JSON_SCHEMAS["events"]}, time_zone="UTC")
ITEMS = Table("online", "items", columns={name: name for name in JSON_SCHEMAS["items"]}, time_zone="UTC")
