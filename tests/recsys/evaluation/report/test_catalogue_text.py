"""Test the sentences about segments and the catalogue."""

from dataclasses import replace

from recsys.evaluation.comparison.measurement import ModelMeasurement, SegmentMeasurement
from recsys.evaluation.comparison.popularity_bias import ItemPopularity, PopularityBias
from recsys.evaluation.report import catalogue_text
from recsys.evaluation.report.contents import Report
from tests.reports import make_report, measurement


def with_test(*models: ModelMeasurement) -> Report:
    return replace(make_report(), test=models)


def test_segments_are_ordered_and_small_ones_named():
    report = make_report()
    winner = report.winner_on_test
    parts = {
        "new": SegmentMeasurement(12, {"ndcg@20": 0.02}, (0.0, 0.05)),
        "light": SegmentMeasurement(300, {"ndcg@20": 0.1}, (0.09, 0.11)),
        "heavy": SegmentMeasurement(600, {"ndcg@20": 0.05}, (0.04, 0.06)),
        "head": SegmentMeasurement(600, {"ndcg@20": 0.2}, None),
        "tail": SegmentMeasurement(600, {"ndcg@20": 0.05}, None),
    }
    measured = with_test(replace(winner, segments=parts))
    assert catalogue_text.segments_sentence(measured) == (
        "NDCG@20 of als by user segment, in descending order: light users 0.1000 (0.0900 to 0.1100), heavy users "
        "0.0500 (0.0400 to 0.0600) and new users 0.0200 (0.0000 to 0.0500). Segments with too few users for a "
        "reliable mean: 12 new."
    )
    assert catalogue_text.items_sentence(measured) == (
        "The NDCG@20 of als on head items is 4.0 times that on tail items."
    )
    assert "is about the same as on tail items" in catalogue_text.items_sentence(report)
    nothing = parts | {"tail": SegmentMeasurement(600, {"ndcg@20": 0.0}, None)}
    blind = with_test(replace(winner, segments=nothing))
    assert catalogue_text.items_sentence(blind) == "The NDCG@20 of als on tail items is 0."
    reverse = with_test(replace(winner, segments=parts | {"tail": SegmentMeasurement(600, {"ndcg@20": 0.3}, None)}))
    assert catalogue_text.items_sentence(reverse).endswith("on tail items is 1.5 times that on head items.")


def test_coverage_is_weighed_against_the_metric():
    als = measurement("als", 0.08, coverage=0.1)
    wide = with_test(als, measurement("bpr", 0.06, coverage=0.3), measurement("popularity", 0.01, coverage=0.01))
    assert catalogue_text.tradeoff_sentence(wide) == (
        "bpr has the highest coverage, 30% (coverage of als: 10%), and its NDCG@20 is 25% lower. popularity is "
        "dominated: another model is better in both."
    )
    assert catalogue_text.tradeoff_sentence(with_test(als, measurement("bpr", 0.09, coverage=0.05))) == (
        "als has the highest coverage, 10%."
    )


def test_popularity_of_recommended_history_and_relevant_items():
    report = make_report()
    assert catalogue_text.popularity_sentence(report) == (
        "On average, 12% of all users have interacted with an item that als recommends, 5.0% with an item of a "
        "user's history and 8.0% with a relevant item of the test window. Head items take 45% of the list "
        "positions and are 30% of the relevant items."
    )
    assert catalogue_text.lift_sentence(report) == (
        "The items that als recommends to light users are 3.0 times as popular as the items of their history and "
        "3.0 times as popular as their relevant items; those to heavy users are about as popular as the items of "
        "their history and 0.5 times as popular as their relevant items."
    )
    same = ItemPopularity(0.1, 0.1)
    level = replace(
        report.winner_on_test,
        popularity_bias={"all": PopularityBias(9, same, same, same)}
        | {"light": PopularityBias(9, same, same, same)},
    )
    assert catalogue_text.lift_sentence(with_test(level)) == (
        "The items that als recommends to light users are about as popular as the items of their history and about "
        "as popular as their relevant items."
    )


def test_diversity_names_what_is_compared():
    def diverse(name: str, diversity: float) -> ModelMeasurement:
        model = measurement(name, 0.05)
        return replace(model, catalogue=model.catalogue | {"diversity@20": diversity})

    report = with_test(diverse("als", 0.5), diverse("bpr", 0.25), diverse("popularity", 0.75))
    sentence = catalogue_text.diversity_sentence(report)
    assert sentence.startswith(
        "The mean dissimilarity of two items in a list of als is 0.50, based on their categories"
    )
    assert sentence.endswith("bpr is the least diverse (0.25) and popularity the most diverse (0.75).")
    by_users = with_test(replace(report.test[0], diversity_by="shoppers"))
    assert "based on their users" in catalogue_text.diversity_sentence(by_users)
    without = replace(report.test[0], catalogue={"coverage@20": 0.1})
    assert catalogue_text.diversity_sentence(with_test(without)) == ""


def test_even_and_uneven_models_are_named():
    def uneven(name: str, gini: float) -> ModelMeasurement:
        model = measurement(name, 0.05)
        return replace(model, catalogue=model.catalogue | {"gini@20": gini})

    sentence = catalogue_text.exposure_sentence(with_test(uneven("als", 0.9), uneven("bpr", 0.7)))
    assert sentence == "bpr has the lowest Gini index (0.700), als the highest (0.900)."
