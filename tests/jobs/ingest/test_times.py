"""The format of times is detected where it is certain; what cannot be read is refused as it is written."""

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.mapping import MappedRows, check_table, map_source
from jobs.ingest.times import read_times
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.ingests import EVENT, ingest_files, read_quarantined_rows, write_events

COLUMNS: dict[str, ColumnMapping] = {name: name for name in EVENT}
NOON = datetime(2011, 12, 31, 12, 5, 7, tzinfo=UTC)
SECONDS = int(NOON.timestamp())
UNITS = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
WORDS = {"day.month.year", "year/month/day", "time zone name", "offset and zone"}


def read(*values: object, form: str | None = None, zone: str = "UTC") -> list[datetime | None]:
    return read_times(pl.Series(values, strict=False), form, zone).values.to_list()


def advice(value: object, form: str | None = None) -> str | None:
    reading = read_times(pl.Series([value]), form, "UTC")
    assert reading.values.to_list() == [None]
    assert reading.advice is not None
    return reading.advice[0]


def map_times(rows: pl.DataFrame, **settings: object) -> MappedRows:
    table = Table("log", "events", "*", COLUMNS, **settings)  # type: ignore[arg-type]
    return map_source(
        rows.with_columns(pl.lit(EVENT[name]).alias(name) for name in list(EVENT)[:3]), table, Sources()
    )


@pytest.mark.parametrize(("unit", "per_second"), UNITS.items())
def test_a_number_since_1970_is_read_in_the_unit_that_puts_it_in_our_time(unit: str, per_second: int):
    number = SECONDS * per_second
    for values in ([number], [str(number)], [f" {number} "], [float(number)], [f"{number}.0"]):
        reading = read_times(pl.Series(values), None, "Asia/Tokyo")
        assert (reading.values.to_list(), reading.counts) == ([NOON], {unit: 1})
        assert read_times(pl.Series(values), unit, "Asia/Tokyo").values.to_list() == [NOON]


def test_a_date_and_milliseconds_are_local():
    values = ("2011-12-31 43507123", "2011-12-31 86400000", "2011-12-31 12:05", "2011-12-31")
    expected = [NOON.replace(microsecond=123_000), datetime(2012, 1, 1, tzinfo=UTC), None, None]
    assert read(*values, form="date_and_ms") == expected
    assert read(values[0], form="date_and_ms", zone="Asia/Tokyo") == [expected[0] - timedelta(hours=9)]  # type: ignore[operator]


def test_a_number_is_exact_to_the_microsecond():
    micro = SECONDS * 10**6 + 123_457
    expected = [NOON.replace(microsecond=123_457)]
    assert read(micro) == read(str(micro)) == read(micro * 1000 + 1) == read(f"{SECONDS}.123457") == expected


@settings(max_examples=30, deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)), st.sampled_from(list(UNITS)))
def test_any_time_of_a_century_is_told_by_its_size(moment: datetime, unit: str):
    seconds = moment.replace(microsecond=0, tzinfo=UTC)
    assert read(int(seconds.timestamp()) * UNITS[unit]) == [seconds]


@pytest.mark.parametrize("form", UNITS)
@pytest.mark.parametrize("unit", UNITS)
def test_a_number_in_another_unit_is_refused_with_the_unit_that_fits(form: str, unit: str):
    number = SECONDS * UNITS[unit]
    if form == unit:
        assert read(number, form=form) == [NOON]
    else:
        assert advice(number, form) == advice(str(number), form) == f"set time_format = {unit!r}"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (20111231, "set time_format = '%Y%m%d'"),
        ("20111231120507", "set time_format = '%Y%m%d%H%M%S'"),
        (40908.5, "set time_format = 'excel'"),
        ("40908.50354", "set time_format = 'excel'"),
        ("12/1/2010", "set time_format = 'day_first' or 'month_first'"),
        ("yesterday", ""),
        (12, ""),
    ],
)
def test_a_time_that_is_not_detected_comes_with_the_setting_that_reads_it(value: object, expected: str):
    assert advice(value) == expected


