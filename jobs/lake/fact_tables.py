"""The files of facts in a lake: what each table gave, the united view, prices over time, and what undoing needs.

The facts of a table are written before the united view is made of all tables. A process that is killed in between
leaves a view that is older than its tables; it is made again by the next write.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

import polars as pl

from jobs.lake.facts import (
    CHANGES_PER_INGEST,
    change_number,
    delist_missing,
    last_change,
    list_again,
    merge_facts,
    read_facts,
    restore_facts,
    unite_facts,
    write_facts,
)
from jobs.lake.prices import add_prices, read_prices, without_ingest, write_prices
from recsys.schema import AVAILABLE, GUEST_ID, IDENTITY_DTYPES, ITEM_DTYPES, ITEM_ID, USER_DTYPES, USER_ID

IDENTITIES: Final = "identities"
FACT_TABLES: Final = {
    "items": (ITEM_DTYPES, ITEM_ID),
    "users": (USER_DTYPES, USER_ID),
    IDENTITIES: (IDENTITY_DTYPES, GUEST_ID),
}
ONLINE: Final = "online"  # source of the events, and table of the facts, that were received online
PRICES_FILE: Final = "facts/prices.parquet"


def write_table_facts(
    directory: Path,
    kind: str,
    table: str,
    given: pl.DataFrame,
    when: datetime,
    ingest: int,
    position: int,
    is_complete: bool = False,
    unreadable: pl.Series | None = None,
) -> bool:
    """Take the facts that a table gives on items or users, one row for each, and unite all tables.

    `position` is that of the table in the ingest; `when` is the time from which its prices count. With
    `is_complete`, items that the table no longer lists become unavailable, until it lists them again; `unreadable`
    are items that it lists in rows that broke a rule. What undoing the ingest needs is kept. Returns whether a fact
    changed.
    """
    dtypes, key = FACT_TABLES[kind]
    is_online = table == ONLINE
    file = directory / "facts" / kind / f"{table}.parquet"
    before, change = read_facts(file, dtypes, key), change_number(ingest, position)
    listed = before
    if is_complete:
        others = (
            given[key].clear() if unreadable is None else unreadable.filter(~unreadable.is_in(given[key].implode()))
        )
        delisted = delist_missing(before, pl.concat([given[key], others]), key, change)
        silent = pl.concat([given.filter(pl.col(AVAILABLE).is_null())[key], others])
        listed = list_again(delisted, silent, key, change)
    facts = merge_facts(listed, given, key, change, counts_repeated=is_online)
    is_changed = not facts.equals(before)
    if is_changed:
        undo_file = directory / "undo" / str(ingest) / kind / file.name
        if not is_online and not undo_file.exists():
            write_facts(undo_file, before)
        write_facts(file, facts)
    if is_changed or _is_outdated(directory, kind):
        _unite(directory, kind, when, None if is_online else ingest)
    return is_changed


def write_online_facts(directory: Path, kind: str, given: pl.DataFrame, when: datetime, ingest: int) -> None:
    """Take the non-null values that were given online at a time after an ingest, one row for each item or guest."""
    write_table_facts(directory, kind, ONLINE, given, when, ingest, CHANGES_PER_INGEST - 1)


def read_fact_tables(directory: Path, kind: str) -> dict[str, pl.DataFrame]:
    """Return the facts of every table on items or users, by the table's name."""
    dtypes, key = FACT_TABLES[kind]
    return {file.stem: read_facts(file, dtypes, key) for file in _fact_files(directory, kind)}


def united_facts(directory: Path, kind: str) -> pl.DataFrame:
    """Return the united facts on items or users, with the table that gave each value."""
    dtypes, key = FACT_TABLES[kind]
    return unite_facts(read_fact_tables(directory, kind), dtypes, key, with_origin=True)


def last_changes(directory: Path, kind: str) -> dict[str, int]:
    """Return for each table of facts, except the online one, the ingest that changed it last."""
    changes = {name: last_change(facts) for name, facts in read_fact_tables(directory, kind).items()}
    return {name: ingest for name, ingest in changes.items() if name != ONLINE and ingest is not None}


def undo_facts(directory: Path, ingest: int, when: datetime) -> None:
    """Undo what an ingest changed of the facts, but not what was changed online after it.

    What undoing later ingests restores is changed too, so that it does not bring back what is undone now.
    """
    changes = change_number(ingest, 0), change_number(ingest + 1, 0) - 1
    for kind, (dtypes, key) in FACT_TABLES.items():
        for before in sorted((directory / "undo" / str(ingest) / kind).glob("*.parquet")):
            earlier = read_facts(before, dtypes, key)
            later = (directory / "undo").glob(f"*/{kind}/{before.name}")
            after = [file for file in later if int(file.parent.parent.name) > ingest]
            for file in (*after, directory / "facts" / kind / before.name):
                write_facts(file, restore_facts(read_facts(file, dtypes, key), earlier, key, changes))
        if kind == "items":
            write_prices(directory / PRICES_FILE, without_ingest(read_prices(directory / PRICES_FILE), ingest))
        _unite(directory, kind, when, None)


def _fact_files(directory: Path, kind: str) -> list[Path]:
    return sorted((directory / "facts" / kind).glob("*.parquet"))


def _is_outdated(directory: Path, kind: str) -> bool:
    view = directory / f"{kind}.parquet"
    files = _fact_files(directory, kind)
    return bool(files) and (
        not view.exists() or view.stat().st_mtime_ns < max(file.stat().st_mtime_ns for file in files)
    )


def _unite(directory: Path, kind: str, when: datetime, ingest: int | None) -> None:
    """Write the prices that changed, then the united view."""
    dtypes, key = FACT_TABLES[kind]
    tables = read_fact_tables(directory, kind)
    if not tables:
        return
    united = unite_facts(tables, dtypes, key)
    if kind == "items":
        file = directory / PRICES_FILE
        write_prices(file, add_prices(read_prices(file), united, when, ingest))
    write_facts(directory / f"{kind}.parquet", united)
