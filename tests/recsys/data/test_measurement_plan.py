from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.data.measurement_plan import MeasurementPlan, WindowLengths, count_days, fit_windows

MONTHS = WindowLengths(28.0, 28.0, 1)


@pytest.mark.parametrize(
    ("history_days", "configured", "expected"),
    [
        (3, MONTHS, None),
        (4, MONTHS, (1, 1, 1)),
        (30, MONTHS, (8, 7, 1)),
        (111, MONTHS, (28, 27, 1)),
        (112, MONTHS, (28, 28, 1)),
        (20, WindowLengths(28.0, 7.0, 9), (8, 2, 5)),
        (4, WindowLengths(28.0, 7.0, 9), (1, 1, 2)),
        (1, WindowLengths(0.25, 0.25, 1), (0.25, 0.25, 1)),
        (3, WindowLengths(1.5, 0.5, 1), None),
        (5, WindowLengths(2.5, 0.5, 1), (1, 0.5, 1)),
    ],
)
def test_windows_take_at_most_half_of_the_history(
    history_days: int, configured: WindowLengths, expected: tuple[float, float, int] | None
):
    assert fit_windows(configured, history_days) == (None if expected is None else WindowLengths(*expected))


@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 60), st.integers(1, 9))
def test_longer_history_never_shortens_the_windows(history_days: int, validation: int, test: int, folds: int):
    configured = WindowLengths(float(validation), float(test), folds)
    used, later = (fit_windows(configured, days) for days in (history_days, history_days + 1))
    if used is None:
        return
    assert later is not None
    assert 2 * (used.validation_days + used.test_days) <= history_days
    assert 1 <= used.test_days <= later.test_days <= test
    assert used.validation_days + used.test_days <= later.validation_days + later.test_days
    assert used.folds == folds or used.folds * used.test_days <= history_days / 2 or used.folds == 1


def test_dates_are_those_of_the_first_run_with_enough_history():
    as_of = datetime(2026, 4, 11, tzinfo=UTC)
    for first in (datetime(2026, 4, 9, tzinfo=UTC), datetime(2026, 4, 9, 23, 59, tzinfo=UTC)):
        plan = MeasurementPlan(first, as_of, MONTHS, MONTHS, "too short")
        assert plan.history_days == 2
        measured_from = datetime(2026, 4, 13, tzinfo=UTC)
        assert plan.measured_from == measured_from
        assert plan.complete_from == datetime(2026, 7, 30, tzinfo=UTC)
        assert fit_windows(MONTHS, count_days(first, measured_from)) is not None
        day_before = measured_from - timedelta(days=1)
        assert fit_windows(MONTHS, count_days(first, day_before)) is None
