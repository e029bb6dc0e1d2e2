"""Settings of the sources: files, queries, column mappings, event weights."""

from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.schema import DEFAULT_WEIGHTS
from recsys.settings.types import STRICT, Days, Name, Positive, Secret, SourceAddress, TimeZone

Kind = Literal["events", "items", "users"]
# A column name, a Polars SQL expression over the columns of the file, or a list of columns.
ColumnMapping = str | tuple[str, ...]


@dataclass(frozen=True, config=STRICT)
class Table:
    """How the rows of some files, or of a query, map to the contract's columns."""

    name: Name
    """Name of the table in quarantine files and reports."""
    kind: Kind
    """What its rows are: events, items or users."""
    files: str = ""
    """Glob of the names of the files it reads, such as `transactions*.parquet`; several tables may read one
    file."""
    columns: dict[str, ColumnMapping] = field(default_factory=dict[str, ColumnMapping])
    """Column of the contract -> column of the file, SQL expression, or list of columns (category path,
    attributes)."""
    events: dict[str, str] = field(default_factory=dict[str, str])
    """Event name in the file -> event name of the contract; a name that is not listed is kept."""
    time_zone: TimeZone | None = None
    """Time zone of times without an offset; `sources.time_zone` if not set."""
    time_format: str | None = None
    """Format of times written as text: a strptime format, `epoch_s` or `epoch_ms`; ISO 8601 if not set."""
    encoding: str = "utf-8"
    """Encoding of CSV and JSON Lines files."""
    separator: Annotated[str, Field(pattern=r"^[\t -~]$")] = ","
    """Character between the fields of a CSV file."""
    query: str | None = None
    """SQL query, in the dialect of the database, whose rows are read in place of files."""
    connection: SourceAddress | None = field(default=None, repr=False)
    """Database that the query runs on: a name in `sources.connections`, or a URI."""
    watermark: str | None = None
    """Column that increases as rows are added or changed; an ingest reads from the greatest value already seen."""
    lateness: Annotated[float, Field(ge=0)] = 1.0
    """How far below the greatest value seen an ingest starts to read: days if `watermark` is a time, its own unit
    if it is a number."""


@dataclass(frozen=True, config=STRICT)
class Sources:
    """What to read, and the weight of each event."""

    paths: tuple[SourceAddress, ...] = ()
    """Files, directories and globs that the nightly run ingests; s3://, gs://, az:// and https:// addresses too."""
    tables: tuple[Table, ...] = ()
    """How files map to the contract. If empty, files named events*, items* and users* are read, with the contract's
    own column names."""
    time_zone: TimeZone = "UTC"
    """Time zone of times without an offset."""
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """Event name -> weight. Overrides the built-in weights; other names define new events."""
    half_life_days: Days = 90.0
    """Days after which the weight of an event has halved."""
    chunk_rows: Positive = 1_000_000
    """Number of rows read, validated and written at a time."""
    connections: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Name -> URI of a database: postgresql://, mysql:// or sqlite:///."""
    storage_options: dict[str, Secret] = field(default_factory=dict[str, str], repr=False)
    """Credentials and endpoint of the object store, such as `aws_endpoint_url`; the usual AWS_* environment
    variables if empty."""

    @property
    def file_tables(self) -> tuple[Table, ...]:
        """Return the tables that read files."""
        return tuple(table for table in self.tables if table.query is None)

    @property
    def queries(self) -> tuple[Table, ...]:
        """Return the tables that read the rows of a query."""
        return tuple(table for table in self.tables if table.query is not None)

    @property
    def event_weights(self) -> dict[str, float]:
        """Return the weight of every event name."""
        return DEFAULT_WEIGHTS | self.weights
