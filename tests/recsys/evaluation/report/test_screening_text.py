"""What is said of users who were screened out."""

from dataclasses import replace

from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric
from recsys.evaluation.report.screening_text import comparison_sentence, labels_sentence, screening_sentence
from tests.reports import make_screening

SCREENING = make_screening()


def test_how_many_and_who_found_them():
    assert screening_sentence(SCREENING) == (
        "40 users of 2,469 (1.6%) do not behave like shoppers: 1 by the labels of analysts and 39 by the nightly "
        "detectors. Their 31,000 events (2.1% of all) taught the models nothing, and they get the popular list, "
        "like a visitor of whom nothing is known. All figures of this report are without them."
    )
    nobody = replace(SCREENING, screened_users=0, screened_events=0, by_origin={})
    assert screening_sentence(nobody).startswith("Each of the 2,469 users behaves like a shopper")
    shadow = screening_sentence(replace(SCREENING, shadow=True))
    assert "the models learned from their 31,000 events (2.1% of all) too" in shadow


def test_labels_and_whether_they_are_enough():
    assert labels_sentence(SCREENING) == (
        "Analysts have labelled 4 users: 1 as bots, 3 as fine; from 200 labels of both kinds on, a detector learns "
        "from them."
    )
    assert labels_sentence(replace(SCREENING, bots=0, fine=0)).startswith("No analyst has labelled a user yet")
    enough = replace(SCREENING, bots=100, fine=120, has_labeled_detector=True)
    assert labels_sentence(enough).endswith("a detector that learns from these labels took part.")


def verdict(without: float, with_all: float, interval: tuple[float, float]) -> str:
    compared = ScreenComparison(910, (ScreenedMetric("ndcg@20", without, with_all, interval),))
    return comparison_sentence(compared).partition(": ")[2]


def test_the_difference_is_called_what_its_interval_lets_it_be_called():
    assert verdict(0.1, 0.08, (0.002, 0.014)) == (
        "leaving them out makes ordinary shoppers' lists 25% better, more than chance would (95% interval of the "
        "difference 0.0020 to 0.0140)."
    )
    assert verdict(0.076, 0.08, (-0.006, -0.002)).startswith("leaving them out costs ordinary shoppers 5.0%")
    assert verdict(0.0801, 0.08, (-0.001, 0.002)).startswith("the difference is no larger than chance would make")
    assert verdict(0.0, 0.0, (0.0, 0.0)).startswith("the difference is no larger than chance")
