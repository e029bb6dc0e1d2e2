"""Facts on items and users: what each table last said of each column, and the united view of all tables.

A later null never erases a value. A table that repeats a value says nothing new: of several tables the one that
changed the value last is believed, so that a nightly feed does not undo a change made online since. Online, each
value is a change, also one that was sent before: it answers what a feed has changed meanwhile.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.state_files import read_state
from recsys.files import atomic_write
from recsys.schema import AVAILABLE, CATEGORIES, CATEGORY

CHANGE_SUFFIX: Final = "_change"
GIVEN_BY_SUFFIX: Final = "_given_by"
PATH_SEPARATOR: Final = "\x1f"  # does not occur in names of categories
CHANGES_PER_INGEST: Final = 10_000  # sources of one ingest whose changes can be put in order


def change_number(ingest: int, position: int) -> int:
    """Return the number that puts changes in order; `position` is that of the table in the ingest."""
    return ingest * CHANGES_PER_INGEST + min(position, CHANGES_PER_INGEST - 1)


def last_change(facts: pl.DataFrame) -> int | None:
    """Return the number of the ingest that changed a table's facts last; None if it holds none."""
    numbers = facts.select(pl.max_horizontal(pl.col(rf"^.*{CHANGE_SUFFIX}$").max())).to_series()
    return None if numbers.is_empty() or numbers[0] is None else int(numbers[0]) // CHANGES_PER_INGEST


def fact_dtypes(dtypes: Mapping[str, pl.DataType], key: str) -> dict[str, pl.DataType]:
    """Return the columns of a table's facts: those of the contract, and for each the number of its last change."""
    return {**dtypes, **{f"{name}{CHANGE_SUFFIX}": pl.Int64() for name in dtypes if name != key}}


def first_values(rows: pl.LazyFrame | pl.DataFrame, key: str) -> pl.DataFrame:
    """Return one row for each key, with the first non-null value of each column, as exports of variants need it.

    The category paths of all rows of an item are united, as in exports with a row for each of its categories.
    """
    united = _one_row(rows, key, pl.exclude(CATEGORIES).drop_nulls().first(), _all_paths())
    return united if CATEGORIES not in united.columns else united.with_columns(with_all_categories())


def last_values(rows: pl.LazyFrame | pl.DataFrame, key: str) -> pl.DataFrame:
    """Return one row for each key, with the last non-null value of each column, as logs of changes need it."""
    return _one_row(rows, key, pl.all().drop_nulls().last())


def with_all_categories() -> list[pl.Expr]:
    """Return `category` and `categories` such that each says what the other does: the first path, and all of them.

    `categories` counts where both are given; facts of earlier versions have `category` only.
    """
    return [
        pl.coalesce(pl.col(CATEGORIES).list.first(), CATEGORY).alias(CATEGORY),
        pl.coalesce(CATEGORIES, _only_path()).alias(CATEGORIES),
    ]


def merge_facts(
    facts: pl.DataFrame, given: pl.DataFrame, key: str, change: int, counts_repeated: bool = False
) -> pl.DataFrame:
    """Take the non-null values of `given`, one row for each key, into a table's facts.

    A value that differs from the table's earlier one gets the number of the change; with `counts_repeated`, each.
    """
    columns = [name for name in given.columns if name != key]
    joined = facts.join(given, on=key, how="full", coalesce=True, suffix="_new")
    merged: list[pl.Expr] = []
    for name in columns:
        new, number = pl.col(f"{name}_new"), f"{name}{CHANGE_SUFFIX}"
        is_changed = new.is_not_null() & (pl.lit(counts_repeated) | new.ne_missing(pl.col(name)))
        merged += [
            pl.coalesce(new, name).alias(name),
            pl.when(is_changed).then(pl.lit(change, pl.Int64)).otherwise(number).alias(number),
        ]
    return joined.with_columns(merged).select(facts.columns).sort(key)


def without_superseded(
    given: pl.DataFrame, tables: Mapping[str, pl.DataFrame], own: str, key: str, ingest: int, is_whole: bool
) -> pl.DataFrame:
    """Return values that a table gave in an earlier ingest without those that a table has changed since.

    Unless `is_whole`, other rows of that ingest gave values too, which count.
    """
    numbers = {name: change_number(ingest + int(is_whole or name != own), 0) for name in tables}
    kept: list[pl.Expr] = []
    for column in given.columns:
        if column == key:
            continue
        number = pl.col(f"{column}{CHANGE_SUFFIX}")
        later = [facts.filter(number >= numbers[name])[key] for name, facts in tables.items()]
        changed = pl.concat([given[key].clear(), *later]).unique()
        kept.append(pl.when(~pl.col(key).is_in(changed.implode())).then(column).alias(column))
    return given.with_columns(kept)


def list_again(facts: pl.DataFrame, listed: pl.Series, key: str, change: int) -> pl.DataFrame:
    """Take back that items are unavailable which a complete feed lists again without their availability.

    Their availability is null from then on: `recsys.availability` decides by their stock.
    """
    number = f"{AVAILABLE}{CHANGE_SUFFIX}"
    is_back = pl.col(key).is_in(listed.implode()) & ~pl.col(AVAILABLE).fill_null(value=True)
    return facts.with_columns(
        pl.when(is_back).then(pl.lit(None, pl.Boolean)).otherwise(AVAILABLE).alias(AVAILABLE),
        pl.when(is_back).then(pl.lit(change, pl.Int64)).otherwise(number).alias(number),
    )


