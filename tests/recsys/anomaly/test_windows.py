"""Rates over sliding windows, by counts of two buckets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.anomaly.windows import WINDOW_NAMES, WINDOWS_MS, bucket_number, is_countable, sliding_count

WINDOWS = st.sampled_from(WINDOWS_MS)
MOMENTS = st.integers(0, 4_102_444_800_000)
COUNTS = st.integers(0, 65_535)


def test_the_windows_are_named() -> None:
    assert dict(zip(WINDOWS_MS, WINDOW_NAMES, strict=True)) == {
        10_000: "10 s",
        300_000: "5 min",
        3_600_000: "an hour",
    }


@pytest.mark.parametrize(
    ("at_ms", "expected"), [(10_000, 26.0), (12_500, 21.0), (15_000, 16.0), (19_000, 8.0), (19_999, 6.002)]
)
def test_of_the_bucket_before_the_share_counts_that_is_in_the_window(at_ms: int, expected: float) -> None:
    """6 now and 20 before: at 12.5 s three quarters of the 20 lie in the last 10 s."""
    assert sliding_count(6, 20, at_ms, 10_000) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("at_ms", "now_ms", "expected"),
    [
        (9_999, 9_999, True),
        (0, 19_999, True),
        (9_999, 20_000, False),
        (25_000, 20_000, True),
    ],
)
def test_an_event_counts_until_its_bucket_is_the_second_to_last(at_ms: int, now_ms: int, expected: bool) -> None:
    assert is_countable(at_ms, now_ms, 10_000) is expected


@given(MOMENTS, WINDOWS)
def test_a_bucket_is_as_long_as_its_window(at_ms: int, window_ms: int) -> None:
    bucket = bucket_number(at_ms, window_ms)
    assert bucket * window_ms <= at_ms < (bucket + 1) * window_ms


@given(COUNTS, COUNTS, MOMENTS, WINDOWS)
def test_a_rate_lies_between_what_is_new_and_all_there_is(
    current: int, previous: int, at_ms: int, window_ms: int
) -> None:
    assert current <= sliding_count(current, previous, at_ms, window_ms) <= current + previous


@given(COUNTS, COUNTS, COUNTS, MOMENTS, WINDOWS)
def test_more_events_are_never_a_lower_rate(
    current: int, previous: int, more: int, at_ms: int, window_ms: int
) -> None:
    rate = sliding_count(current, previous, at_ms, window_ms)
    assert sliding_count(current + more, previous, at_ms, window_ms) >= rate
    assert sliding_count(current, previous + more, at_ms, window_ms) >= rate


@given(COUNTS, COUNTS, MOMENTS, WINDOWS)
def test_no_event_is_lost_when_a_bucket_ends(current: int, previous: int, at_ms: int, window_ms: int) -> None:
    """The rate of the last millisecond of a bucket is, but for a millisecond's share, that of the next."""
    end = (bucket_number(at_ms, window_ms) + 1) * window_ms
    before, after = sliding_count(current, previous, end - 1, window_ms), sliding_count(0, current, end, window_ms)
    assert before - after == pytest.approx(previous / window_ms, abs=1e-6)
