"""Mappings of jobs/examples that fit a shop's files or database exactly."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import polars as pl

from jobs.ingest.columns.written_dates import MONTH_FIRST
from jobs.ingest.formats.chunks import Chunk
from jobs.ingest.formats.numbers import numbers_in
from jobs.ingest.mapping import map_source
from jobs.mapping_inference.conclusions import Conclusion
from jobs.mapping_inference.questions import Ask, day_order_question
from jobs.mapping_inference.roles import role_score
from jobs.mapping_inference.samples import SourceSample
from jobs.mapping_inference.survey import survey
from recsys.errors import RecsysError
from recsys.schema import EVENT, ITEM_ID, TIMESTAMP, TITLE, USER_ID
from recsys.settings import Settings, Table, load_settings

EXAMPLES = Path(__file__).parents[1] / "examples"
FIT_ROWS = 2_000
MIN_READ = 0.3
"""Least share of the rows, after the condition of the recipe, that have each required value."""
NEEDED = {"events": (USER_ID, ITEM_ID, EVENT, TIMESTAMP), "items": (ITEM_ID,), "users": (USER_ID,)}
TABLE_OF_QUERY = re.compile(r"(?i)\b(?:FROM|JOIN)\s+(\w+)")


@dataclass(frozen=True)
class Recipe:
    """A mapping that ships with recsys."""

    name: str
    title: str
    """Its first comment, up to the colon."""
    settings: Settings


@cache
def recipes() -> tuple[Recipe, ...]:
    """Return all recipes, by name."""
    return tuple(
        Recipe(
            file.stem,
            file.read_text(encoding="utf-8").partition(":")[0].removeprefix("# "),
            load_settings(file, {}),
        )
        for file in sorted(EXAMPLES.glob("*.toml"))
    )


def find_recipe(sample: SourceSample) -> tuple[Recipe, list[Table]] | None:
    """Return the recipe whose tables read a sample of files, and those tables; the one that maps most columns.

    Of tables that read files of one name, all fit or none.
    """
    fitting = [(recipe, tables) for recipe in recipes() if (tables := _fitting_tables(recipe, sample))]
    return max(fitting, key=lambda pair: sum(len(table.columns) for table in pair[1]), default=None)


def conclude_by_recipe(recipe: Recipe, tables: list[Table], sample: SourceSample, ask: Ask) -> Iterator[Conclusion]:
    """Yield how a sample is read by the tables of a recipe; asks for the order of dates if nothing decides it."""
    for table in tables:
        time_format = table.time_format or _decided_format(table, sample, ask)
        read = replace(table, files=sample.table.files, time_format=time_format)
        yield Conclusion(
            read,
            sample,
            {"recipe": f"the columns are those of {recipe.title}"},
            _items(read, sample),
            table.time_zone is None and _has_local_times(table, sample),
            recipe.name,
        )


def query_recipes(tables: set[str]) -> Iterator[tuple[Recipe, Table]]:
    """Yield the tables of recipes whose queries read tables of a database that are all there, by their names."""
    for recipe in recipes():
        for table in recipe.settings.sources.queries:
            if set(TABLE_OF_QUERY.findall(table.query or "")) <= tables:
                yield recipe, table


def _fitting_tables(recipe: Recipe, sample: SourceSample) -> list[Table]:
    tables = recipe.settings.sources.file_tables
    fits = {table.name: _fits(table, recipe, sample) for table in tables}
    unfit = {table.files for table in tables if not fits[table.name]}
    return [table for table in tables if table.files not in unfit]


def _title(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition(":")[0].removeprefix("# ")


def _fits(table: Table, recipe: Recipe, sample: SourceSample) -> bool:
    """Return whether a table reads the required values from the first rows of a sample."""
    read = replace(table, time_format=table.time_format or _time_format(table, sample))
    column = _time_column(table, sample)
    if column is not None and sample.profiles[column].times.ambiguous_example is not None:
        read = replace(read, time_format=MONTH_FIRST)
    if not _reads_distinct_columns(read, sample):
        return False
    raw = sample.raw.head(FIT_ROWS)
    try:
        mapped = map_source(raw, read, recipe.settings.sources, numbers=numbers_in(lambda: [Chunk(raw)]))
    except (RecsysError, pl.exceptions.PolarsError):
        return False
    rows = mapped.rows
    events = set(recipe.settings.sources.event_weights)
    if not rows.height or (table.kind == "events" and not set(rows[EVENT].drop_nulls().unique()) <= events):
        return False
    return all(rows[name].is_not_null().mean() >= MIN_READ for name in NEEDED[table.kind])  # type: ignore[operator]


def _reads_distinct_columns(table: Table, sample: SourceSample) -> bool:
    """Return whether a table names a column of the sample that is no column of the contract, as its own does."""
    texts = [text for value in table.columns.values() for text in ((value,) if isinstance(value, str) else value)]
    named = [text for text in texts if text in sample.raw.columns]
    return table.explode is not None or bool(set(named) - {"user_id", "item_id", "event", "timestamp", "price"})


def _time_column(table: Table, sample: SourceSample) -> str | None:
    mapped = table.columns.get(TIMESTAMP)
    return mapped if isinstance(mapped, str) and mapped in sample.profiles else None


def _time_format(table: Table, sample: SourceSample) -> str | None:
    column = _time_column(table, sample)
    return sample.profiles[column].times.time_format if column else None


def _decided_format(table: Table, sample: SourceSample, ask: Ask) -> str | None:
    column = _time_column(table, sample)
    example = sample.profiles[column].times.ambiguous_example if column else None
    if column is None or example is None:
        return _time_format(table, sample)
    orders = survey(sample, times=[column]).day_orders
    return next(iter(orders)) if len(orders) == 1 else ask(day_order_question(sample.name, column, example))


def _has_local_times(table: Table, sample: SourceSample) -> bool:
    column = _time_column(table, sample)
    return column is not None and sample.profiles[column].times.is_local


def _items(table: Table, sample: SourceSample) -> pl.DataFrame | None:
    """Return the items of a source, by the mapping of the recipe if that is a column or an expression over it."""
    item, title = (table.columns.get(name) for name in (ITEM_ID, TITLE))
    if not isinstance(item, str) or sample.table.query is not None or table.explode is not None:
        return None
    column = _column_in(item, ITEM_ID, sample)
    titles = _column_in(title, TITLE, sample) if isinstance(title, str) else None
    return None if column is None else survey(sample, item=column, title=titles).items


def _column_in(text: str, role: str, sample: SourceSample) -> str | None:
    """Return the column of an expression that fits a role best."""
    named = [name for name in sample.profiles if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)]
    return max(named, key=lambda name: role_score(role, sample.profiles[name], sample.name), default=None)
