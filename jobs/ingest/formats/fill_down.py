"""Fill values down that a file gives only in the first row of a record, such as an order of several lines."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import polars as pl

from jobs.ingest.formats.chunks import Chunk
from recsys.errors import SourceError
from recsys.settings import Table

_RECORD = "(record)"  # column: number of the record of a row


def fill_down(chunks: Iterable[Chunk], table: Table) -> Iterator[Chunk]:
    """Yield the same rows, in which the columns of `table.fill_down` are filled from the rows above.

    The first of the columns identifies a record: a row in which it is empty, or the same as in the row above,
    continues the record of that row, also across chunks. Raises `SourceError` for a column that the source lacks.
    """
    if not table.fill_down:
        yield from chunks
        return
    above: pl.DataFrame | None = None
    for chunk in chunks:
        given = _given(chunk.rows, table)
        filled = _filled(given if above is None else pl.concat([above, given], how="vertical_relaxed"))
        above = filled.tail(1)
        yield replace(chunk, rows=chunk.rows.with_columns(filled.tail(given.height)))


def _given(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Return the columns to fill; an empty text is null."""
    for name in table.fill_down:
        if name not in rows.columns:
            raise SourceError(
                f"sources.tables.{table.name}.fill_down = {name!r}: there is no such column; "
                f"the source has {', '.join(rows.columns)}"
            )
    columns = rows.select(table.fill_down)
    texts = [name for name, dtype in columns.schema.items() if dtype == pl.String]
    return columns.with_columns(pl.when(pl.col(name) != "").then(pl.col(name)).alias(name) for name in texts)


def _filled(columns: pl.DataFrame) -> pl.DataFrame:
    identity, *others = columns.columns
    records = columns.with_columns(pl.col(identity).forward_fill())
    numbered = records.with_columns(pl.col(identity).rle_id().alias(_RECORD))
    return numbered.with_columns(pl.col(name).forward_fill().over(_RECORD) for name in others).drop(_RECORD)
