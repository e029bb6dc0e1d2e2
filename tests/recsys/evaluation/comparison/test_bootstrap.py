import numpy as np
import pytest

from recsys.evaluation.comparison import bootstrap
from recsys.evaluation.comparison.bootstrap import bootstrap_means, confidence_interval


def test_bootstrap_agrees_with_the_standard_error():
    values = np.random.default_rng(1).random((400, 2))
    means = bootstrap_means(values, 1000, 0)
    assert means.shape == (1000, 2)
    assert means.mean(axis=0) == pytest.approx(values.mean(axis=0), abs=0.002)
    assert means.std(axis=0) == pytest.approx(values.std(axis=0) / 20, rel=0.1)


def test_bootstrap_does_not_depend_on_its_batches():
    values = np.random.default_rng(1).random((10, 2))
    whole = bootstrap_means(values, 50, 7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "MAX_BATCH_DRAWS", 30)
        assert bootstrap_means(values, 50, 7) == pytest.approx(whole)
    assert (bootstrap_means(values, 50, 8) != whole).any()


def test_a_mean_over_some_users_is_over_those_drawn():
    """The second column is NaN for half of the users; its means are over the drawn users of the other half."""
    values = np.random.default_rng(1).random((300, 1))
    half = np.where(np.arange(300) < 150, values[:, 0], np.nan)
    means = bootstrap_means(np.column_stack([values[:, 0], half]), 2000, 0)
    assert means[:, 1].mean() == pytest.approx(values[:150].mean(), abs=0.003)
    assert means[:, 1].std() == pytest.approx(values[:150].std() / 150**0.5, rel=0.1)


def test_draws_without_any_user_of_a_part_do_not_count():
    values = np.array([[np.nan], [0.5], [np.nan]])
    means = bootstrap_means(values, 200, 0)[:, 0]
    assert set(means[~np.isnan(means)]) == {0.5}
    assert np.isnan(means).mean() == pytest.approx((2 / 3) ** 3, abs=0.1)
    assert confidence_interval(means) == (0.5, 0.5)
