"""Ingests that continue from a watermark, and rows that arrive late."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.ingest.undo import undo
from jobs.ingest.watermark import Watermark, greatest_watermark, later_watermark, rows_from
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Sources, Table, load_settings
from tests.commands import run_recsys
from tests.database_servers import DatabaseServer
from tests.ingests import LATEST, kill_ingests, latest_counts, read_quarantined_rows

COLUMNS: dict[str, ColumnMapping] = {
    "event_id": "id",
    "user_id": "user_name",
    "item_id": "item",
    "event": "'view'",
    "timestamp": "changed",
}
COUNT = iter(range(10**6))


class Shop:
    """A table of events in a database, and what is read of it."""

    def __init__(self, database: DatabaseServer, lake: Lake, lateness: float = 2.0) -> None:
        self.database, self.lake = database, lake
        self.name = f"log_{next(COUNT)}"
        database.run(
            f"CREATE TABLE {self.name} (id INTEGER, user_name VARCHAR(9), item VARCHAR(9), changed TIMESTAMP)"
        )
        query = f"SELECT * FROM {self.name}"
        self.table = Table(
            "log", "events", "", COLUMNS, query=query, connection="shop", watermark="changed", lateness=lateness
        )

    def add(self, rows: dict[int, str], user: str = "ann") -> None:
        """Insert events by their number and day of May 2024."""
        values = [f"({number}, '{user}', 'tea', '2024-05-{day} 10:00:00')" for number, day in rows.items()]
        self.database.run(f"INSERT INTO {self.name} VALUES {', '.join(values)}")

    def ingest(self, full: bool = False, table: Table | None = None) -> TableCount:
        """What one more ingest brings."""
        sources = Sources(max_bad_rows=1, tables=(table or self.table,), connections={"shop": self.database.uri})
        (count,) = ingest((), sources, self.lake, LATEST, full=full)
        return count

    def ids(self) -> list[int]:
        """Ids of the events in the lake."""
        return sorted(map(int, self.lake.events().collect()["event_id"]))


def test_the_next_ingest_reads_only_what_is_new_or_late(database: DatabaseServer, lake: Lake):
    shop = Shop(database, lake)
    shop.add({day: f"{day:02d}" for day in range(1, 11)})
    assert shop.ingest().rows == 10
    count = shop.ingest()
    assert (count.rows, count.accepted) == (3, 0)  # days 8, 9, 10
    shop.add({11: "11", 12: "08", 13: "07"})
    count = shop.ingest()
    assert (count.rows, count.accepted, count.duplicates) == (5, 2, 3)
    assert shop.ids() == [*range(1, 13)]
    count = shop.ingest(full=True)
    assert (count.rows, count.accepted) == (13, 1)
    assert shop.ids() == [*range(1, 14)]
    assert shop.ingest().rows == 3  # days 9, 10, 11
    assert sum(count.accepted for count in latest_counts(lake)) >= 13


def test_an_increment_that_corrects_an_early_row_removes_no_other(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake, lateness=0)
    query = f"SELECT *, '2024-05-' || printf('%02d', id) AS day FROM {shop.name}"
    table = replace(shop.table, query=query, columns={**COLUMNS, "timestamp": "day"})
    shop.add({day: f"{day:02d}" for day in range(1, 21)})
    shop.ingest(table=table)
    sqlite.run(f"UPDATE {shop.name} SET item = 'mug', changed = '2024-05-25 10:00:00' WHERE id IN (1, 20)")
    count = shop.ingest(table=table)
    assert (count.rows, count.changed, count.removed) == (2, 2, 0)
    assert shop.ids() == [*range(1, 21)]
    shop.add({30: "30"})
    assert shop.ingest(table=table).accepted == 1


def test_an_increment_of_a_complete_catalogue_makes_no_item_unavailable(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake, lateness=0)
    table = replace(shop.table, kind="items", columns={"item_id": "id", "title": "item"}, complete=True)
    shop.add({1: "01", 2: "02"})
    shop.ingest(table=table)
    shop.add({3: "03"})
    shop.ingest(table=table)
    assert lake.items().select("item_id", "available").collect().rows() == [("1", None), ("2", None), ("3", None)]
    sqlite.run(f"DELETE FROM {shop.name} WHERE id = 1")
    shop.ingest(table=table, full=True)
    assert lake.items().filter(available=False).collect()["item_id"].to_list() == ["1"]


def test_rows_of_two_undone_ingests_are_read_again(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake, lateness=0)
    for first in (1, 11, 21):
        shop.add({day: f"{day:02d}" for day in range(first, first + 5)})
        shop.ingest()
    assert undo(lake, 2).kept_watermarks == ("log",)
    assert shop.ingest().accepted == 0
    assert undo(lake, 3).kept_watermarks == ()
    assert shop.ids() == [*range(1, 6)]
    shop.ingest()
    assert shop.ids() == [*range(1, 6), *range(11, 16), *range(21, 26)]


def test_rows_without_a_watermark_are_read_each_time(database: DatabaseServer, lake: Lake):
    shop = Shop(database, lake, lateness=0)
    shop.add({1: "01", 2: "09"})
    shop.ingest()
    database.run(f"INSERT INTO {shop.name} VALUES (3, 'ann', 'tea', NULL)")
    count = shop.ingest()
    assert (count.rows, count.rules) == (2, {"timestamp_is_readable": 1})


def test_a_query_that_has_changed_is_read_from_the_start(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake)
    shop.add({1: "01", 2: "20"})
    assert shop.ingest().rows == 2
    assert shop.ingest(table=replace(shop.table, lateness=3.0)).rows == 1
    assert shop.ingest(table=replace(shop.table, query=f"{shop.table.query} WHERE id > 0")).rows == 2


def test_a_clock_that_is_wrong_does_not_hide_the_rows_after_it(database: DatabaseServer, lake: Lake):
    shop = Shop(database, lake, lateness=0)
    shop.add({1: "01"})
    database.run(f"INSERT INTO {shop.name} VALUES (2, 'ann', 'tea', '2037-01-01 00:00:00')")
    assert shop.ingest().quarantined == 1
    shop.add({3: "02"})
    assert shop.ingest().accepted == 1
    assert shop.ids() == [1, 3]


def test_rows_of_the_window_are_quarantined_with_the_reason_each_time(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake)
    shop.add({1: "10"}, "a b")
    assert shop.ingest().rules == {"user_id_is_an_id": 1}
    assert shop.ingest().rules == {"user_id_is_an_id": 1}
    sqlite.run(f"UPDATE {shop.name} SET user_name = 'ab'")
    assert shop.ingest().accepted == 1


def test_a_watermark_that_is_not_there_is_reported(database: DatabaseServer, lake: Lake):
    shop = Shop(database, lake)
    table = Table("log", "events", "", COLUMNS, query=shop.table.query, connection="shop", watermark="modified")
    with pytest.raises(SourceError, match="watermark 'modified' of table 'log' is missing; the columns are id, "):
        shop.ingest(table=table)


@pytest.mark.parametrize("columns", ["BIGINT", "NUMERIC(12, 0)", "DOUBLE PRECISION", "DATE", "VARCHAR(40)"])
def test_numbers_days_and_text_are_watermarks(database: DatabaseServer, lake: Lake, columns: str):
    name = f"log_{next(COUNT)}"
    database.run(f"CREATE TABLE {name} (id INTEGER, mark {columns})")
    days = {"DATE": "'2024-05-{:02d}'", "VARCHAR(40)": "'2024-05-{:02d}T08:00:00+02:00'"}
    rows = [f"({number}, {days.get(columns, '{}').format(number)})" for number in range(1, 21)]
    database.run(f"INSERT INTO {name} VALUES {', '.join(rows)}")
    mapped = {"event_id": "id", "user_id": "'ann'", "item_id": "id", "event": "'view'", "timestamp": "'2024-05-01'"}
    query = f"SELECT * FROM {name}"
    table = Table("log", "events", "", {**mapped}, query=query, connection="shop", watermark="mark", lateness=3.0)
    sources = Sources(tables=(table,), connections={"shop": database.uri})
    (first,) = ingest((), sources, lake, LATEST)
    (second,) = ingest((), sources, lake, LATEST)
    assert (first.rows, second.rows) == (20, 4)


@pytest.mark.parametrize(
    ("values", "table", "expected"),
    [
        ([1, None, 3], {}, Watermark("number", Decimal(3))),
        ([1.5, float("nan"), float("inf")], {}, Watermark("number", Decimal("1.5"))),
        ([1714557600, 9999999999], {"time_format": "epoch_s"}, Watermark("number", Decimal(1714557600))),
        (["1714557600", "9999999999"], {"time_format": "epoch_s"}, Watermark("number", Decimal("1714557600.0"))),
        ([date(2024, 5, 1), date(2030, 1, 1)], {}, Watermark("date", date(2024, 5, 1))),
        (["2024-05-01 10:00", "2024-05-02T10:00Z", "never"], {}, Watermark("date", date(2024, 5, 2))),
        ([datetime(2024, 5, 1, 10), datetime(2025, 1, 1, 14)], {}, Watermark("local", datetime(2025, 1, 1, 14))),
        ([datetime(2024, 5, 1, 10), datetime(2025, 1, 1, 15)], {}, Watermark("local", datetime(2024, 5, 1, 10))),
        (
            [datetime(2024, 5, 1, 10, tzinfo=UTC), datetime(2025, 1, 2, tzinfo=UTC)],
            {},
            Watermark("moment", datetime(2024, 5, 1, 10, tzinfo=UTC)),
        ),
        ([None, None], {}, None),
        ([date(2030, 1, 1)], {}, None),
    ],
)
def test_the_greatest_value_that_is_no_mistake_counts(
    values: list[object], table: dict[str, str], expected: Watermark | None
):
    named = Table("log", "events", "*", COLUMNS, watermark="mark", time_format=table.get("time_format"))
    assert greatest_watermark(pl.DataFrame({"mark": values}), named, LATEST) == expected


@pytest.mark.parametrize("values", [["never", "soon"], [True]])
def test_a_column_that_does_not_grow_is_reported(values: list[object]):
    table = Table("log", "events", "*", COLUMNS, watermark="mark")
    with pytest.raises(SourceError, match="watermark 'mark' of table 'log'"):
        greatest_watermark(pl.DataFrame({"mark": values}), table, LATEST)


def test_lateness_is_days_of_times_and_units_of_numbers():
    assert Watermark("local", datetime(2024, 5, 3)).lowered(0.5).value == datetime(2024, 5, 2, 12)
    assert Watermark("date", date(2024, 5, 3)).lowered(0.5).value == date(2024, 5, 2)
    assert Watermark("number", Decimal("10.5")).lowered(2.0).value == Decimal(8)


def test_a_column_of_another_kind_starts_anew():
    number, day = Watermark("number", Decimal(5)), Watermark("date", date(2024, 5, 1))
    table = Table("log", "events", "*", COLUMNS, watermark="mark")
    rows = pl.DataFrame({"mark": [1, 9]})
    assert rows_from(rows, table, day).height == 2
    assert rows_from(rows, table, number).height == 1
    assert later_watermark(day, number) == number
    assert later_watermark(number, Watermark("number", Decimal(4))) == number
    assert later_watermark(None, number) == later_watermark(number, None) == number


def write_log_settings(database: DatabaseServer, directory: Path) -> Path:
    """Create a table with two events, and settings that read it from its watermark on."""
    database.run("CREATE TABLE log (id INTEGER, user_name TEXT, item TEXT, changed TEXT)")
    database.run("INSERT INTO log VALUES (1, 'ann', 'tea', '2024-05-01'), (2, 'ann', 'tea', '2024-05-20')")
    columns = "".join(f'{name} = "{value}"\n' for name, value in COLUMNS.items())
    config = directory / "recsys.toml"
    config.write_text(
        '[[sources.tables]]\nname = "log"\nkind = "events"\nquery = "SELECT * FROM log"\nconnection = "shop"\n'
        f'watermark = "changed"\n[sources.tables.columns]\n{columns}'
        f'[sources.connections]\nshop = "{database.uri}"\n'
    )
    return config


def test_a_killed_ingest_loses_no_row(sqlite: DatabaseServer, tmp_path: Path):
    config = write_log_settings(sqlite, tmp_path)
    renames = 6  # the columns, buckets.json, two days, the record, the watermark
    steps = (2, 4, renames - 1, renames)
    kill_ingests(config, tmp_path, steps)
    for step in steps:
        lake = Lake(tmp_path / str(step))
        assert not (lake.directory / "watermarks" / "log.json").exists()
        (count,) = ingest((), load_settings(config, {}).sources, lake, LATEST)
        assert count.rows == 2
        assert (lake.directory / "watermarks" / "log.json").exists()
        assert sorted(lake.events().collect()["event_id"]) == ["1", "2"]


def test_the_command_reads_everything_again_with_its_option(sqlite: DatabaseServer, tmp_path: Path):
    sources = load_settings(write_log_settings(sqlite, tmp_path), {}).sources
    lake = Lake(tmp_path / "var" / "lake")
    assert [ingest((), sources, lake, LATEST)[0].rows for _ in range(2)] == [2, 1]
    ended = run_recsys(tmp_path, tmp_path / "var", "ingest", "--json", "--full")
    assert [count["rows"] for count in json.loads(ended.stdout)["sources"]] == [2]


def test_a_bad_row_of_two_increments_is_in_quarantine_once(sqlite: DatabaseServer, lake: Lake):
    shop = Shop(sqlite, lake)
    shop.add({1: "10", 2: "10"}, "a b")
    for number in range(3, 6):
        shop.ingest()
        shop.add({number: "11"}, "c d")
    assert sorted(read_quarantined_rows(lake)["event_id"]) == ["1", "2", "3", "4"]
    (record,) = latest_counts(lake)
    assert (record.quarantined, record.rules) == (4, {"user_id_is_an_id": 4})
