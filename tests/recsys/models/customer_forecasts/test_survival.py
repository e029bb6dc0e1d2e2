"""Test survival curves against numbers worked out by hand."""

import numpy as np
import pytest

from recsys.models.customer_forecasts.survival import person_periods, quantile, survival, survival_at

EDGES = np.array([0.0, 1, 3, 7])


def test_hazards_compose_a_curve():
    curve = survival(np.array([[0.5, 0.2, 0.25]]))
    np.testing.assert_allclose(curve, [[1, 0.5, 0.4, 0.3]])
    # Within an interval the hazard is constant: half of the interval keeps the square root.
    assert survival_at(curve, 2, EDGES)[0] == pytest.approx(0.5 * np.sqrt(0.8))
    assert survival_at(curve, 3, EDGES)[0] == pytest.approx(0.4)
    assert survival_at(curve, 7, EDGES)[0] == pytest.approx(0.3)
    assert np.isnan(survival_at(curve, 7.1, EDGES)[0])


def test_quantiles_invert_the_curve_and_end_with_it():
    curve = survival(np.array([[0.5, 0.2, 0.25], [0.0, 0.0, 0.1]]))
    np.testing.assert_allclose(quantile(curve, 0.5, EDGES), [1, np.nan])
    day = 1 + 2 * np.log(0.45 / 0.5) / np.log(0.8)
    assert quantile(curve, 0.55, EDGES)[0] == pytest.approx(day)
    assert survival_at(curve, day, EDGES)[0] == pytest.approx(0.45)
    assert quantile(curve, 0.1, EDGES)[1] == pytest.approx(7)


def test_an_order_that_is_certain_has_no_survivors():
    curve = survival(np.array([[1.0, 0.5, 0.5]]))
    assert survival_at(curve, 5, EDGES)[0] == pytest.approx(0, abs=1e-8)
    assert quantile(curve, 0.9, EDGES)[0] < 1


def test_what_is_not_known_yet_is_neither_an_order_nor_its_absence():
    days = np.array([0.5, 2.0, 5.0, np.inf])
    whole = person_periods(days, 7, EDGES)
    assert whole.users.tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert whole.intervals.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    assert whole.ordered.tolist() == [True, False, True, False, False, True, False, False, False]
    # After six days the last interval is open: the order on day 5 is left out, as are those who have not ordered.
    censored = person_periods(days, 6, EDGES)
    assert censored.users.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert censored.ordered.tolist() == [True, False, True, False, False, False, False]
