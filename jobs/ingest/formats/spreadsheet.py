"""Sheets of Excel and OpenDocument workbooks. A sheet is in memory; it has at most 1,048,576 rows."""

import logging
from collections.abc import Iterator
from pathlib import Path

import fastexcel
import polars as pl

from jobs.ingest.formats.chunks import Chunk, first_line
from jobs.ingest.formats.delimited import column_names
from recsys.errors import SourceError
from recsys.settings import Table

# The library warns of each column without a value, whose type it cannot know.
logging.getLogger("fastexcel").setLevel(logging.ERROR)


def read_spreadsheet(file: Path, table: Table, chunk_rows: int) -> Iterator[Chunk]:
    """Yield the rows of a workbook's first sheet, or of the one that the table names.

    The type of a column is that of all its cells; a column with cells of several types is text.
    """
    try:
        workbook = fastexcel.read_excel(file)
        sheet = table.sheet if table.sheet is not None else 0
        first = workbook.load_sheet(
            sheet, header_row=None, skip_rows=table.skip_rows, n_rows=1, dtypes="string"
        ).to_polars()
        if not first.width or not first.height:
            raise SourceError("the sheet is empty")
        header = [str(value or "") for value in first.row(0)]
        names = column_names(header if table.header else [""] * len(header), table)
        rows = workbook.load_sheet(
            sheet,
            header_row=None,
            skip_rows=table.skip_rows + (1 if table.header else 0),
            column_names=list(names),
            schema_sample_rows=None,
        ).to_polars()
    except fastexcel.FastExcelError as error:
        raise SourceError(f"cannot be read as {file.suffix.lower()[1:]}: {_reason(error)}") from None
    yield Chunk(rows.clear())
    yield from map(Chunk, rows.filter(~pl.all_horizontal(pl.all().is_null())).iter_slices(chunk_rows))


def sheet_names(file: Path) -> list[str]:
    """Return the names of the sheets of a workbook in order; raises `SourceError` when it cannot be read."""
    try:
        return fastexcel.read_excel(file).sheet_names
    except fastexcel.FastExcelError as error:
        raise SourceError(f"cannot be read as {file.suffix.lower()[1:]}: {_reason(error)}") from None


def _reason(error: fastexcel.FastExcelError) -> str:
    """Return the most specific line of an error: the first line of its context, if it names the sheets."""
    lines = str(error).splitlines()
    return next((line.partition(": ")[2] for line in lines if "Available sheets" in line), first_line(error))
