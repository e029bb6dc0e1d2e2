"""`recsys lake describe`: counts, joins, holes and what is unusual."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

from jobs.description.description import EventType, FrequentUser, JoinCounts, LakeDescription, describe_lake
from jobs.description.findings import find_unusual
from jobs.description.holes import DaySpan, LowDay, empty_spans, low_days
from jobs.description.page import render_page
from jobs.lake.lake import Lake
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import ingest_files

BERLIN = Sources(time_zone="Europe/Berlin", max_bad_rows=1)
FIRST = date(2024, 1, 1)
EMPTY = {date(2024, 1, 10), date(2024, 1, 11), date(2024, 2, 1)}
LOW = date(2024, 2, 15)
DAYS = 60

Recsys = Callable[..., CompletedProcess[str]]


def write_shop(directory: Path) -> tuple[Path, ...]:
    """A purchase of a user each hour of the day in Berlin, views at midnight, and a catalogue of half the items."""
    lines = ["user_id,item_id,event,timestamp,price"]
    for day in (FIRST + timedelta(days=number) for number in range(DAYS)):
        if day in EMPTY:
            continue
        lines += [
            f"u{hour % 4},i{hour % 10},purchase,{day}T{hour:02}:30:00,{'' if hour in (2, 3) else 5}"
            for hour in range(1 if day == LOW else 20)
        ]
        if day != LOW:
            lines.append(f"often,i0,view,{day},")
    lines += [lines[-1], "u1,i1,purchase,2024-01-05 yesterday,5"]  # a duplicate, and a bad row
    events, items, users = (directory / f"{name}.csv" for name in ("events", "items", "users"))
    events.write_text("\n".join(lines))
    items.write_text(
        "item_id,group_id,price,attributes\n"
        + "".join(
            f'i{number},{"even" if number % 2 == 0 else ""},{"" if number else 3},"{{""size"":""{number % 2}""}}"\n'
            for number in range(5)
        )
        + "x,alone,,\n"
    )
    users.write_text('user_id,attributes\nu0,"{}"\nu1,"{}"\nnever,"{}"\n')
    return events, items, users


@pytest.fixture(scope="module")
def description(tmp_path_factory: pytest.TempPathFactory) -> LakeDescription:
    directory = tmp_path_factory.mktemp("shop")
    lake = Lake(directory / "lake", buckets=3)
    ingest_files(lake, *write_shop(directory), sources=BERLIN)
    return describe_lake(lake, BERLIN)


def test_events_are_counted_by_type_day_and_hour_of_the_shop(description: LakeDescription) -> None:
    full_days = DAYS - len(EMPTY) - 1
    latest = DAYS - 30
    late_full_days = sum(
        day not in EMPTY | {LOW} for day in (FIRST + timedelta(days=number) for number in range(latest, DAYS))
    )
    assert (description.events, description.days) == (21 * full_days + 1, DAYS)
    assert (description.first_day, description.last_day) == (FIRST, FIRST + timedelta(days=DAYS - 1))
    purchases, views = description.types
    assert purchases == EventType(
        event="purchase",
        events=20 * full_days + 1,
        per_day=(20 * full_days + 1) / DAYS,
        per_day_lately=(20 * late_full_days + 1) / 30,
        with_price=18 * full_days + 1,
        in_catalogue=10 * full_days + 1,
        at_midnight=0,
    )
    assert (views.events, views.at_midnight, views.in_catalogue) == (full_days, full_days, full_days)
    assert description.events_per_hour == (2 * full_days + 1, *[full_days] * 19, *[0] * 4)
    assert len(description.events_per_day) == DAYS - len(EMPTY)


def test_users_and_items_are_joined_with_their_facts(description: LakeDescription) -> None:
    assert description.joins == JoinCounts(
        users=5,
        users_in_table=3,
        users_with_attributes=2,
        items=10,
        items_in_catalogue=6,
        items_in_both=5,
        items_with_price=1,
        variants=4,
        groups=2,
    )


def test_duplicates_and_quarantined_rows_are_counted_by_source(description: LakeDescription) -> None:
    counts = {
        source.name: (source.accepted, source.duplicates, source.quarantined) for source in description.sources
    }
    assert counts["events (events.csv)"] == (description.events, 1, 1)
    assert description.quarantine.per_day == ((date(2024, 1, 5), "timestamp_is_readable", 1),)


def test_what_is_unusual_is_said(description: LakeDescription) -> None:
    assert description.empty_spans == (
        DaySpan(date(2024, 1, 10), date(2024, 1, 11)),
        DaySpan(date(2024, 2, 1), date(2024, 2, 1)),
    )
    assert description.low_days == (LowDay(LOW, 1, 21.0),)
    assert find_unusual(description) == (
        "All of the view events are at midnight: dates without times?",
        "3 days without events: 2024-01-10 to 2024-01-11 and 2024-02-01",
        "1 day with under a tenth of the events that are usual on the weekday: 2024-02-15 (1, usually 21)",
        "48% of the events are of items in no catalogue",
        "10.0% of the purchase events have no price",
    )
    only_views = replace(description, types=description.types[1:], events=description.types[1].events)
    assert find_unusual(only_views)[0] == "All events are at midnight: the sources give dates without times"


def test_dates_in_the_zone_of_a_table_are_at_midnight_and_an_id_of_many_people_is_named(tmp_path: Path) -> None:
    users = ["web"] * 1_000 + [f"u{number}" for number in range(9_000)]
    events = pl.DataFrame({"user_id": users, "item_id": "tea", "event": "view", "timestamp": "2024-05-01"})
    events.with_row_index("event_id").write_parquet(tmp_path / "events.parquet")
    columns: dict[str, ColumnMapping] = {name: name for name in ("event_id", *events.columns)}
    table = Table("log", "events", "events*", columns, time_zone="America/New_York")
    lake = Lake(tmp_path / "lake", buckets=2)
    ingest_files(lake, tmp_path / "events.parquet", sources=Sources(tables=(table,)))
    described = describe_lake(lake, Sources(tables=(table,)))
    assert described.total("at_midnight") == described.events == 10_000
    assert described.frequent_users == (FrequentUser("web", 1_000, 0.1),)
    assert find_unusual(described)[0] == "All events are at midnight: the sources give dates without times"
    assert "1 user with more than 1% of the events: web (10%)" in find_unusual(described)[-1]
    assert "<svg" in (page := render_page(described))
    assert "there are no hours to show" in page


def test_the_command_prints_tables_json_and_a_page(recsys: Recsys, data_directory: Path, tmp_path: Path) -> None:
    empty = recsys("lake", "describe", "--html", "empty.html")
    assert (empty.returncode, empty.stdout.splitlines()[0]) == (0, "Lake: 0 events")
    assert "The lake has no events" in (tmp_path / "empty.html").read_text()
    (tmp_path / "kept").mkdir()
    refused = recsys("lake", "describe", "--html", "kept")
    assert (refused.returncode, refused.stderr) == (
        2,
        "recsys: --html = 'kept': expected a file, not a directory\n",
    )
    assert (tmp_path / "kept").is_dir()
    lake = Lake(data_directory / "lake")
    ingest_files(lake, *write_shop(tmp_path), sources=BERLIN)
    zone = {"RECSYS_SOURCES_TIME_ZONE": "Europe/Berlin"}
    shown = recsys("lake", "describe", "--html", "lake.html", **zone).stdout
    assert "Lake: 1,177 events from 2024-01-01 to 2024-02-29 (60 days, Europe/Berlin)" in shown
    assert "- 3 days without events: 2024-01-10 to 2024-01-11 and 2024-02-01" in shown
    assert re.search(r"size +number +0 \(3\), 1 \(2\) +83% +2", shown)
    page = (tmp_path / "lake.html").read_text()
    assert "<td>0 (3), 1 (2)</td>" in page
    assert page.count("<svg") == 3
    assert "http" not in page
    printed = json.loads(recsys("lake", "describe", "--json", **zone).stdout)
    assert printed["empty_spans"][0] == {"first": "2024-01-10", "last": "2024-01-11"}
    assert len(printed["findings"]) == 5
    assert printed["attributes"][0]["top_values"] == [["0", 3], ["1", 2]]


def test_holes_are_found_between_the_first_and_the_last_day() -> None:
    assert empty_spans(()) == low_days(()) == ()
    weeks = [(FIRST + timedelta(weeks=number), events) for number, events in enumerate((100, 100, 9, 100, 10))]
    assert low_days(weeks) == (LowDay(weeks[2][0], 9, 100.0),)
    assert [span.days for span in empty_spans(weeks)] == [6] * 4
