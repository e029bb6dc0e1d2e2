"""The first rows of a source as the concluded mapping reads them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import polars as pl

from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.numbers import numbers_in
from jobs.ingest.mapping import ROW, map_source
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.survey import read_all
from recsys.name_patterns import regular_expression
from recsys.schema import CREATED_AT, EVENT, EVENT_ID, ITEM_ID, PURCHASE, TIMESTAMP, USER_ID
from recsys.settings import Sources

PREVIEW_ROWS = 5
REPEAT_ROWS = 50_000
RECENT = timedelta(days=7)
MIN_REPEATS = 0.15
"""Share of purchases of an item that the user bought on an earlier day, from which items are bought again."""


@dataclass(frozen=True)
class Preview:
    """Rows of one table in the columns of the contract."""

    table: str
    rows: pl.DataFrame
    """Those that can be read."""
    unreadable: int
    """Number of the rows of the sample that cannot be."""


def read_sample(conclusion: Conclusion, sources: Sources) -> Preview:
    """Return the rows of a sample as an ingest maps them; raises as `map_source` does."""
    raw = conclusion.sample.raw.head(REPEAT_ROWS)
    is_text = conclusion.sample.table.query is None and pl.String in raw.dtypes
    mapped = map_source(
        raw, conclusion.table, sources, numbers=numbers_in(lambda: [Chunk(raw)]) if is_text else None
    )
    rows = mapped.readable().drop(ROW)
    unmapped = [EVENT_ID] if EVENT_ID in rows.columns and EVENT_ID not in conclusion.table.columns else []
    return Preview(conclusion.table.name, rows.drop(unmapped), mapped.rows.height - rows.height)


def last_event(conclusion: Conclusion, preview: Preview, sources: Sources, latest: datetime) -> datetime | None:
    """Return the time of the last event before `latest`, of all files of a table; None without a readable one.

    If the first rows have an event of the last `RECENT` days before `latest`, the others are not read.
    """
    known = preview.rows.select(pl.col(TIMESTAMP).filter(pl.col(TIMESTAMP) < latest).max()).item()
    if known is not None and known >= latest - RECENT:
        return known
    table = conclusion.table
    columns = {ITEM_ID: "'1'", CREATED_AT: table.columns[TIMESTAMP]}
    times = replace(table, kind="items", columns=columns, where=None, currency_column=None)
    found = [known] if known is not None else []
    for chunk in read_all(conclusion.sample):
        read = map_source(chunk.rows, times, sources).rows[CREATED_AT]
        last = read.filter(read < latest).max()
        found += [last] if isinstance(last, datetime) else []
    return max(found, default=None)


def repeat_share(tables: Sequence[pl.DataFrame], no_goods: Sequence[str]) -> float | None:
    """Return the share of purchases of an item that its user bought on an earlier day; None without purchases.

    Items that a pattern of `no_goods` matches do not count: postage is in every order.
    """
    bought = [
        table.filter(pl.col(EVENT) == PURCHASE).select(USER_ID, ITEM_ID, pl.col(TIMESTAMP).dt.date())
        for table in tables
    ]
    days = pl.concat(bought).drop_nulls().unique() if bought else pl.DataFrame()
    if no_goods and days.height:
        days = days.filter(~pl.col(ITEM_ID).str.contains(regular_expression(no_goods)))
    pairs = days.select(USER_ID, ITEM_ID).n_unique() if days.height else 0
    return (days.height - pairs) / days.height if days.height else None
