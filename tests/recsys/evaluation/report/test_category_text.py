"""Test the sentences about proposed categories."""

from dataclasses import replace

from recsys.evaluation.report.category_text import accuracy_sentence, calibration_sentence, categories_sentence
from recsys.evaluation.report.contents import CategorySummary
from tests.reports import make_categories

CATEGORIES = make_categories()
assert CATEGORIES.measured is not None
MEASURED = CATEGORIES.measured


def test_a_skipped_classifier_is_stated_with_its_reason():
    skipped = CategorySummary(1, 1, 0, 0.5, skipped="there are too few")
    assert categories_sentence(skipped) == (
        "There is 1 item without a category. No category is proposed: there are too few."
    )
    assert "No proposal reaches the confidence threshold of 50%." in categories_sentence(
        replace(CATEGORIES, proposed=0)
    )


def test_accuracy_is_stated_with_its_baselines():
    assert accuracy_sentence(MEASURED) == (
        "The categories of 2,000 items were held out for testing. The accuracy over all of them, without a "
        "confidence threshold, is 61% on level 1 (baselines: 43% for the most frequent category, 55% for label "
        "propagation) and 16% on level 2 (baselines: 2.5% for the most frequent category, 10% for label "
        "propagation)."
    )


def test_calibration_is_judged_by_the_least_calibrated_level():
    assert calibration_sentence(MEASURED) == (
        "The expected difference between confidence and accuracy is 3.1% on level 2, the least calibrated level: "
        "the confidence is acceptably calibrated."
    )
    first = replace(MEASURED, levels=MEASURED.levels[:1])
    assert calibration_sentence(first).endswith("is 1.2%: the confidence is well calibrated.")
    bad = replace(first, levels=(replace(first.levels[0], calibration_error=0.2),))
    assert calibration_sentence(bad).endswith("the confidence is poorly calibrated and should be used with care.")