@pytest.mark.parametrize(
    "text",
    [
        "31.12.2011 12:05:07",
        "31.12.2011, 12:05:07",
        "31.12.2011 12:05:07 PM",
        "31.12.2011 13:05:07+01:00",
        "2011/12/31 12:05:07",
        "2011.12.31 12:05:07",
        "2011-12-31 12:05:07 PM",
        "2011-12-31 13:05:07 CET",
        "2011-12-31 13:05:07 Europe/Warsaw",
        "31.12.2011 13:05:07 Europe/Warsaw",
        "2011-12-31T13:05:07[Europe/Warsaw]",
        "2011-12-31T13:05:07+01:00[Europe/Warsaw]",
        "2011-12-31T12:05:07Z[UTC]",
        "2011-12-31 12:05:07 UTC",
        "2011-12-31 12:05:07UTC",
        "2011-12-31 06:05:07 AM America/Chicago",
    ],
)
def test_a_time_is_read_in_forms_that_leave_no_doubt(text: str):
    assert read(text) == [NOON], text


@pytest.mark.parametrize(
    "text", ["32.12.2011", "31.13.2011", "31.13.11", "2011-12-31 12:05 PST8", "2011-12-31 Nowhere"]
)
def test_other_forms_are_no_times(text: str):
    assert read(text) == [None]


def test_dotted_dates_are_local_and_may_have_no_time():
    assert read("1.2.2011", "31.12.2011 17:05", zone="Europe/Berlin") == [
        datetime(2011, 1, 31, 23, tzinfo=UTC),
        datetime(2011, 12, 31, 16, 5, tzinfo=UTC),
    ]


def test_one_column_may_hold_several_forms():
    reading = read_times(
        pl.Series(["2011-12-31T12:05:07Z", str(SECONDS), None, "31.12.2011 12:05:07", "soon"]), None, "UTC"
    )
    assert reading.values.to_list() == [NOON, NOON, None, NOON, None]
    assert reading.counts == {"epoch_s": 1, "day.month.year": 1}
    assert reading.advice is not None
    assert reading.advice.to_list() == [None, None, None, None, ""]


@pytest.mark.parametrize(
    ("texts", "month"),
    [(["1/2/2011", "31/12/2011 8:26"], 2), (["1/2/2011", "12/31/2011"], 1), (["1-2-2011", "13-1-2011"], 2)],
)
def test_one_date_decides_whether_the_day_or_the_month_is_first(texts: list[str], month: int):
    mapped = map_times(pl.DataFrame({"timestamp": texts}))
    assert mapped.broken_rules.null_count() == 2
    assert mapped.rows["timestamp"][0].month == month
    assert (
        map_times(pl.DataFrame({"timestamp": texts[:1]}), time_format=mapped.table.time_format).rows["timestamp"][0]
        == (mapped.rows["timestamp"][0])
    )


@pytest.mark.parametrize("texts", [["12/1/2010", None], ["12/1/2010", "13/1/2010", "1/13/2010"]])
def test_dates_that_do_not_decide_it_stop_the_ingest(texts: list[str | None]):
    with pytest.raises(
        SourceError,
        match=r"timestamp of table 'log': nothing decides whether '12/1/2010' has the day or the month first: "
        r"set time_format = 'day_first' or 'month_first'",
    ):
        map_times(pl.DataFrame({"timestamp": texts}))


@pytest.mark.parametrize(("form", "expected"), [("day_first", (12, 1)), ("month_first", (1, 12))])
def test_a_setting_decides_it(form: str, expected: tuple[int, int]):
    (moment,) = read("12/1/2010 8:26", form=form)
    assert moment is not None
    assert (moment.day, moment.month, moment.hour) == (*expected, 8)


