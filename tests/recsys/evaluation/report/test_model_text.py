"""Test the sentences about models."""

from dataclasses import replace

import pytest

from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.report import model_text
from recsys.evaluation.report.contents import BlendMember, BlendSummary, Report
from tests.reports import make_folds, make_full_report, make_report, measurement


def with_test(*models: ModelMeasurement) -> Report:
    return replace(make_report(), test=models)


def noisy(name: str, metric: float, shifts: tuple[float, ...]) -> ModelMeasurement:
    return replace(measurement(name, metric), resampled=tuple(metric + shift for shift in shifts))


SIGNIFICANT, NOISY = (-0.001, 0, 0.001), (0.01, 0, -0.01)


def test_intervals_that_overlap_are_named():
    apart = with_test(measurement("als", 0.08), measurement("bpr", 0.064))
    assert model_text.interval_sentence(apart.test, "ndcg@20").endswith(
        "The interval of als, the best model, lies above all others."
    )
    near = (measurement("als", 0.08), measurement("bpr", 0.075), measurement("popularity", 0.074))
    assert model_text.interval_sentence(near, "ndcg@20").endswith("overlaps with bpr and popularity.")
    assert model_text.interval_sentence(near[:1], "ndcg@20") == "The bar is the 95% confidence interval of als."


def test_models_whose_rank_changes_are_named():
    report = make_report()
    assert model_text.order_sentence(report) == "The rank of bpr and als differs from the validation window."
    assert "the same order" in model_text.order_sentence(replace(report, test=report.validation))
    assert model_text.order_sentence(with_test(measurement("als", 0.1))) == ""


def test_significant_differences():
    sentence = model_text.differences_sentence(
        with_test(
            noisy("als", 0.08, SIGNIFICANT),
            noisy("bpr", 0.064, (0, 0.001, -0.001)),
            noisy("popularity", 0.05, SIGNIFICANT),
        )
    )
    assert sentence == (
        "On the test window, als is better than bpr by 0.0160 (25%), 95% confidence interval 0.0150 to 0.0179. At "
        "the 5% level after Holm's correction for 3 comparisons, this is statistically significant. Its lead over "
        "popularity is statistically significant."
    )


def test_differences_that_are_not_significant():
    sentence = model_text.differences_sentence(
        with_test(
            noisy("als", 0.08, SIGNIFICANT),
            noisy("bpr", 0.075, NOISY),
            noisy("popularity", 0.074, SIGNIFICANT[::-1]),
        )
    )
    assert "0.0050 (6.7%), 95% confidence interval −0.0054 to 0.0155. At the 5% level" in sentence
    assert "this is not statistically significant." in sentence
    assert "Its lead over popularity is statistically significant." in sentence
    assert sentence.endswith("No significant difference: bpr and popularity.")
    both = with_test(
        noisy("als", 0.08, SIGNIFICANT), noisy("bpr", 0.075, NOISY), noisy("popularity", 0.0745, NOISY)
    )
    assert "Its lead over popularity is not statistically significant." in model_text.differences_sentence(both)


def test_a_winner_that_is_behind_on_the_test_window():
    behind = with_test(noisy("als", 0.08, SIGNIFICANT), noisy("bpr", 0.0805, NOISY))
    assert model_text.differences_sentence(behind) == (
        "On the test window, bpr is better than als by 0.0005 (0.63%), 95% confidence interval −0.0099 to 0.0109. "
        "At the 5% level after Holm's correction for 1 comparison, this is not statistically significant."
    )
    assert model_text.differences_sentence(with_test(measurement("als", 0.1))) == ""


def test_a_stable_and_an_unstable_ranking():
    stable = replace(make_report(), folds=make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.4, "bpr": 0.1}))
    assert model_text.folds_sentence(stable) == (
        "Over 2 windows, als has a mean NDCG@20 of 0.3500 (from 0.3000 to 0.4000) and is the best of 2 models on "
        "each. The ranking of the models is stable over time (Kendall's W 1.00; 1 means the same order on every "
        "window)."
    )
    assert model_text.best_fold_sentence(stable) == (
        "als is best on the window from 3 December 2017 (0.4000) and worst on the window from 5 November 2017 "
        "(0.3000)."
    )
    turned = replace(make_report(), folds=make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.4}))
    sentence = model_text.folds_sentence(turned)
    assert "is the best model on 1 of them; the best models are als on 1 and bpr on 1" in sentence.replace(
        "bpr on 1 and als on 1", "als on 1 and bpr on 1"
    )
    assert "The ranking of the models is not stable over time" in sentence


