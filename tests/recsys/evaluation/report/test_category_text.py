"""What is said of proposed categories."""

from dataclasses import replace

from recsys.evaluation.report.category_text import accuracy_sentence, calibration_sentence, categories_sentence
from recsys.evaluation.report.contents import CategorySummary
from tests.reports import make_categories

CATEGORIES = make_categories()
assert CATEGORIES.measured is not None
MEASURED = CATEGORIES.measured


def test_what_was_not_done_is_said_with_its_reason():
    skipped = CategorySummary(1, 1, 0, 0.5, skipped="there are too few")
    assert categories_sentence(skipped) == (
        "There is 1 item without a category; none is proposed: there are too few."
    )
    assert "None is sure enough for a proposal" in categories_sentence(replace(CATEGORIES, proposed=0))


def test_accuracy_stands_beside_what_needs_no_model():
    assert accuracy_sentence(MEASURED) == (
        "The categories of 2,000 items were held out. Naming a category for every one of them would be right for "
        "61% on level 1 (43% by always naming the most frequent, 55% by the labels of neighbours alone) and 16% on "
        "level 2 (2.5% by always naming the most frequent, 10% by the labels of neighbours alone)."
    )


def test_confidence_is_judged_by_the_level_where_it_is_the_furthest_off():
    assert calibration_sentence(MEASURED) == (
        "The confidence is the share of proposals that should be right: on level 2, where it is the furthest off, "
        "it differs from the share that is by 3.1% on average, so it is about right."
    )
    first = replace(MEASURED, levels=MEASURED.levels[:1])
    assert calibration_sentence(first).endswith("by 1.2% on average, so it can be taken at its word.")
    bad = replace(first, levels=(replace(first.levels[0], calibration_error=0.2),))
    assert calibration_sentence(bad).endswith("so it should be taken with care.")
