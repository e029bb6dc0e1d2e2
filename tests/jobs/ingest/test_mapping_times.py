"""Times of every type and format are mapped to UTC."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.ingest.mapping import map_rows
from recsys.schema import TIMESTAMP_DTYPE
from recsys.settings import ColumnMapping, Sources, Table

COLUMNS: dict[str, ColumnMapping] = {"user_id": "user", "item_id": "item", "event": "'view'", "timestamp": "time"}


def read_times(
    times: pl.Series, zone: str | None = None, form: str | None = None, usual_zone: str = "UTC"
) -> list[datetime | None]:
    """What the mapping makes of a column of times."""
    rows = pl.DataFrame({"user": ["u"] * len(times), "item": ["i"] * len(times), "time": times})
    table = Table("log", "events", "*", COLUMNS, time_zone=zone, time_format=form)
    mapped = map_rows(rows, table, Sources(time_zone=usual_zone))["timestamp"]
    assert mapped.dtype == TIMESTAMP_DTYPE
    return mapped.to_list()


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2017-12-31T10:20:30", utc(2017, 12, 31, 10, 20, 30)),
        ("2017-12-31 10:20:30.123456", utc(2017, 12, 31, 10, 20, 30, 123456)),
        (" 2017-12-31 10:20 ", utc(2017, 12, 31, 10, 20)),
        ("2017-12-31T10:20", utc(2017, 12, 31, 10, 20)),
        ("2017-12-31", utc(2017, 12, 31)),
        ("2017-12-31T10:20:30Z", utc(2017, 12, 31, 10, 20, 30)),
        ("2017-12-31T10:20:30.5+01:00", utc(2017, 12, 31, 9, 20, 30, 500_000)),
        ("2017-12-31T10:20:30-0800", utc(2017, 12, 31, 18, 20, 30)),
        ("2017-12-31 10:20:30+00", utc(2017, 12, 31, 10, 20, 30)),
        ("2017-02-29", None),
        ("2017-12-31T25:00:00", None),
        ("31/12/2017", utc(2017, 12, 31)),
        ("yesterday", None),
        ("20171231", None),
        ("", None),
    ],
)
def test_a_text_is_read_as_an_iso_8601_time_or_is_null(text: str, time: datetime | None):
    assert read_times(pl.Series([text])) == [time]


@pytest.mark.parametrize("given_as", ["datetime", "text"])
def test_a_time_without_a_zone_is_local_in_winter_and_in_summer(given_as: str):
    local = pl.Series([datetime(2017, 1, 15, 12), datetime(2017, 7, 15, 12)])
    times = local if given_as == "datetime" else local.dt.to_string("%Y-%m-%d %H:%M:%S")
    assert read_times(times, zone="Europe/London") == [utc(2017, 1, 15, 12), utc(2017, 7, 15, 11)]


def test_the_hour_that_autumn_repeats_is_its_first():
    times = pl.Series([datetime(2017, 10, 29, hour, 30) for hour in (0, 1, 2)])
    expected = [utc(2017, 10, 28, 23, 30), utc(2017, 10, 29, 0, 30), utc(2017, 10, 29, 2, 30)]
    assert read_times(times, zone="Europe/London") == expected


def test_the_hour_that_spring_skips_is_no_time():
    times = pl.Series([datetime(2017, 3, 26, hour, 30) for hour in (0, 1, 2)])
    assert read_times(times, zone="Europe/London") == [utc(2017, 3, 26, 0, 30), None, utc(2017, 3, 26, 1, 30)]


def test_an_offset_says_which_of_the_repeated_hours_is_meant():
    times = pl.Series(["2017-10-29T01:30:00+01:00", "2017-10-29T01:30:00+00:00", "2017-10-29T01:30:00"])
    expected = [utc(2017, 10, 29, 0, 30), utc(2017, 10, 29, 1, 30), utc(2017, 10, 29, 0, 30)]
    assert read_times(times, zone="Europe/London") == expected


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 1, 1)), st.sampled_from(["Asia/Tokyo", "America/New_York"])
)
def test_local_times_are_those_of_the_time_zone_database(time: datetime, zone: str):
    local = time.replace(tzinfo=ZoneInfo(zone))
    exists = local.astimezone(UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == time
    assert read_times(pl.Series([time]), zone=zone) == [local.astimezone(UTC) if exists else None]


def test_a_zone_of_the_table_goes_before_that_of_all_sources():
    times = pl.Series([datetime(2017, 1, 15, 12)])
    assert read_times(times, usual_zone="Asia/Tokyo") == [utc(2017, 1, 15, 3)]
    assert read_times(times, zone="America/New_York", usual_zone="Asia/Tokyo") == [utc(2017, 1, 15, 17)]


def test_a_time_with_a_zone_needs_no_other():
    tokyo = pl.Series([datetime(2017, 1, 15, 12)]).dt.replace_time_zone("Asia/Tokyo")
    assert read_times(tokyo, zone="America/New_York") == [utc(2017, 1, 15, 3)]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_times_come_in_any_unit(unit: str):
    times = pl.Series([datetime(2017, 1, 15, 12, 0, 0, 123000)]).cast(pl.Datetime(unit))  # type: ignore[arg-type]
    assert read_times(times) == [utc(2017, 1, 15, 12, 0, 0, 123000)]
    assert read_times(times.dt.replace_time_zone("UTC")) == [utc(2017, 1, 15, 12, 0, 0, 123000)]


def test_a_date_is_its_local_midnight():
    dates = pl.Series([date(2017, 7, 15), None])
    assert read_times(dates, zone="Europe/London") == [utc(2017, 7, 14, 23), None]


@pytest.mark.parametrize(
    "numbers",
    [
        pl.Series([1_512_637_471, 0, None]),
        pl.Series([1_512_637_471.0, 0.0, float("nan")]),
        pl.Series(["1512637471", "0", "soon"]),
    ],
)
def test_seconds_are_counted_from_1970(numbers: pl.Series):
    assert read_times(numbers, form="epoch_s") == [utc(2017, 12, 7, 9, 4, 31), utc(1970, 1, 1), None]


def test_fractions_of_a_second_are_kept():
    times = [utc(2017, 12, 7, 9, 4, 31, 123456), utc(2017, 12, 7, 9, 4, 31, 999999)]
    assert read_times(pl.Series([1512637471.123456, 1512637471.999999]), form="epoch_s") == times


def test_milliseconds_are_counted_from_1970():
    numbers = pl.Series([1_512_637_471_987])
    expected = [utc(2017, 12, 7, 9, 4, 31, 987_000)]
    assert read_times(numbers, form="epoch_ms") == expected
    assert read_times(numbers.cast(pl.String), form="epoch_ms", zone="Asia/Tokyo") == expected


@pytest.mark.parametrize(
    ("form", "number"),
    [
        ("epoch_s", 9_200_000_000_000),
        ("epoch_s", -9_200_000_000_000),
        ("epoch_s", 2**63 - 1),
        ("epoch_s", float("inf")),
        ("epoch_ms", 9_200_000_000_000_000),
        ("epoch_ms", 1e300),
    ],
)
def test_a_number_beyond_every_calendar_is_null(form: str, number: float):
    assert read_times(pl.Series([number]), form=form) == [None]


def test_a_time_beyond_every_calendar_is_null():
    far = pl.Series([2**62, 0]).cast(pl.Datetime("ms"))
    assert read_times(far, zone="Europe/London")[0] is None
    assert read_times(far.dt.replace_time_zone(None).cast(pl.Datetime("ms", "UTC")))[0] is None
    assert read_times(pl.Series([2**31 - 1]).cast(pl.Int32).cast(pl.Date)) == [None]


@pytest.mark.parametrize(
    ("form", "text", "time"),
    [
        ("%d/%m/%Y %H:%M", "15/07/2017 12:30", utc(2017, 7, 15, 11, 30)),
        ("%d.%m.%Y", "15.07.2017", utc(2017, 7, 14, 23)),
        ("%Y%m%dT%H%M BST", "20170715T1230 BST", utc(2017, 7, 15, 11, 30)),
        ("%d/%m/%Y %H:%M %z", "15/07/2017 12:30 -0500", utc(2017, 7, 15, 17, 30)),
        ("%d/%m/%Y %H:%M %:z", "15/07/2017 12:30 -05:00", utc(2017, 7, 15, 17, 30)),
        ("%d/%m/%Y %H:%M", "2017-07-15 12:30", None),
        ("%d/%m/%Y %H:%M", "32/07/2017 12:30", None),
    ],
)
def test_a_format_says_how_times_are_written(form: str, text: str, time: datetime | None):
    assert read_times(pl.Series([text]), form=form, zone="Europe/London") == [time]
