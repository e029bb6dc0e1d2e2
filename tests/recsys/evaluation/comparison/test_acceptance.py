"""Test the rule by which a candidate replaces what is used now."""

import numpy as np
import pytest

from recsys.evaluation.comparison.acceptance import is_accepted

INCUMBENT = np.tile([0.0, 0.2], 500)


def test_a_small_gain_of_every_user_is_accepted_from_the_minimum_on():
    candidate = INCUMBENT + 0.001  # 1 % of the mean, 0.1, without any uncertainty
    assert is_accepted(candidate, INCUMBENT, 0.0099, 0)
    assert not is_accepted(candidate, INCUMBENT, 0.0101, 0)


def test_a_large_gain_of_two_users_is_within_its_uncertainty():
    candidate = INCUMBENT.copy()
    candidate[:2] += 100
    assert not is_accepted(candidate, INCUMBENT, 0.0, 0)
    candidate[:20] += 100
    assert is_accepted(candidate, INCUMBENT, 0.0, 0)


@pytest.mark.parametrize("users", [0, 1_000])
def test_an_equal_candidate_is_not_accepted(users: int):
    assert not is_accepted(INCUMBENT[:users], INCUMBENT[:users], 0.0, 0)


def test_a_gain_over_nothing_is_accepted_if_enough_users_have_it():
    assert is_accepted(np.ones(10), np.zeros(10), 0.005, 0)
    assert not is_accepted(np.ones(9), np.zeros(9), 0.005, 0)


def test_chance_is_accepted_about_once_in_forty():
    """The upper half of a 95 % interval: 2.5 % of candidates without a gain, 10 of 400."""
    generator = np.random.default_rng(0)
    differences = generator.standard_normal((400, 200))
    accepted = sum(is_accepted(values, np.zeros(200), 0.0, 0) for values in differences)
    assert 2 <= accepted <= 20
