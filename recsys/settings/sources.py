"""Settings of the sources: files, queries, column mappings, event weights."""

import re
from dataclasses import field
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from recsys.schema import DEFAULT_DISLIKE_WEIGHT, DEFAULT_WEIGHTS, ITEM_ID, RATING
from recsys.settings.types import STRICT, Days, Name, Positive, Secret, Share, SourceAddress, TimeZone

NUMBER = re.compile(r"-?\d+")
Kind = Literal["events", "items", "users", "identities"]
# A column name, a Polars SQL expression over the columns of the file, or a list of columns.
ColumnMapping = str | tuple[str, ...]
NULL_IDS = (
    "", "0", "-1", "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "(null)", "\\n", "undefined", "anonymous",
    "guest",
)  # fmt: skip


def _check_value_weights(points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    values = [value for value, _ in points]
    if not values or any(first >= second for first, second in pairwise(values)):
        raise PydanticCustomError("value_weights", "expected pairs of value and weight, the values ascending")
    if any(weight < 0 for _, weight in points):
        raise PydanticCustomError("value_weights", "expected weights not below 0")
    return points


ValueWeights = Annotated[tuple[tuple[float, float], ...], AfterValidator(_check_value_weights)]


@dataclass(frozen=True, config=STRICT)
class Table:
    """How the rows of some files, or of a query, map to the contract's columns."""

    name: Name
    """Name of the table in quarantine files and reports."""
    kind: Kind
    """What its rows are: events, items, users, or identities of guests who logged in."""
    files: str = ""
    """Glob of the names of the files it reads, such as `transactions*.parquet`; several tables may read one
    file."""
    columns: dict[str, ColumnMapping] = field(default_factory=dict[str, ColumnMapping])
    """Column of the contract -> column of the file, path into a nested column (`user.id`), SQL expression, or list
    of columns (category path, attributes, date and time)."""
    events: dict[str, str] = field(default_factory=dict[str, str])
    """Event name in the file -> event name of the contract; a name that is not listed is kept."""
    time_zone: TimeZone | None = None
    """Time zone of times without an offset; `sources.time_zone` if not set."""
    time_format: str | None = None
    """Format of times: a strptime format; `epoch_s`, `epoch_ms`, `epoch_us` or `epoch_ns` (numbers since 1970);
    `excel` (days since 1900); `date_and_ms` (a date and milliseconds since its midnight, of two columns);
    `day_first` or `month_first` (12/1/2010). If not set: ISO 8601, 31.12.2011 17:05, and numbers since 1970 in the
    unit that puts them between 2000 and 2099."""
    encoding: str | None = None
    """Encoding of text files, such as `cp1252`. If not set: the one of the byte order mark, else UTF-8 if the whole
    file fits, else the most likely one, which the ingest reports."""
    separator: Annotated[str, Field(pattern=r"^[\t -~]$")] | None = None
    """Character between the fields of a delimited file; detected among comma, semicolon, tab and | if not set."""
    quote: Annotated[str, Field(pattern=r"^[!-~]?$")] = '"'
    """Character around fields of a delimited file that contain separators or line ends; empty if there is none."""
    header: bool = True
    """Whether the first line of a delimited file or a sheet, after `skip_rows`, has the names of the columns."""
    column_names: tuple[str, ...] = ()
    """Names of the columns from the first one on, in place of those of the header. A column without a name here or
    in the header is called `column_1`, `column_2`, …."""
    skip_rows: Annotated[int, Field(ge=0)] = 0
    """Number of lines before the header of a delimited file or a sheet, or before its rows if it has no header."""
    fill_down: tuple[str, ...] = ()
    """Columns that a file gives only in the first row of a record, such as an order of several lines. The first of
    them identifies the record: a row where it is empty, or the same as in the row above, takes the values that it
    lacks from the rows above."""
    sheet: str | None = None
    """Name of the sheet of an Excel workbook; the first one if not set."""
    query: str | None = None
    """SQL query, in the dialect of the database, whose rows are read in place of files."""
    connection: SourceAddress | None = field(default=None, repr=False)
    """Database that the query runs on: a name in `sources.connections`, or a URI."""
    watermark: str | None = None
    """Column that increases as rows are added or changed; an ingest reads from the greatest value already seen."""
    lateness: Annotated[float, Field(ge=0)] = 1.0
    """How far below the greatest value seen an ingest starts to read: days if `watermark` is a time, its own unit
    if it is a number."""
    replaces: Literal["auto", "always", "never"] = "auto"
    """Whether the events of a file or query replace those that it gave before. `auto`: if the file is the same and
    only its mapping changed, or if the new events cover the days of the earlier ones."""
    keep: Literal["first", "last"] = "first"
    """Which of several values of an item's or user's column in a file counts: the first, as in exports of variants,
    or the last, as in logs. Of a table with a watermark it is the last."""
    complete: bool = False
    """Whether each reading of an items table holds the whole catalogue, so that an item it lacks is unavailable."""
    max_bad_rows: Share | None = None
    """Greatest share of rows that may break a rule; `sources.max_bad_rows` if not set."""
    min_rows: Share | None = None
    """Least share of the rows of its last reading that a file or query must have; `sources.min_rows` if not set."""
    explode: str | None = None
    """Column or path of a list of objects or its JSON text, such as `ecommerce.items`: each element becomes a row.
    The fields of an element are paths below it (`ecommerce.items.price`)."""
    where: str | None = None
    """SQL condition on the columns of the file, after `explode`; other rows are left out and counted, and are not
    invalid."""
    missing_columns: Literal["error", "null"] = "error"
    """What a column or field of the mapping that a file lacks is: an `error`, or `null` in every row, as in the
    JSON of trackers, which leaves out what has no value."""
    time_zone_column: str | None = None
    """Column or path that holds the time zone of each row's times, such as Europe/Warsaw, CET or +02:00;
    `time_zone` where it is empty."""
    ids: Literal["reject", "strip", "underscore"] = "reject"
    """What is done with an id with white space inside: `reject` the row, `strip` the white space, or put an
    `underscore` in its place. White space around an id is always removed."""
    float_ids: bool = True
    """Whether an id such as 17850.0 is a number written as a float, 17850."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of amounts written as text."""
    thousands: Literal["", ".", ",", " ", "'"] = ""
    """Separator of thousands of amounts written as text; a space stands for any kind of space."""
    category_separator: Annotated[str, Field(min_length=1)] = ">"
    """Text between the levels of a category path in a cell, as in Clothing > Hoodies."""
    category_list_separator: str = ""
    """Text between the paths of a cell that holds several, such as a comma in Clothing > Hoodies, Sale. A backslash
    before it makes it part of a name. If empty, a cell is one path."""
    currency_column: str | None = None
    """Column or path that holds the currency of each row's amounts; an ingest counts the rows of each currency."""


@dataclass(frozen=True, config=STRICT)
class Sources:
    """What to read, and the weight of each event."""

    paths: tuple[SourceAddress, ...] = ()
    """Files, directories and globs that the nightly run ingests; s3://, gs://, az:// and https:// addresses too."""
    tables: tuple[Table, ...] = ()
    """How files map to the contract. If empty, files named events*, items* and users* are read, with the contract's
    own column names."""
    time_zone: TimeZone = "UTC"
    """Time zone of the shop: of times without an offset, and of hours and days in features of users and items."""
    weights: dict[str, float] = field(default_factory=dict[str, float])
    """Event name -> weight. Overrides the built-in weights; other names define new events."""
    quantity_weight: Literal["none", "log", "linear"] = "none"
    """How the quantity of an event counts in the confidence of a user and item, and so in popularity: not at all
    (`none`), weight * log2(1 + quantity) (`log`), or weight * quantity (`linear`). A missing quantity is 1."""
    value_weights: dict[str, ValueWeights] = field(default_factory=dict[str, ValueWeights])
    """Event name -> pairs of value and weight, the values ascending, such as `watch = [[0.1, 0], [0.9, 2]]` for the
    share of a video that was watched. Between two values the weight is interpolated, beyond the first and the last
    it stays. An event without a value has the weight of its name, by default the greatest of the pairs."""
    rating_events: tuple[str, ...] = (RATING,)
    """Names of the events whose value is a rating: one below the user's mean is not positive, and one that is
    more than a standard deviation below is a dislike."""
    negative_events: tuple[str, ...] = ()
    """Names of the events by which a user dislikes an item, such as `["dislike", "not_interested"]`: it is hidden
    from the user, by night and by day. Their weight, by default -3, is below 0."""
    exclude_events: tuple[str, ...] = ("purchase",)
    """Names of the events after which a user has an item: if `repeat` is exclude, it is not recommended to the user
    again, by night and by day. With an empty list, every event with a weight other than 0 counts."""
    null_ids: tuple[str, ...] = NULL_IDS
    """Ids that mean no id, in upper and lower case: such users, events and sessions have none. Numbers in the list
    are ids of items all the same. An empty list turns this off."""
    half_life_days: Days = 90.0
    """Days after which the weight of an event has halved."""
    chunk_rows: Positive = 1_000_000
    """Number of rows read, validated and written at a time."""
    max_bad_rows: Share = 0.05
    """Greatest share of the rows of a table that may break a rule, if it has 100 rows or more; with more, or with a
    file of bad rows only, the ingest stops and the lake stays as it is. 1 turns this off."""
    min_rows: Share = 0.1
    """Least share of the rows of its last reading that a file or query must have; with fewer the ingest stops. 0
    turns this off."""
    require_success: bool = False
    """Whether files found in a directory or by a glob are skipped until a file `_SUCCESS` is beside them, or in a
    directory above them that was searched."""
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

    def null_texts(self, column: str) -> frozenset[str]:
        """Return the texts that mean no id in a column, in lower case; numbers are ids of items all the same."""
        texts = frozenset(text.strip().lower() for text in self.null_ids)
        return frozenset(text for text in texts if not NUMBER.fullmatch(text)) if column == ITEM_ID else texts

    @property
    def event_weights(self) -> dict[str, float]:
        """Return the weight of every event name."""
        negative = dict.fromkeys(self.negative_events, DEFAULT_DISLIKE_WEIGHT)
        valued = {name: max(weight for _, weight in points) for name, points in self.value_weights.items()}
        return negative | DEFAULT_WEIGHTS | valued | self.weights

    @model_validator(mode="after")
    def _check_events(self) -> "Sources":
        weights = self.event_weights
        for name in self.negative_events:
            if weights[name] >= 0:
                raise PydanticCustomError(
                    "negative_events",
                    "negative_events = {name}: its weight is {weight}, expected one below 0",
                    {"name": repr(name), "weight": f"{weights[name]:g}"},
                )
        for name in self.rating_events:
            if name not in weights:
                names = ", ".join(sorted(weights))
                raise PydanticCustomError(
                    "rating_events",
                    "rating_events = {name}: expected names among {names}",
                    {"name": repr(name), "names": names},
                )
        return self
