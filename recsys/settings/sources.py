"""Settings of the sources: files, queries, column mappings, event weights."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.schema import DEFAULT_WEIGHTS
from recsys.settings.types import STRICT, Address, Days, Name, Positive, Secret, TimeZone

Kind = Literal["events", "items", "users"]
# A column's name, a Polars SQL expression over the file's columns, or a list of columns.
ColumnMapping = str | tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class Table:
    """How files of one kind, or the rows of a query, map to the contract."""

    name: Name
    """What quarantine and reports call this table."""
    kind: Kind
    """Which part of the contract its rows are."""
    files: str = ""
    """Names the files it reads, as in `transactions*.parquet`; one file may feed several tables."""
    columns: dict[str, ColumnMapping] = field(default_factory=dict[str, ColumnMapping])
    """Contract column -> column, SQL expression, or list of columns (category path, attributes)."""
    events: dict[str, str] = field(default_factory=dict[str, str])
    """Event name in the file -> name of the contract; a name not listed stays as it is."""
    time_zone: TimeZone | None = None
    """Time zone of times without one; `sources.time_zone` where it is not given."""
    time_format: str | None = None
    """strptime format of times written as text, `epoch_s` or `epoch_ms`; ISO 8601 where it is not given."""
    encoding: str = "utf-8"
    """Encoding of CSV and JSON Lines files."""
    separator: Annotated[str, Field(pattern=r"^[\t -~]$")] = ","
    """What stands between the fields of a CSV file."""
    query: str | None = None
    """SQL whose rows it reads, in place of files; in the dialect of the database."""
    connection: Address | None = field(default=None, repr=False)
    """Where the query runs: a name of `sources.connections`, or a URI."""
    watermark: str | None = None
    """Column that grows as rows are added or changed; an ingest starts from the greatest value seen."""
    lateness: Annotated[float, Field(ge=0)] = 1.0
    """How far below that value it starts: in days where it is a time, in its own unit where it is a number."""


@dataclass(frozen=True, config=STRICT)
class Sources:
    """What to read and what each event is worth."""

    paths: tuple[Address, ...] = ()
    """Files, directories and globs that `nightly` ingests; s3://, gs://, az:// or https:// as well."""
    tables: tuple[Table, ...] = ()
    """How files map to the contract; with none, files named events*, items*, users* in its own columns."""
    time_zone: TimeZone = "UTC"
    """Time zone of times without one."""
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """Event name -> weight, over the built-in ones; a new name is a new event."""
    half_life_days: Days = 90.0
    """After so many days an event counts half."""
    chunk_rows: Positive = 1_000_000
    """Rows read, checked and written at a time."""
    connections: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Name -> URI of a database: postgresql://, mysql:// or sqlite:///."""
    storage_options: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Credentials and endpoint of the object store, as in `aws_endpoint_url`; the usual AWS_* variables without."""

    @property
    def file_tables(self) -> tuple[Table, ...]:
        """Tables that read files."""
        return tuple(table for table in self.tables if table.query is None)

    @property
    def queries(self) -> tuple[Table, ...]:
        """Tables that read the rows of a query."""
        return tuple(table for table in self.tables if table.query is not None)

    @property
    def event_weights(self) -> dict[str, float]:
        """Every known event name and its weight."""
        return DEFAULT_WEIGHTS | self.weights
