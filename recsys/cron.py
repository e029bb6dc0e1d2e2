"""Cron expressions, and their next time in a time zone with daylight saving time."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
# From one 29 February to the next at most, around a century that is no leap year.
HORIZON_DAYS: Final = 8 * 366
MONTH_DAYS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_EVERY: Final = "*"


@dataclass(frozen=True)
class _Field:
    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields, as in crontab(5).

    Sunday is 0 and 7. If both the day of the month and the day of the week are restricted, either one matches.

    >>> Cron.parse("30 2 * * sun").next_after(datetime(2026, 3, 3, tzinfo=UTC), UTC).isoformat()
    '2026-03-08T02:30:00+00:00'
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]  # 0 is Sunday
    either_day: bool

    @classmethod
    def parse(cls, expression: str) -> "Cron":
        """Parse an expression; raises `ValueError` with the field, its text and what was expected."""
        texts = expression.split()
        if len(texts) != len(_FIELDS):
            names = ", ".join(field.name for field in _FIELDS)
            raise ValueError(f"expected five fields ({names}) as in '30 2 * * *'")
        parsed = [_parse_field(field, text.lower()) for field, text in zip(_FIELDS, texts, strict=True)]
        minutes, hours, month_days, months, weekdays = parsed
        restricted = [not text.startswith(_EVERY) for text in (texts[2], texts[4])]
        longest = max(MONTH_DAYS[month - 1] for month in months)
        if restricted == [True, False] and min(month_days) > longest:
            raise ValueError(f"day of month {texts[2]!r}: expected a day that month {texts[3]!r} has")
        return cls(minutes, hours, month_days, months, frozenset(day % 7 for day in weekdays), all(restricted))

    def next_after(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first due time after `moment`, in UTC, by the clock of `zone`.

        A due time that the clock skips in spring is delayed by as much as the clock jumps; one that the clock shows
        twice in autumn is due the first time only. An expression that matches every hour follows elapsed time
        instead: it is due twice if the clock shows an hour twice, and not at all in a skipped hour.
        """
        moment = moment.astimezone(UTC)
        if len(self.hours) == 24:
            return self._next_minute(moment, zone)
        # Start a day earlier, because a skipped time may be due on the next day.
        first = moment.astimezone(zone).date() - DAY
        for day in (first + DAY * number for number in range(HORIZON_DAYS)):
            # With fold 0, a time shown twice is the first, and a skipped one is read by the clock before the jump.
            due = [local.astimezone(UTC) for local in self._local_times(day, zone)] if self._matches(day) else []
            later = [time for time in due if time > moment]
            if later:
                return min(later)
        raise AssertionError(f"{self} is never due")

    def _local_times(self, day: date, zone: tzinfo) -> list[datetime]:
        return [datetime.combine(day, time(hour, minute), zone) for hour in self.hours for minute in self.minutes]

    def _next_minute(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the first minute after `moment` that is in `minutes` by the clock of `zone`, on a matching day."""
        following = moment.replace(second=0, microsecond=0) + MINUTE
        while True:
            local = following.astimezone(zone)
            if not self._matches(local.date()):
                midnight = datetime.combine(local.date() + DAY, time(), zone).astimezone(UTC)
                following = max(midnight, following + MINUTE)
            elif local.minute in self.minutes:
                return following
            else:
                following += MINUTE

    def _matches(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        month_day_matches, weekday_matches = day.day in self.month_days, day.isoweekday() % 7 in self.weekdays
        if self.either_day:
            return month_day_matches or weekday_matches
        return month_day_matches and weekday_matches


def _parse_field(field: _Field, text: str) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        first, last = _parse_span(field, span)
        is_range = span == _EVERY or "-" in span
        if slash and not (is_range and step.isdecimal() and int(step) > 0):
            raise ValueError(f"{field.name} {part!r}: expected a step as in */2 or {field.first}-{field.last}/2")
        values.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(values)


def _parse_span(field: _Field, span: str) -> tuple[int, int]:
    """Return the first and last value of `*`, of a single value, or of a range such as `2-5`."""
    if span == _EVERY:
        return field.first, field.last
    first, dash, last = span.partition("-")
    values = _parse_value(field, first), _parse_value(field, last if dash else first)
    if values[0] > values[1]:
        raise ValueError(f"{field.name} {span!r}: expected a range that rises")
    return values


def _parse_value(field: _Field, text: str) -> int:
    if text in field.names:
        return field.names.index(text) + field.first
    if text.isdecimal() and field.first <= int(text) <= field.last:
        return int(text)
    names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
    raise ValueError(f"{field.name} {text!r}: expected {field.first}-{field.last}{names}")
