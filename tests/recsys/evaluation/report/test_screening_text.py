"""Test the sentences about users classified as bots."""

from dataclasses import replace

from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric
from recsys.evaluation.report.screening_text import comparison_sentence, labels_sentence, screening_sentence
from tests.reports import make_screening

SCREENING = make_screening()


def test_the_number_of_bots_and_the_source_of_the_classification():
    assert screening_sentence(SCREENING) == (
        "40 users of 2,469 (1.6%) were classified as bots: 1 by analyst labels and 39 by the nightly detectors. "
        "Their 31,000 events (2.1% of all events) were excluded from training, and they get the popular list "
        "instead of a personal one. All metrics of this report exclude them. The models of a window learn from all "
        "users except those who are flagged by the events before it."
    )
    nobody = replace(SCREENING, screened_users=0, screened_events=0, by_origin={})
    assert screening_sentence(nobody).startswith("None of the 2,469 users was classified as a bot.")
    shadow = screening_sentence(replace(SCREENING, shadow=True))
    assert "the models were trained on their 31,000 events (2.1% of all events) too" in shadow


def test_labels_and_whether_they_are_enough():
    assert labels_sentence(SCREENING) == (
        "Analysts have labeled 4 users: 1 as bots and 3 as legitimate. A supervised detector needs 200 labels of "
        "both kinds."
    )
    assert labels_sentence(replace(SCREENING, bots=0, fine=0)).startswith("Analysts have not labeled any user yet")
    enough = replace(SCREENING, bots=100, fine=120, has_labeled_detector=True)
    assert labels_sentence(enough).endswith("A supervised detector was trained on these labels.")


def verdict(without: float, with_all: float, interval: tuple[float, float]) -> str:
    compared = ScreenComparison(910, (ScreenedMetric("ndcg@20", without, with_all, interval),))
    return comparison_sentence(compared).partition("without them. ")[2]


def test_the_difference_is_called_what_its_interval_lets_it_be_called():
    assert verdict(0.1, 0.08, (0.002, 0.014)) == (
        "Excluding them improves the metric by 25% with statistical significance (95% confidence interval of the "
        "difference 0.0020 to 0.0140)."
    )
    assert verdict(0.076, 0.08, (-0.006, -0.002)).startswith(
        "Excluding them lowers the metric by 5.0% with statistical significance"
    )
    assert verdict(0.0801, 0.08, (-0.001, 0.002)).startswith("The difference is not statistically significant")
    assert verdict(0.0, 0.0, (0.0, 0.0)).startswith("The difference is not statistically significant")
