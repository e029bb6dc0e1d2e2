"""Read times of every type and format as UTC."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Final
from zoneinfo import available_timezones

import polars as pl

from jobs.ingest.column_readings import ColumnReading, Reader, as_text, read_stepwise
from jobs.ingest.columns.written_dates import DAY_FIRST, MONTH_FIRST, SLASHED, written_date_readers
from recsys.errors import SettingsError
from recsys.schema import MIN_TIMESTAMP, TIMESTAMP_DTYPE
from recsys.settings import Table

PER_SECOND: Final = {"epoch_s": 1, "epoch_ms": 10**3, "epoch_us": 10**6, "epoch_ns": 10**9}
EXCEL: Final = "excel"
DATE_AND_MS: Final = "date_and_ms"
DETECTED = (None, DAY_FIRST, MONTH_FIRST)
ISO_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%Y-%m-%d %I:%M %p",
    "%Y-%m-%d %I:%M:%S %p",
)
ISO_FORMATS_WITH_OFFSET = ("%+", "%Y-%m-%d %H:%M:%S%.f%#z")
OFFSETS = ("%z", "%:z", "%#z", "%+")
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
# The size of a number tells its unit: the ranges of the years 2000 to 2099 in the four units do not overlap.
EARLIEST_SECONDS, LATEST_SECONDS = MIN_TIMESTAMP.timestamp(), datetime(2100, 1, 1, tzinfo=UTC).timestamp()
EXCEL_START = int(datetime(1899, 12, 30, tzinfo=UTC).timestamp()) * 10**6  # day 0, in microseconds
SECONDS_PER_DAY = 86_400
SAMPLE_ROWS: Final = 100
OFFSET = r"^[+-](?:0\d|1[0-4]):?[0-5]\d$"
ZONE = r"(?i)^(.*\d)(?: ?([ap]m))? *\[?([a-z][a-z0-9_+-]*(?:/[a-z0-9_+-]+)*)\]?$"


def check_time_format(table: Table) -> None:
    """Raise `SettingsError` for a time format that can read no time."""
    names = (*PER_SECOND, EXCEL, DATE_AND_MS, DAY_FIRST, MONTH_FIRST)
    if table.time_format is not None and table.time_format not in names and "%" not in table.time_format:
        raise SettingsError(
            f"sources.tables.{table.name}.time_format = {table.time_format!r}: expected one of {', '.join(names)}, "
            "or a strptime format such as '%d/%m/%Y %H:%M'"
        )


def read_times(
    values: pl.Series, time_format: str | None, zone: str, zones: pl.Series | None = None
) -> ColumnReading:
    """Return a column of times in UTC, and the number of values by format if they are not in ISO 8601.

    Times without an offset are local to `zone`, or to the row's own one in `zones`. With `time_format` None the
    format is detected, value by value. A repeated hour in autumn is the first one; a skipped hour in spring cannot
    be read.
    """
    dtype = values.dtype
    if dtype == pl.Null:
        return ColumnReading(values.cast(TIMESTAMP_DTYPE))
    rows = pl.DataFrame({"text": values, "zone": pl.repeat(None, len(values), dtype=pl.String, eager=True)})
    rows = rows.with_columns(_zone_names(zones).alias("zone")) if zones is not None else rows
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        times = rows.select(_in_calendar(pl.col("text").cast(TIMESTAMP_DTYPE, strict=False))).to_series()
        return _reading(rows, times, {}, None)
    if isinstance(dtype, pl.Datetime | pl.Date):
        times = _localized(rows, pl.col("text").cast(pl.Datetime("us"), strict=False), zone)
        return _reading(rows, times, {}, None)
    if dtype.is_numeric() and (time_format in (*PER_SECOND, EXCEL) or time_format in DETECTED):
        rows = rows.with_columns(pl.when(pl.col("text").cast(pl.Float64).is_not_nan()).then(pl.col("text")))
    else:
        text = as_text(pl.col("text"), dtype).str.strip_chars()
        rows = rows.with_columns(pl.when(text != "").then(text).alias("text"))
    times, counts = read_stepwise(rows, _readers(time_format, zone, rows.schema["text"]), TIMESTAMP_DTYPE)
    return _reading(rows, times, {name: count for name, count in counts.items() if name}, time_format)


def detect_day_order(texts: pl.Series) -> tuple[str | None, str | None]:
    """Return how dates such as 12/1/2010 are written, if one of them decides it; else an example that does not.

    The example is None when fewer than half of the texts are such dates.
    """
    text = texts.drop_nulls().str.strip_chars()
    dates = text.filter(text.str.contains(SLASHED))
    if not dates.len():
        return None, None
    first, second = ((dates.str.extract(SLASHED, group).cast(pl.Int64) > 12).any() for group in (1, 2))
    if first != second:
        return (DAY_FIRST if first else MONTH_FIRST), None
    return None, dates[0] if 2 * dates.len() >= text.len() else None


def join_date_and_time(date: pl.Expr, date_type: pl.DataType, time: pl.Expr, time_type: pl.DataType) -> pl.Expr:
    """Return a date and a time of day, each of any type, as one text; null if either is missing."""
    is_date = isinstance(date_type, pl.Date | pl.Datetime)
    day = date.dt.to_string("%Y-%m-%d") if is_date else as_text(date, date_type).str.strip_chars()
    is_time = isinstance(time_type, pl.Time | pl.Datetime)
    hour = time.dt.to_string("%H:%M:%S%.f") if is_time else as_text(time, time_type).str.strip_chars()
    both = pl.concat_str(day.str.replace(r"[ T]00:00(?::00(?:\.0+)?)?$", ""), hour, separator=" ")
    return pl.when((day != "") & (hour != "")).then(both)


def _reading(
    rows: pl.DataFrame, times: pl.Series, counts: Mapping[str, int], time_format: str | None
) -> ColumnReading:
    unreadable = rows["text"].is_not_null() & times.is_null()
    misread = _fits_other_unit(rows["text"], time_format) if time_format in PER_SECOND else None
    if misread is not None:
        unreadable |= misread.is_not_null()
    if not unreadable.any():
        return ColumnReading(times, None, counts)
    is_number = rows.schema["text"].is_numeric() or rows.schema["text"] == pl.String
    advice = _advice(rows["text"], time_format, misread) if is_number else pl.lit("")
    frame = pl.DataFrame({"times": times, "unreadable": unreadable}).with_columns(
        pl.when("unreadable").then(advice).alias("advice"),
        pl.when(~pl.col("unreadable")).then("times").alias("times"),
    )
    return ColumnReading(frame["times"], frame["advice"], counts)


def _advice(values: pl.Series, time_format: str | None, misread: pl.Series | None) -> pl.Expr:
    """Return the settings that would read values, as text; empty where none is known."""
    text = pl.lit(as_texts(values))
    number = text.cast(pl.Float64, strict=False)
    advice = pl.lit("") if misread is None else pl.coalesce(pl.lit(misread), pl.lit(""))
    if time_format in DETECTED:
        slashed = text.str.contains(SLASHED) & pl.lit(time_format is None)
        digits = text.str.contains(r"^(?:19|20)\d{6}$"), text.str.contains(r"^(?:19|20)\d{12}$")
        advice = (
            pl.when(slashed).then(pl.lit("set time_format = 'day_first' or 'month_first'"))
            .when(digits[0]).then(pl.lit("set time_format = '%Y%m%d'"))
            .when(digits[1]).then(pl.lit("set time_format = '%Y%m%d%H%M%S'"))
            .when(number.is_between(20_000, 80_000)).then(pl.lit("set time_format = 'excel'"))
            .otherwise(pl.lit(""))
        )  # fmt: skip
    return advice


def as_texts(values: pl.Series) -> pl.Series:
    """Return the values as text."""
    return values.to_frame("text").select(as_text(pl.col("text"), values.dtype)).to_series()


def _readers(time_format: str | None, zone: str, dtype: pl.DataType) -> dict[str, Reader]:
    """Return the readers of a format, by the name under which their values are counted; "" is not counted."""
    if time_format in PER_SECOND:
        return {"": lambda rows: rows.select(_epoch(dtype, time_format)).to_series()}
    if time_format == EXCEL:
        return {"": lambda rows: _localized(rows, _excel(), zone)}
    if time_format == DATE_AND_MS:
        return {"": lambda rows: _localized(rows, _date_and_milliseconds(), zone)}
    epochs: dict[str, Reader] = {unit: _epoch_reader(unit, dtype) for unit in PER_SECOND}
    if dtype.is_numeric():
        return epochs
    if time_format not in DETECTED:
        return {"": _format_reader([time_format], zone)}
    written = written_date_readers(_format_reader([*ISO_FORMATS_WITH_OFFSET, *ISO_FORMATS], zone), time_format)
    return written | epochs | {"time zone name": lambda rows: _read_named_zones(rows, written)}


def _format_reader(formats: list[str], zone: str) -> Reader:
    """Return a reader of texts in one of some strptime formats; local times are those of `zone` or of the row."""

    def step(time_format: str) -> Reader:
        def read(rows: pl.DataFrame) -> pl.Series:
            text = pl.col("text").str
            if any(offset in time_format for offset in OFFSETS):
                times = text.to_datetime(time_format, time_unit="us", time_zone="UTC", strict=False)
                return rows.select(times).select(_in_calendar(pl.first())).to_series()
            return _localized(rows, text.to_datetime(time_format, time_unit="us", strict=False), zone)

        return read

    steps = {time_format: step(time_format) for time_format in formats}

    def read(rows: pl.DataFrame) -> pl.Series:
        # No text is in two formats, so their order only decides how often the rows are read.
        sample = rows.lazy().filter(pl.col("text").is_not_null()).head(SAMPLE_ROWS).collect()
        usual_first = sorted(steps, key=lambda time_format: steps[time_format](sample).null_count())
        return read_stepwise(rows, {name: steps[name] for name in usual_first}, TIMESTAMP_DTYPE)[0]

    return read


def _read_named_zones(rows: pl.DataFrame, readers: dict[str, Reader]) -> pl.Series:
    """Read times that end in the name of a zone, such as `2011-12-31 17:05 Europe/Warsaw`."""
    text = pl.col("text")
    name = text.str.extract(ZONE, 3)
    time = pl.concat_str(text.str.extract(ZONE, 1), text.str.extract(ZONE, 2), separator=" ", ignore_nulls=True)
    is_zone = name.is_not_null() & ~name.str.to_lowercase().is_in(["am", "pm"])
    named = rows.with_columns(pl.when(is_zone).then(time).alias("text"), pl.when(is_zone).then(name).alias("zone"))
    return read_stepwise(named, readers, TIMESTAMP_DTYPE)[0]


def _epoch_reader(unit: str, dtype: pl.DataType) -> Reader:
    def read(rows: pl.DataFrame) -> pl.Series:
        times = _epoch(dtype, unit)
        seconds = pl.col("text").cast(pl.Float64, strict=False) / PER_SECOND[unit]
        return rows.select(pl.when(_is_in_range(seconds)).then(times)).to_series()

    return read


def _is_in_range(seconds: pl.Expr) -> pl.Expr:
    return seconds.is_between(EARLIEST_SECONDS, LATEST_SECONDS, closed="left")


def _epoch(dtype: pl.DataType, unit: str) -> pl.Expr:
    """Return the times of numbers since 1970; whole numbers are exact."""
    number, per_second = pl.col("text"), PER_SECOND[unit]
    fraction = (number.cast(pl.Float64, strict=False) * (10**6 / per_second)).round().cast(pl.Int64, strict=False)
    if dtype.is_float() or dtype.is_decimal():
        return _in_calendar(fraction.cast(TIMESTAMP_DTYPE))
    whole = number.cast(pl.Int64, strict=False)
    factor = 10**6 // per_second
    microseconds = whole * factor if factor else whole // (per_second // 10**6)
    fits = whole.is_between(-(2**62) // max(factor, 1), 2**62 // max(factor, 1))
    return _in_calendar(pl.when(fits).then(microseconds).otherwise(fraction).cast(TIMESTAMP_DTYPE))


def _excel() -> pl.Expr:
    """Return the local times of days since 1900, to the millisecond."""
    days = pl.col("text").cast(pl.Float64, strict=False)
    milliseconds = (days * (SECONDS_PER_DAY * 1000)).round().cast(pl.Int64, strict=False)
    is_day = days.is_between(1, 3_000_000)
    return pl.when(is_day).then(milliseconds * 1000 + EXCEL_START).cast(pl.Datetime("us"))


def _date_and_milliseconds() -> pl.Expr:
    """Return the local times of dates followed by milliseconds since their midnight: `2016-05-09 526309`."""
    parts = pl.col("text").str.extract_groups(r"^(\d{4}-\d{2}-\d{2}) +(\d{1,12})(?:\.0*)?$").struct
    day = parts.field("1").str.to_datetime("%Y-%m-%d", time_unit="us", strict=False)
    return day + pl.duration(milliseconds=parts.field("2").cast(pl.Int64, strict=False))


def _fits_other_unit(values: pl.Series, time_format: str | None) -> pl.Series | None:
    """Return the advice for numbers that are between 2000 and 2099 in another unit only; else null."""
    number = pl.lit(values).cast(pl.Float64, strict=False)
    own = _is_in_range(number / PER_SECOND[str(time_format)])
    advice = pl.coalesce(
        pl.when(_is_in_range(number / per_second)).then(pl.lit(f"set time_format = {unit!r}"))
        for unit, per_second in PER_SECOND.items()
    )
    return pl.select(pl.when(~own).then(advice)).to_series()


def _zone_names(zones: pl.Series) -> pl.Series:
    name = pl.col("zone")
    names = zones.cast(pl.String).str.strip_chars().alias("zone").to_frame()
    known = pl.when(name.str.to_uppercase() == "Z").then(pl.lit("UTC")).when(name != "").then(name)
    return names.select(known).to_series()


def _localized(rows: pl.DataFrame, naive: pl.Expr, zone: str) -> pl.Series:
    """Convert local times to UTC, by the row's own zone if it has one; an unknown zone gives null."""
    rows = rows.select("zone", naive.alias("naive"))  # computed once: eager frames share no subexpressions
    naive = pl.col("naive")
    if rows["zone"].null_count() == rows.height:
        return rows.select(_local(naive, zone)).to_series()
    names = rows.select(pl.col("zone").drop_nulls().unique().sort()).to_series()
    own = names.filter(names.is_in(list(_zones())) | names.str.contains(OFFSET))
    localize: Callable[[str], pl.Expr] = lambda name: (  # noqa: E731
        pl.when(pl.col("zone") == name).then(
            _local(naive, name) if _is_zone(name) else pl.lit(None, TIMESTAMP_DTYPE)
        )
    )
    without = pl.when(pl.col("zone").is_null()).then(_local(naive, zone))
    return rows.select(pl.coalesce(without, *(localize(name) for name in own))).to_series()


def _local(naive: pl.Expr, zone: str) -> pl.Expr:
    time = _in_calendar(naive.dt.replace_time_zone("UTC")).dt.replace_time_zone(None)
    local = time.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    return local.dt.convert_time_zone("UTC")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _is_zone(name: str) -> bool:
    try:
        pl.select(pl.lit(MIN_TIMESTAMP).dt.convert_time_zone(name))
    except pl.exceptions.PolarsError:
        return False
    return True


def _in_calendar(time: pl.Expr) -> pl.Expr:
    """Return times in UTC; null outside the years 1 to 9999, which Polars cannot convert."""
    return pl.when(time.is_between(FIRST, LAST)).then(time)
