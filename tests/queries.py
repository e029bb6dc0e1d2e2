"""Tables of real databases, and their rows as an ingest reads them."""

from pathlib import Path

import polars as pl

from jobs.ingest.queries import read_query, resolve_connection
from recsys.settings import ColumnMapping, Sources, Table
from tests.database_servers import DatabaseServer

CONTRACT: dict[str, ColumnMapping] = {
    name: name for name in ("event_id", "user_id", "item_id", "event", "timestamp", "price")
}
NEXT = iter(range(10**6))


def new_table(database: DatabaseServer, columns: str, *rows: str) -> str:
    """Makes a table and returns its name."""
    name = f"orders_{next(NEXT)}"
    inserts = "".join(f"INSERT INTO {name} VALUES ({row});" for row in rows)
    for statement in f"CREATE TABLE {name} ({columns});{inserts}".split(";"):
        if statement:
            database.run(statement)
    return name


def sources_of(database: DatabaseServer, query: str, columns: dict[str, ColumnMapping] | None = None) -> Sources:
    """One table of events with a query."""
    table = Table("orders", "events", columns=columns or CONTRACT, query=query, connection="shop")
    return Sources(tables=(table,), connections={"shop": database.uri})


def read(database: DatabaseServer, query: str, scratch: Path, chunk_rows: int = 1000) -> pl.DataFrame:
    """All rows of a query, in the types that the mapping gets."""
    sources = sources_of(database, query)
    (table,) = sources.tables
    chunks = list(read_query(table, resolve_connection(table, sources), chunk_rows, None, scratch))
    assert chunks[0].rows.height == 0
    assert max(chunk.rows.height for chunk in chunks) <= chunk_rows
    return pl.concat([chunk.rows for chunk in chunks])
