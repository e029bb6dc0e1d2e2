"""Tables in real databases, and the rows of queries as an ingest reads them."""

from itertools import count
from pathlib import Path

import polars as pl

from jobs.ingest.queries import read_query, resolve_connection
from recsys.settings import ColumnMapping, Sources, Table
from tests.database_servers import DatabaseServer

CONTRACT: dict[str, ColumnMapping] = {
    name: name for name in ("event_id", "user_id", "item_id", "event", "timestamp", "price")
}
NUMBERS = count()


def create_table(database: DatabaseServer, columns: str, *rows: str) -> str:
    """Create a table under a name of its own, with rows in SQL, and return the name."""
    name = f"orders_{next(NUMBERS)}"
    database.run(f"CREATE TABLE {name} ({columns})")
    if rows:
        database.run(f"INSERT INTO {name} VALUES {', '.join(f'({row})' for row in rows)}")
    return name


def query_sources(database: DatabaseServer, query: str, columns: dict[str, ColumnMapping] | None = None) -> Sources:
    """Return sources with one table of events that has a query."""
    table = Table("orders", "events", columns=columns or CONTRACT, query=query, connection="shop")
    return Sources(tables=(table,), connections={"shop": database.uri})


def read_rows(database: DatabaseServer, query: str, scratch: Path, chunk_rows: int = 1000) -> pl.DataFrame:
    """Return all rows of a query, in the types that the mapping gets."""
    sources = query_sources(database, query)
    (table,) = sources.tables
    chunks = list(read_query(table, resolve_connection(table, sources), chunk_rows, None, scratch))
    assert chunks[0].rows.height == 0
    assert max(chunk.rows.height for chunk in chunks) <= chunk_rows
    return pl.concat([chunk.rows for chunk in chunks])
