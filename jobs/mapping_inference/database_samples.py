"""The first rows of the tables of a database, with lines of orders joined to their orders."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from textwrap import wrap

import polars as pl

from jobs.ingest.queries import Connection, read_query, resolve_connection
from jobs.ingest.times import as_texts
from jobs.mapping_inference.conclusions import Unused
from jobs.mapping_inference.names import compact, nouns_of
from jobs.mapping_inference.recipes import Recipe, query_recipes
from jobs.mapping_inference.roles import assign
from jobs.mapping_inference.samples import SourceSample, read_first_rows, table_name
from jobs.mapping_inference.vocabulary import CURRENCY, STATUS
from recsys.errors import RecsysError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, USER_ID
from recsys.settings import Sources, Table

SAMPLE_ROWS = 20_000
MAX_TABLES = 300
LINE_LENGTH = 100
MIN_OVERLAP = 0.1
"""Least share of the foreign keys of a sample that are keys in the sample of another table."""
TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'",
    "postgresql": """
SELECT CAST(CASE WHEN table_schema = 'public' THEN '' ELSE table_schema || '.' END || table_name AS TEXT) AS name
FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')""",
    "mysql": """
SELECT CAST(table_name AS CHAR(64)) AS name FROM information_schema.tables WHERE table_schema = DATABASE()""",
}
HEADER_ROLES = (USER_ID, TIMESTAMP, STATUS, CURRENCY)


@dataclass(frozen=True)
class Database:
    """A database to look at."""

    name: str
    """Its name in the settings."""
    uri: str
    scratch: Path

    @property
    def connection(self) -> Connection:
        """Return the connection; raises `SettingsError` for a URI that is not understood."""
        return resolve_connection(Table("init", "events", query="", connection=self.uri), Sources())

    @property
    def quote(self) -> str:
        """Return the mark around names."""
        return "`" if self.connection.scheme in ("mysql", "mariadb") else '"'

    def table_names(self) -> list[str]:
        """Return the names of the tables and views, sorted; raises `SourceError` if it cannot be read."""
        dialect = {"postgres": "postgresql", "mariadb": "mysql"}.get(self.connection.scheme, self.connection.scheme)
        return sorted(self.rows(TABLES[dialect])["name"].to_list())[:MAX_TABLES]

    def rows(self, query: str) -> pl.DataFrame:
        """Return the first rows of a query."""
        table = Table("init", "events", query=query, connection=self.uri)
        chunks = read_query(table, self.connection, SAMPLE_ROWS, None, self.scratch)
        return read_first_rows(chunks, table, SAMPLE_ROWS)[0]

    def sample(self, name: str, query: str) -> SourceSample:
        """Return the first rows of a query as a sample; the settings have the query without a limit."""
        table = Table(table_name(name), "events", query=query, connection=self.name)
        return SourceSample(table.name, table, self.rows(f"{query} LIMIT {SAMPLE_ROWS}"))

    def identifier(self, name: str) -> str:
        """Return a name as SQL has it; a schema before it stays."""
        parts = [
            part if re.fullmatch(r"[a-z_][a-z0-9_]*", part) else self._quoted(part) for part in name.split(".")
        ]
        return ".".join(parts)

    def _quoted(self, name: str) -> str:
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote


@dataclass(frozen=True)
class FoundTables:
    """What a database holds: samples of its tables and joins, or queries of recipes that run on it."""

    samples: list[SourceSample] = field(default_factory=list[SourceSample])
    unused: list[Unused] = field(default_factory=list[Unused])
    recipes: list[tuple[Recipe, Table]] = field(default_factory=list[tuple[Recipe, Table]])


def sample_database(database: Database) -> FoundTables:
    """Return a sample of each table or join of a database, or the queries of the recipes that fit.

    Raises `SourceError` when the database cannot be reached.
    """
    names = database.table_names()
    fitting = [pair for pair in query_recipes(set(names)) if _runs(database, pair[1])]
    if fitting:
        return FoundTables(recipes=fitting)
    samples: list[SourceSample] = []
    unused: list[Unused] = []
    for name in names:
        try:
            samples.append(database.sample(name, f"SELECT * FROM {database.identifier(name)}"))
        except RecsysError as error:
            unused.append(Unused(name, str(error)))
    joined = {lines.name: join for lines in samples if (join := _joined(database, lines, samples)) is not None}
    headers = {header for _, header in joined.values()}
    kept = [joined[each.name][0] if each.name in joined else each for each in samples if each.name not in headers]
    return FoundTables([each for each in kept if each.raw.height], unused)


def _runs(database: Database, table: Table) -> bool:
    """Return whether the query of a recipe can be run."""
    try:
        return bool(database.rows(f"SELECT * FROM ({(table.query or '').strip()}) AS recipe LIMIT 1").height)
    except RecsysError:
        return False


def _joined(
    database: Database, lines: SourceSample, samples: Sequence[SourceSample]
) -> tuple[SourceSample, str] | None:
    """Return lines of orders joined to the table that has their user and time, with the name of that table."""
    matches = assign(lines.profiles, lines.name, "events")
    if ITEM_ID not in matches or USER_ID in matches or (EVENT in matches and TIMESTAMP in matches):
        return None
    found = [
        (overlap, header, key, foreign)
        for header in samples
        if header.name != lines.name
        and {USER_ID, TIMESTAMP} <= assign(header.profiles, header.name, "events").keys()
        for key, foreign in _keys(lines, header)
        if (overlap := _overlap(lines.rows[foreign], header.rows[key])) >= MIN_OVERLAP
    ]
    if not found:
        return None
    _, header, key, foreign = max(found, key=lambda each: each[0])
    query = _join_query(database, lines, header, key, foreign)
    return replace(database.sample(lines.name, query), name=lines.name), header.name


def _keys(lines: SourceSample, header: SourceSample) -> Iterator[tuple[str, str]]:
    """Yield the pairs of a key of the header and a column of the lines that may refer to it, by their names."""
    foreign_names = {noun + ending for noun in nouns_of(header.name) for ending in ("id", "no", "nr", "number", "")}
    unique = [
        name for name, profile in header.profiles.items() if profile.distinct_share == 1 and profile.filled == 1
    ]
    for foreign in lines.profiles:
        for key in unique:
            if foreign == key or (compact(foreign) in foreign_names and compact(key) in ("id", "entityid", "uid")):
                yield key, foreign


def _overlap(foreign: pl.Series, key: pl.Series) -> float:
    values = as_texts(foreign).drop_nulls().unique()
    return int(values.is_in(as_texts(key).implode()).sum()) / max(values.len(), 1)


def _join_query(database: Database, lines: SourceSample, header: SourceSample, key: str, foreign: str) -> str:
    matches = assign(header.profiles, header.name, "events")
    named = database.identifier
    taken = [matches[role].column for role in HEADER_ROLES if role in matches]
    own_time = assign(lines.profiles, lines.name, "events").get(TIMESTAMP)
    own = [
        name for name in lines.raw.columns if name not in taken and (own_time is None or name != own_time.column)
    ]
    columns = [*(f"sold.{named(name)}" for name in own), *(f"orders.{named(name)}" for name in taken)]
    source, target = _table_of(lines), _table_of(header)
    selected = "\n".join(wrap(f"SELECT {', '.join(columns)}", LINE_LENGTH))
    return (
        f"{selected}\nFROM {source} AS sold JOIN {target} AS orders ON orders.{named(key)} = sold.{named(foreign)}"
    )


def _table_of(sample: SourceSample) -> str:
    return (sample.table.query or "").removeprefix("SELECT * FROM ")