def delist_missing(facts: pl.DataFrame, listed: pl.Series, key: str, change: int) -> pl.DataFrame:
    """Make the items unavailable that a complete feed no longer lists; they stay for the history."""
    number = f"{AVAILABLE}{CHANGE_SUFFIX}"
    is_gone = ~pl.col(key).is_in(listed.implode()) & pl.col(AVAILABLE).fill_null(value=True)
    return facts.with_columns(
        pl.when(is_gone).then(pl.lit(value=False)).otherwise(AVAILABLE).alias(AVAILABLE),
        pl.when(is_gone).then(pl.lit(change, pl.Int64)).otherwise(number).alias(number),
    )


def unite_facts(
    tables: Mapping[str, pl.DataFrame], dtypes: Mapping[str, pl.DataType], key: str, with_origin: bool = False
) -> pl.DataFrame:
    """Return one row for each key: of each column the value that some table changed last.

    With `with_origin`, columns `COLUMN_given_by` name the table of each value.
    """
    united = _keys(tables.values(), dtypes, key)
    for name in dtypes:
        if name != key:
            united = united.join(_latest(tables, name, dtypes, key, with_origin), on=key, how="left")
    return united.sort(key)


def restore_facts(facts: pl.DataFrame, before: pl.DataFrame, key: str, changes: tuple[int, int]) -> pl.DataFrame:
    """Undo the changes with numbers from `changes[0]` up to `changes[1]`: take the values from `before`."""
    columns = [name.removesuffix(CHANGE_SUFFIX) for name in facts.columns if name.endswith(CHANGE_SUFFIX)]
    joined = facts.join(before, on=key, how="left", suffix="_before")
    restored: list[pl.Expr] = []
    for name in columns:
        number = f"{name}{CHANGE_SUFFIX}"
        is_undone = pl.col(number).is_between(*changes)
        restored += [
            pl.when(is_undone).then(f"{column}_before").otherwise(column).alias(column) for column in (name, number)
        ]
    rows = joined.with_columns(restored).select(facts.columns)
    was_known = pl.col(key).is_in(before[key].implode())
    has_facts = pl.any_horizontal(pl.col(f"^.*{CHANGE_SUFFIX}$").is_not_null())
    return rows.filter(was_known | has_facts).sort(key)


def leave_out(rows: pl.LazyFrame, key: str, excluded: pl.Series | None) -> pl.LazyFrame:
    """Return the rows whose key is not excluded, in their order."""
    if excluded is None:
        return rows
    return rows.join(excluded.rename(key).to_frame().lazy(), on=key, how="anti", maintain_order="left")


def read_facts(file: Path, dtypes: Mapping[str, pl.DataType], key: str) -> pl.DataFrame:
    """Read a table's facts; empty where there is no file."""
    schema = fact_dtypes(dtypes, key)
    if not file.exists():
        return pl.DataFrame(schema=schema)
    stored = read_state(file)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in stored.columns]
    return stored.with_columns(missing).select(*schema)


def write_facts(file: Path, facts: pl.DataFrame) -> None:
    """Write a table's facts, or a united view, atomically."""
    with atomic_write(file) as temporary:
        facts.write_parquet(temporary)


def _one_row(rows: pl.LazyFrame | pl.DataFrame, key: str, *values: pl.Expr) -> pl.DataFrame:
    frame = rows.lazy()
    return frame.group_by(key, maintain_order=True).agg(values).select(frame.collect_schema().names()).collect()


def _all_paths() -> pl.Expr:
    """Return the different paths of all rows of a group, null where there is none."""
    paths = pl.col(f"^{CATEGORIES}$").explode().drop_nulls().unique(maintain_order=True)
    return pl.when(paths.len() > 0).then(paths.implode())


def _only_path() -> pl.Expr:
    """Return `category` as a list of one path, null where it is null or empty."""
    path = pl.col(CATEGORY).list.join(PATH_SEPARATOR)
    paths = pl.concat_list(path).list.eval(pl.element().str.split(PATH_SEPARATOR))
    return pl.when(pl.col(CATEGORY).list.len() > 0).then(paths)


def _keys(tables: Iterable[pl.DataFrame], dtypes: Mapping[str, pl.DataType], key: str) -> pl.DataFrame:
    empty = pl.DataFrame(schema={key: dtypes[key]})
    return pl.concat([empty, *(table.select(key) for table in tables)]).unique()


def _latest(
    tables: Mapping[str, pl.DataFrame], name: str, dtypes: Mapping[str, pl.DataType], key: str, with_origin: bool
) -> pl.DataFrame:
    """Return key, value (and the table that gave it) of the last change of a column."""
    number = f"{name}{CHANGE_SUFFIX}"
    origin = f"{name}{GIVEN_BY_SUFFIX}"
    schema = {key: dtypes[key], name: dtypes[name], number: pl.Int64(), origin: pl.String()}
    values = [
        facts.filter(pl.col(number).is_not_null()).select(key, name, number, pl.lit(table).alias(origin))
        for table, facts in tables.items()
    ]
    latest = pl.concat([pl.DataFrame(schema=schema), *values]).sort(number).unique(key, keep="last")
    return latest.select(key, name, *([origin] if with_origin else []))
