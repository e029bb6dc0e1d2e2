"""Sentences about the second stage."""

from dataclasses import replace

from recsys.evaluation.report.contents import RankerFeature, RankerSummary
from recsys.evaluation.report.ranker_text import importance_sentence, ranker_sentence

FEATURES = (RankerFeature("cycle", 0.5), RankerFeature("log price", 0.25), RankerFeature("sales", 0.25))
RANKER = RankerSummary(("als", "repurchase"), 3, None, 0.0123, FEATURES)


def test_a_published_ranker_is_told_with_its_gain():
    assert ranker_sentence(RANKER, "ndcg@20") == (
        "The second stage ranks the candidates of als and repurchase by gradient boosted trees, trained on 3 "
        "windows before the validation window. On the validation window, its NDCG@20 is 0.0123 above that of the "
        "best model without it, so it is published."
    )


def test_a_rejected_ranker_is_told_with_the_reason():
    rejected = replace(RANKER, rejected="a gain has to be large", gain=-0.001, windows=1)
    assert ranker_sentence(rejected, "ndcg@20").endswith(
        "trained on 1 window before the validation window. On the validation window, its NDCG@20 is 0.0010 below "
        "that of the best model without it, so it is not published: a gain has to be large."
    )


def test_a_ranker_that_could_not_be_trained_is_told():
    assert ranker_sentence(RankerSummary(("als",), 0, "no history", 0.0, ()), "ndcg@20") == (
        "The second stage was not trained: no history."
    )


def test_the_largest_features_are_named():
    assert importance_sentence(RANKER) == (
        "Share of each feature in the gain of all splits. The largest: cycle (50%), log price (25%) and sales "
        "(25%)."
    )