def test_a_stray_date_among_others_is_refused_alone():
    mapped = map_times(pl.DataFrame({"timestamp": ["2011-12-31", "2011-12-31", "12/1/2010"]}))
    rule = "timestamp_is_readable: set time_format = 'day_first' or 'month_first'"
    nothing_else = mapped.broken_rules.clear()
    rejected = mapped.rejected(nothing_else.cast(pl.UInt32), nothing_else)
    assert rejected.select("rules", "timestamp").rows() == [(rule, "12/1/2010")]


def test_the_first_chunk_decides_for_the_others(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", *({"timestamp": f"{day}/1/2011"} for day in (13, 1, 2)))
    (count,) = ingest_files(lake, file, sources=Sources(chunk_rows=1))
    assert (count.accepted, count.quarantined) == (3, 0)
    assert set(lake.events().collect()["timestamp"].dt.month()) == {1}


@pytest.mark.parametrize(
    ("day", "hour"),
    [
        (["2011-12-31"], ["12:05:07"]),
        ([date(2011, 12, 31)], [time(12, 5, 7)]),
        ([datetime(2011, 12, 31)], [datetime(1899, 12, 30, 12, 5, 7)]),
        (["2011-12-31 00:00:00"], ["12:05:07 PM"]),
        (["31.12.2011"], [" 12:05:07 "]),
    ],
)
def test_a_date_and_a_time_in_two_columns_are_one_time(day: list[object], hour: list[object]):
    columns = COLUMNS | {"timestamp": ("day", "hour")}
    rows = pl.DataFrame({"day": [*day, *day], "hour": [*hour, None], **{name: ["x"] * 2 for name in EVENT}})
    mapped = map_source(rows, Table("log", "events", "*", columns), Sources())
    assert mapped.rows["timestamp"].to_list() == [NOON, None]


@settings(max_examples=30, deadline=None)
@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31)))
def test_a_serial_date_of_excel_is_read_when_it_is_set(moment: datetime):
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    days = (moment - datetime(1899, 12, 30)) / timedelta(days=1)
    assert read(days, form="excel") == read(str(days), form="excel") == [moment.replace(tzinfo=UTC)]
    assert read(days) == [None]


def test_serial_dates_are_local_times():
    assert read(40908, 40908.5, form="excel", zone="Europe/Warsaw") == [
        datetime(2011, 12, 30, 23, tzinfo=UTC),
        datetime(2011, 12, 31, 11, tzinfo=UTC),
    ]


def test_a_column_may_hold_the_zone_of_each_row():
    zones = ["Europe/Warsaw", "CET", " America/New_York ", "+02:00", "Z", None, "", "Nowhere"]
    local = datetime(2011, 7, 1, 12)
    rows = pl.DataFrame({"timestamp": [local.isoformat()] * len(zones), "zone": zones})
    mapped = map_times(rows, time_zone_column="zone", time_zone="Asia/Tokyo")
    names = ["Europe/Warsaw", "Europe/Warsaw", "America/New_York", "Etc/GMT-2", "UTC", "Asia/Tokyo", "Asia/Tokyo"]
    expected = [local.replace(tzinfo=ZoneInfo(name)).astimezone(UTC) for name in names]
    assert mapped.rows["timestamp"].to_list() == [*expected, None]
    assert mapped.broken_rules.to_list() == [*[None] * len(expected), "timestamp_is_readable"]
    with_type = map_times(
        rows.with_columns(pl.lit(local).alias("timestamp")), time_zone_column="zone", time_zone="Asia/Tokyo"
    )
    assert with_type.rows["timestamp"].to_list() == [*expected, None]


def test_many_words_in_place_of_zones_are_refused():
    texts = [f"2011-12-31 12:05 word{number}" for number in range(5000)]
    assert read(*texts, "2011-12-31 12:05:07 UTC") == [*[None] * 5000, NOON]


@pytest.mark.parametrize("form", ["epoch", "iso", "dd/mm/yyyy", ""])
def test_a_format_that_reads_no_time_is_refused(form: str):
    with pytest.raises(
        SettingsError, match=rf"sources\.tables\.log\.time_format = '{form}': expected one of epoch_s,"
    ):
        check_table(Table("log", "events", "*", COLUMNS, time_format=form))


