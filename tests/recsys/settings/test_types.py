from pathlib import Path

import pytest

from recsys.settings import load_settings
from tests.recsys.settings.files import load, problem


def test_a_schedule_is_checked_when_it_is_read(tmp_path: Path):
    assert problem(tmp_path, '[schedule]\nnightly = "61 2 * * *"') == (
        "schedule.nightly = '61 2 * * *': minute '61': expected 0-59"
    )
    assert problem(tmp_path, "", RECSYS_SCHEDULE_TRENDING="hourly").startswith(
        "RECSYS_SCHEDULE_TRENDING: schedule.trending = 'hourly': expected five fields"
    )
    assert problem(tmp_path, '[schedule]\ntime_zone = "Mars/Base"').startswith(
        "schedule.time_zone = 'Mars/Base': expected a time zone such as"
    )
    schedule = load(tmp_path, "", RECSYS_SCHEDULE_TRENDING="", RECSYS_SCHEDULE_NIGHTLY="*/5 * * * *").schedule
    assert (schedule.trending, schedule.nightly) == ("", "*/5 * * * *")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1000", 1_000), ('"512MB"', 512 * 2**20), ('"1.5 gb"', 3 * 2**29), ('"64"', 64), ('"2TB"', 2**41)],
)
def test_memory_is_bytes_or_text_with_a_unit(text: str, expected: int) -> None:
    assert load_settings(None, {"RECSYS_REDIS_MAX_MEMORY": text}).redis.max_memory == expected