def test_a_model_of_some_windows_is_left_out():
    folds = make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.2, "blend": 0.5})
    report = replace(make_report(), winner="blend", folds=folds)
    assert model_text.fold_metrics(report) == [{"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.2}]
    assert model_text.folds_sentence(report).startswith("Over 2 windows, als has a mean NDCG@20 of")


def test_the_largest_weights_of_the_blend_and_its_redundant_members():
    report = make_full_report()
    assert report.blend is not None
    assert model_text.blend_sentence(report, report.blend) == (
        "A blend of 3 models is published. The largest weights: als for heavy users (0.75) and bpr for light users "
        "(0.75). Removing als lowers NDCG@20 on the validation window the most, by 0.0123; removing bpr does not "
        "lower it."
    )
    useless = BlendSummary((BlendMember("als", {"heavy": 1.0}, 0.001),), chosen=False)
    sentence = model_text.blend_sentence(report, useless)
    assert sentence.startswith(
        "A blend of 1 model was evaluated, but is not better than als, which is published alone."
    )
    assert sentence.endswith("Removing any single member does not lower NDCG@20 on the validation window.")


def test_the_search_states_evaluated_models_and_the_gain_of_tuning():
    report = make_full_report()
    assert model_text.search_sentence(report) == (
        "3 models were evaluated. Tuning improved als the most: NDCG@20 rose by 4.2%. Skipped: light_gcn. "
        "The search took 55.1 of 100 units of work, in 43 s; fitting its models again takes at most 40.0. "
        "It was stopped early: search.max_minutes = 5: no time was left."
    )
    assert report.search_budget is not None
    assert report.search_budget.seconds_of(80.0) == pytest.approx(61.85, abs=0.01)
    untuned = replace(
        report, search_budget=None, search=tuple(replace(model, gain=0.0) for model in report.search[:2])
    )
    assert model_text.search_sentence(untuned) == (
        "2 models were evaluated. Tuning found no better settings than the configured ones."
    )


def test_the_window_that_chose_the_model_proves_nothing():
    sentence = model_text.winner_sentence(make_report())
    assert "0.0160 (25%) above bpr, the next best model. The model was chosen on this window" in sentence
    assert "significant" not in sentence


def test_the_lead_on_the_test_window_may_be_chance_or_small_or_matter():
    first = noisy("als", 0.08, SIGNIFICANT)
    sentences = [
        model_text.test_window_sentence(with_test(first, second))
        for second in (
            noisy("bpr", 0.0795, NOISY),
            noisy("bpr", 0.0797, (-0.0011, -0.0001, 0.0009)),
            noisy("bpr", 0.0704, SIGNIFICANT),
        )
    ]
    assert "0.0005 (0.63%) above bpr. The difference may be chance" in sentences[0]
    assert "0.0003 (0.38%) above bpr. The difference is below 0.50%, too small to matter" in sentences[1]
    assert "0.0096 (14%) above bpr. The difference is statistically significant and large enough" in sentences[2]


def test_a_significant_difference_below_the_smallest_that_matters_is_called_small():
    models = [noisy("als", 0.08, (0, 0, 0)), noisy("bpr", 0.0797, (0, 0, 0)), noisy("ease", 0.0797, (0, 0, 0))]
    sentence = model_text.differences_sentence(with_test(*models))
    assert "this is statistically significant but below 0.50%, too small to matter." in sentence
    assert "Its lead over ease is statistically significant but below 0.50%, too small to matter." in sentence


def test_a_published_model_that_is_not_the_best_is_called_so():
    sentence = model_text.winner_sentence(replace(make_report(), winner="bpr"))
    assert sentence.startswith("bpr is published: its NDCG@20")
    assert "0.0160 (20%) below als, the best of the other models." in sentence


def test_a_lead_on_few_users_is_not_called_significant():
    few = with_test(
        *(
            replace(noisy(name, 0.08 - 0.01 * place, SIGNIFICANT), users=9)
            for place, name in enumerate(("als", "bpr"))
        )
    )
    assert model_text.test_window_sentence(few).endswith(
        "Only 9 users could be measured, too few to tell whether the difference is chance."
    )