def test_numbers_may_be_written_in_a_format():
    assert read(20111231, form="%Y%m%d") == read(20111231.0, form="%Y%m%d") == [datetime(2011, 12, 31, tzinfo=UTC)]


def test_a_zone_column_that_does_not_exist_is_named():
    with pytest.raises(
        SourceError, match=r"sources\.tables\.log\.time_zone_column = 'zone': there is no such column"
    ):
        map_times(pl.DataFrame({"timestamp": ["2011-12-31"]}), time_zone_column="zone")


def test_a_time_that_cannot_be_read_is_quarantined_as_it_is_written(lake: Lake, tmp_path: Path):
    file = write_events(
        tmp_path / "events.csv", {"timestamp": "soon"}, {"timestamp": "2011-12-31"}, {"timestamp": ""}
    )
    (count,) = ingest_files(lake, file)
    assert (count.accepted, count.rules) == (1, {"timestamp_is_readable": 2})
    assert read_quarantined_rows(lake)["timestamp"].to_list() == ["soon", None]


def test_a_wrong_unit_is_told_by_the_rule(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"timestamp": SECONDS})
    table = Table("log", "events", "*.csv", COLUMNS, time_format="epoch_ms")
    (count,) = ingest_files(lake, file, sources=Sources(tables=(table,), max_bad_rows=1))
    assert count.rules == {"timestamp_is_readable: set time_format = 'epoch_s'": 1}


def test_a_time_of_creation_that_cannot_be_read_is_not_lost(lake: Lake, tmp_path: Path):
    (tmp_path / "items.csv").write_text("item_id,created_at\na,2011-12-31\nb,long ago\nc,\n")
    (count,) = ingest_files(lake, tmp_path / "items.csv")
    assert (count.accepted, count.rules) == (2, {"created_at_is_readable": 1})
    assert read_quarantined_rows(lake)["created_at"].to_list() == ["long ago"]


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20))
def test_any_text_is_a_time_or_is_refused(text: str):
    reading = read_times(pl.Series([text]), None, "Europe/Warsaw")
    assert reading.values[0] is not None or reading.advice is not None or not text.strip()


NEW_YEARS_EVE = datetime(2011, 12, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        *("31-Dec-2011", "31-DEC-11", "31 December 2011", "31st Dec 2011", "Dec 31 2011", "December 31, 2011"),
        *("31. Dezember 2011", "31. Dez. 2011", "31 décembre 2011", "31 déc. 2011", "31.12.11", "Dec-31-2011"),
    ],
)
@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("", NEW_YEARS_EVE),
        (" 12:05:07", NOON),
        (", 12:05:07", NOON),
        (" 1:05:07 PM", NOON.replace(hour=13)),
        (" 13:05:07 +0100", NOON),
        (" 12:05:07 UTC", NOON),
    ],
)
def test_a_date_with_the_name_of_its_month_or_a_year_of_two_digits_is_read(text: str, time: str, moment: datetime):
    assert read(f"{text}{time}") == [moment]


def test_every_month_has_its_names():
    for names in (
        "jan feb mar apr may jun jul aug sep oct nov dec",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    ):
        assert read(*(f"3 {name} 2011" for name in names.split())) == [
            datetime(2011, month, 3, tzinfo=UTC) for month in range(1, 13)
        ]
    assert read("Sat, 31 Dec 2011 13:05:07 +0100") == [NOON]
    assert read("31 Foo 2011", "Foo 31 2011", "32 Dec 2011") == [None] * 3


def test_a_year_of_two_digits_is_read_if_all_such_dates_of_the_column_are_in_that_order():
    assert read("31.12.11", "1.2.70") == [NEW_YEARS_EVE, datetime(1970, 2, 1, tzinfo=UTC)]
    assert read("11.12.10", "11.13.31") == [None, None]
    assert read("12/31/11") == [None]
    assert read("12/31/11", form="month_first") == read("31/12/11", form="day_first") == [NEW_YEARS_EVE]
