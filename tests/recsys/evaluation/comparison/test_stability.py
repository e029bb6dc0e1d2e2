import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from recsys.evaluation.comparison.stability import concordance, summarize_folds

FOLDS = [{"a": 0.3, "b": 0.2, "c": 0.1}, {"a": 0.1, "b": 0.2, "c": 0.05}, {"a": 0.5, "b": 0.2, "c": 0.15}]


def test_models_over_folds_by_hand():
    first, second, third = summarize_folds(FOLDS)
    assert [first.name, second.name, third.name] == ["a", "b", "c"]
    assert first.mean == pytest.approx(0.3)
    assert first.spread == pytest.approx(0.2)  # (0, -.2, .2): the square root of (.04 + .04) / 2
    assert (first.lowest, first.highest, first.wins) == (0.1, 0.5, 2)
    assert second.spread == pytest.approx(0)
    assert (second.wins, third.wins) == (1, 0)


def test_equal_models_both_win():
    assert [model.wins for model in summarize_folds([{"a": 1.0, "b": 1.0}, {"a": 0.0, "b": 0.5}])] == [2, 1]


def test_concordance_is_kendalls():
    generator = np.random.default_rng(4)
    folds = [dict(zip("abcde", generator.random(5) + np.arange(5) / 10, strict=True)) for _ in range(6)]
    statistic = friedmanchisquare(*([fold[name] for fold in folds] for name in "abcde")).statistic
    assert concordance(folds) == pytest.approx(statistic / (6 * 4))


def test_concordance_of_like_and_unlike_orders():
    assert concordance([FOLDS[0]] * 3) == pytest.approx(1)
    assert concordance([{"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 1.0}]) == 0
    assert concordance([{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]) == 0
    assert concordance([{"a": 1.0}, {"a": 2.0}]) == 1
