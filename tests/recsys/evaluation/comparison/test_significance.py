import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from recsys.evaluation.comparison.bootstrap import bootstrap_means
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.comparison.significance import (
    apply_holm_correction,
    compare_pairs,
    find_lead,
    paired_p_value,
)

METRIC = "ndcg@20"
USERS = 400


def models(**values: np.ndarray) -> list[ModelMeasurement]:
    """Make models from their users' values of the metric, with paired resamples."""
    resampled = bootstrap_means(np.column_stack(list(values.values())), 500, 0)
    return [
        ModelMeasurement(
            name=name,
            users=len(of_users),
            cold_users=0,
            metrics={METRIC: float(of_users.mean())},
            intervals={},
            segments={},
            catalogue={},
            diversity_by="shoppers",
            popularity_bias={},
            exposure_curve=(),
            resampled=tuple(resampled[:, column].tolist()),
        )
        for column, (name, of_users) in enumerate(values.items())
    ]


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=USERS)


def test_the_lead_is_a_paired_difference():
    best, worse = np.array([1, 0.5, 0]), np.array([1, 0, 0])
    tie = find_lead(models(best=best, same=best, worse=worse), "best", METRIC)
    assert tie is not None
    assert (tie.runner_up, tie.difference, tie.interval) == ("same", 0, (0, 0))
    lead = find_lead(models(worse=worse, best=best), "best", METRIC)
    assert lead is not None
    assert lead.difference == pytest.approx((1 / 2) / 3)
    # Only one user differs, by 1/2, and is drawn 0 to 3 times out of 3.
    assert lead.interval[0] == 0
    assert 1 / 6 < lead.interval[1] <= 1 / 2
    behind = find_lead(models(worse=worse, best=best), "worse", METRIC)
    assert behind is not None
    assert behind.difference == pytest.approx(-(1 / 2) / 3)
    assert find_lead(models(best=best), "best", METRIC) is None


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("users", [12, 400])
def test_the_p_value_is_that_of_the_paired_t_test(shift: float, users: int):
    differences = np.random.default_rng(users).normal(shift, 1, users)
    resampled = bootstrap_means(differences[:, None], 40_000, 0)[:, 0]
    ours = paired_p_value(float(differences.mean()), resampled, users)
    theirs = ttest_rel(differences, np.zeros(users)).pvalue
    assert ours == pytest.approx(theirs, rel=0.06)
    assert ours != pytest.approx(ttest_rel(differences + 0.1, np.zeros(users)).pvalue, rel=0.06)


def test_p_values_without_chance():
    assert paired_p_value(0.0, np.zeros(10), 5) == 1
    assert paired_p_value(0.1, np.full(10, 0.125), 5) == 0  # every user gains as much
    assert paired_p_value(0.1, np.array([0.125, 0.125]), 1) == 1  # one user tells nothing


def test_holm_by_hand():
    # .01 * 4; then .02 * 3; then .03 * 2, which is no more; then .04 * 1, held up by the one before.
    assert apply_holm_correction([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert apply_holm_correction([0.5, 0.001, 0.4]) == pytest.approx([0.8, 0.003, 0.8])
    assert apply_holm_correction([0.9, 0.6]) == [1, 1]
    assert apply_holm_correction([0.02]) == [0.02]
    assert apply_holm_correction([]) == []


@given(st.lists(st.floats(min_value=0, max_value=1), min_size=1, max_size=20))
def test_holm_is_between_none_and_all(p_values: list[float]):
    corrected = apply_holm_correction(p_values)
    pairs = list(zip(p_values, corrected, strict=True))
    assert all(p <= q <= min(1, len(p_values) * p) + 1e-12 for p, q in pairs)
    assert [q for _, q in sorted(pairs)] == sorted(corrected)


def test_every_pair_is_compared_the_better_first():
    base = noise(1)
    # b and c differ by noise of their own that is large beside the shift of their means, a leads both.
    result = compare_pairs(models(c=base + noise(2), a=base + 0.5, b=base + noise(3) + 0.01), METRIC)
    means = {"a": 0.5 + base.mean(), "b": (base + noise(3) + 0.01).mean(), "c": (base + noise(2)).mean()}
    second, third = sorted(("b", "c"), key=lambda name: -means[name])
    assert [(pair.better, pair.worse) for pair in result] == [("a", second), ("a", third), (second, third)]
    for pair in result:
        assert pair.difference == pytest.approx(means[pair.better] - means[pair.worse])
        assert pair.interval[0] < pair.difference < pair.interval[1]
    assert [pair.is_significant for pair in result] == [True, True, False]
    assert [pair.corrected_p_value for pair in result] == apply_holm_correction([pair.p_value for pair in result])


def test_a_difference_may_be_clear_alone_and_not_among_many():
    """One pair has p = .02; with six models of pure noise there are 28 pairs."""
    base = noise(1)
    step = noise(9)
    step = (step - step.mean()) / step.std(ddof=1) * USERS**0.5 * 0.01
    alone = compare_pairs(models(first=base + step + 0.01 * 2.35, second=base), METRIC)
    assert 0.01 < alone[0].p_value < 0.03
    assert alone[0].is_significant
    others = {f"noise{seed}": noise(seed) - 0.1 for seed in range(10, 16)}
    crowd = compare_pairs(models(first=base + step + 0.01 * 2.35, second=base, **others), METRIC)
    pair = next(result for result in crowd if {result.better, result.worse} == {"first", "second"})
    assert len(crowd) == 28
    assert pair.p_value < 0.05
    assert not pair.is_significant
