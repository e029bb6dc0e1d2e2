"""Cron expressions by table, above all where the clock jumps."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.cron import Cron

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def due(expression: str, zone: str, since: str, count: int) -> list[str]:
    """The next due times after a time in UTC, as the zone's clock shows them, with its offset."""
    clock, cron, moment = ZoneInfo(zone), Cron.parse(expression), datetime.fromisoformat(since).replace(tzinfo=UTC)
    times: list[str] = []
    for _ in range(count):
        moment = cron.next_after(moment, clock)
        assert moment.tzinfo is UTC
        times.append(moment.astimezone(clock).strftime("%a %d %H:%M %z"))
    return times


@pytest.mark.parametrize(
    ("zone", "expression", "since", "times"),
    [
        # Spring: 02:30 is not on the clock of the 29th, and comes as much later as the clock jumps.
        (
            BERLIN,
            "30 2 * * *",
            "2026-03-28 00:00",
            ["Sat 28 02:30 +0100", "Sun 29 03:30 +0200", "Mon 30 02:30 +0200"],
        ),
        (BERLIN, "0 3 * * *", "2026-03-28 03:00", ["Sun 29 03:00 +0200", "Mon 30 03:00 +0200"]),
        (BERLIN, "59 1 * * *", "2026-03-28 03:00", ["Sun 29 01:59 +0100", "Mon 30 01:59 +0200"]),
        # Two times that fall together run once.
        (BERLIN, "30 2,3 * * *", "2026-03-28 12:00", ["Sun 29 03:30 +0200", "Mon 30 02:30 +0200"]),
        # Autumn: 02:30 is shown twice, and only the first counts.
        (
            BERLIN,
            "30 2 * * *",
            "2026-10-24 12:00",
            ["Sun 25 02:30 +0200", "Mon 26 02:30 +0100", "Tue 27 02:30 +0100"],
        ),
        # A job of every hour runs every hour that passes.
        (BERLIN, "15 * * * *", "2026-03-29 00:00", ["Sun 29 01:15 +0100", "Sun 29 03:15 +0200"]),
        (
            BERLIN,
            "15 * * * *",
            "2026-10-24 23:00",
            ["Sun 25 01:15 +0200", "Sun 25 02:15 +0200", "Sun 25 02:15 +0100", "Sun 25 03:15 +0100"],
        ),
        (NEW_YORK, "30 2 * * *", "2026-03-07 12:00", ["Sun 08 03:30 -0400", "Mon 09 02:30 -0400"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31 12:00", ["Sun 01 01:30 -0400", "Mon 02 01:30 -0500"]),
        (NEW_YORK, "30 1 * * sun", "2026-10-31 12:00", ["Sun 01 01:30 -0400", "Sun 08 01:30 -0500"]),
        # Half an hour: 02:00 to 02:30 is skipped in October, 01:30 to 02:00 comes twice in April.
        (LORD_HOWE, "15 2 * * *", "2026-10-02 20:00", ["Sun 04 02:45 +1100", "Mon 05 02:15 +1100"]),
        (LORD_HOWE, "30 2 * * *", "2026-10-02 20:00", ["Sun 04 02:30 +1100", "Mon 05 02:30 +1100"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-03 20:00", ["Sun 05 01:45 +1100", "Mon 06 01:45 +1030"]),
        (LORD_HOWE, "15 1 * * *", "2026-04-03 20:00", ["Sun 05 01:15 +1100", "Mon 06 01:15 +1030"]),
        (
            LORD_HOWE,
            "45 * * * *",
            "2026-04-04 14:00",
            ["Sun 05 01:45 +1100", "Sun 05 01:45 +1030", "Sun 05 02:45 +1030"],
        ),
        (LORD_HOWE, "15 * * * *", "2026-10-03 14:00", ["Sun 04 01:15 +1030", "Sun 04 03:15 +1100"]),
        # A clock that jumps at midnight.
        ("America/Santiago", "30 0 * * *", "2026-09-05 12:00", ["Sun 06 01:30 -0300", "Mon 07 00:30 -0300"]),
        ("America/Santiago", "30 * 6 9 *", "2026-09-05 12:00", ["Sun 06 01:30 -0300", "Sun 06 02:30 -0300"]),
        ("UTC", "30 2 * * *", "2026-03-28 02:30", ["Sun 29 02:30 +0000"]),
        ("UTC", "30 2 * * *", "2026-03-28 02:29:59.999", ["Sat 28 02:30 +0000"]),
    ],
)
def test_due_times_over_the_changes_of_the_clock(zone: str, expression: str, since: str, times: list[str]) -> None:
    assert due(expression, zone, since, len(times)) == times


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        # Sunday is 0 and 7, unlike in APScheduler, where 0 is Monday. 1 March 2026 is a Sunday.
        ("0 5 * * 0", ["Sun 01", "Sun 08"]),
        ("0 5 * * 7", ["Sun 01", "Sun 08"]),
        ("0 5 * * 1", ["Mon 02", "Mon 09"]),
        ("0 5 * * SUN", ["Sun 01", "Sun 08"]),
        ("0 5 * * 5-7", ["Sun 01", "Fri 06", "Sat 07"]),
        ("0 5 * * mon-wed", ["Mon 02", "Tue 03", "Wed 04", "Mon 09"]),
        ("0 5 * * */3", ["Sun 01", "Wed 04", "Sat 07"]),
        ("0 5 2,*/10 * *", ["Sun 01", "Mon 02", "Wed 11", "Sat 21", "Tue 31"]),
        ("0 5 10-20/5 * *", ["Tue 10", "Sun 15", "Fri 20"]),
        # Both days restricted: either is enough. One of them a star: both have to fit.
        ("0 5 4 * fri", ["Wed 04", "Fri 06", "Fri 13"]),
        ("0 5 */2 * mon", ["Mon 09", "Mon 23"]),
        ("0 5 1 jan,jul *", ["Wed 01", "Fri 01"]),
        ("0 5 29 2 *", ["Tue 29"]),
        ("0 5 31 * *", ["Tue 31", "Sun 31", "Fri 31"]),
    ],
)
def test_days(expression: str, times: list[str]) -> None:
    assert [time[:6] for time in due(expression, "UTC", "2026-03-01 00:00", len(times))] == times


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "expected five fields (minute, hour, day of month, month, day of week) as in '30 2 * * *'"),
        ("@daily", "expected five fields"),
        ("0 30 2 * * *", "expected five fields"),
        ("60 2 * * *", "minute '60': expected 0-59"),
        ("-1 2 * * *", "minute '': expected 0-59"),
        ("x 2 * * *", "minute 'x': expected 0-59"),
        ("0 24 * * *", "hour '24': expected 0-23"),
        ("0 2 0 * *", "day of month '0': expected 1-31"),
        ("0 2 * 13 *", "month '13': expected 1-12 or jan-dec"),
        ("0 2 * * 8", "day of week '8': expected 0-7 or sun-sat"),
        ("0 2 * * mo", "day of week 'mo': expected 0-7 or sun-sat"),
        ("0 5-2 * * *", "hour '5-2': expected a range that rises"),
        ("*/0 2 * * *", "minute '*/0': expected a step as in */2 or 0-59/2"),
        ("5/10 2 * * *", "minute '5/10': expected a step"),
        ("*/ 2 * * *", "minute '*/': expected a step"),
        ("0 2 30 2 *", "day of month '30': expected a day that month '2' has"),
        ("0 2 31 apr,jun *", "day of month '31': expected a day that month 'apr,jun' has"),
        ("0 2 ² * *", "day of month '²': expected 1-31"),
    ],
)
def test_a_wrong_expression_is_reported_with_field_text_and_expectation(expression: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r".") as error:
        Cron.parse(expression)
    assert str(error.value).startswith(problem)


@given(
    zone=st.sampled_from((BERLIN, NEW_YORK, LORD_HOWE, "UTC", "Asia/Kathmandu")),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),
)
def test_a_daily_job_runs_once_each_day_of_the_clock(zone: str, hour: int, minute: int, start: datetime) -> None:
    clock, cron, times = ZoneInfo(zone), Cron.parse(f"{minute} {hour} * * *"), [start.replace(tzinfo=UTC)]
    for _ in range(400):
        times.append(cron.next_after(times[-1], clock))
    days = [time.astimezone(clock).date() for time in times[1:]]
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


@given(start=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)), minute=st.integers(0, 59))
def test_an_hourly_job_runs_every_hour_that_passes(start: datetime, minute: int) -> None:
    clock, cron, times = ZoneInfo(BERLIN), Cron.parse(f"{minute} * * * *"), [start.replace(tzinfo=UTC)]
    for _ in range(50):
        times.append(cron.next_after(times[-1], clock))
    assert all(later - earlier == timedelta(hours=1) for earlier, later in pairwise(times[1:]))
