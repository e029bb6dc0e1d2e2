"""Each sentence of the report changes with the data that it is about."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from recsys.data.quality import QuarantineCounts, SchemaChange
from recsys.evaluation.comparison.measurement import ModelMeasurement, SegmentMeasurement
from recsys.evaluation.metrics.popularity_bias import ItemPopularity, PopularityBias
from recsys.evaluation.report import catalogue_text, data_text, model_text
from recsys.evaluation.report.contents import BlendMember, BlendSummary, Example, ListedItem, Report, StepUsage
from tests.reports import make_folds, make_full_report, make_report, measurement


def with_test(*models: ModelMeasurement) -> Report:
    return replace(make_report(), test=models)


def noisy(name: str, metric: float, shifts: tuple[float, ...]) -> ModelMeasurement:
    return replace(measurement(name, metric), resampled=tuple(metric + shift for shift in shifts))


CLEAR, SHAKY = (-0.001, 0, 0.001), (0.01, 0, -0.01)


def test_intervals_that_overlap_are_named():
    apart = with_test(measurement("als", 0.08), measurement("bpr", 0.064))
    assert model_text.interval_sentence(apart.test, "ndcg@20").endswith("that of als lies above all others.")
    near = (measurement("als", 0.08), measurement("bpr", 0.075), measurement("popularity", 0.074))
    assert model_text.interval_sentence(near, "ndcg@20").endswith("overlaps with bpr and popularity.")
    assert model_text.interval_sentence(near[:1], "ndcg@20") == "The bar is the 95% interval of als."


def test_an_order_that_changes_is_told():
    report = make_report()
    assert model_text.order_sentence(report).startswith("bpr and als stand elsewhere in the order")
    assert "the same order" in model_text.order_sentence(replace(report, test=report.validation))
    assert model_text.order_sentence(with_test(measurement("als", 0.1))) == ""


def test_differences_that_are_clear():
    told = model_text.differences_sentence(
        with_test(
            noisy("als", 0.08, CLEAR), noisy("bpr", 0.064, (0, 0.001, -0.001)), noisy("popularity", 0.05, CLEAR)
        )
    )
    assert told == (
        "On the test window als is better than bpr by 0.0160 (0.0150 to 0.0179), clear after correction for 3 "
        "comparisons. Its lead over popularity is clear."
    )


def test_differences_that_may_be_chance():
    told = model_text.differences_sentence(
        with_test(noisy("als", 0.08, CLEAR), noisy("bpr", 0.075, SHAKY), noisy("popularity", 0.074, CLEAR[::-1]))
    )
    assert "als is better than bpr by 0.0050 (−0.0054 to 0.0155), which may be chance after" in told
    assert "Its lead over popularity is clear." in told
    assert told.endswith("The window does not tell bpr from popularity.")
    both = with_test(noisy("als", 0.08, CLEAR), noisy("bpr", 0.075, SHAKY), noisy("popularity", 0.0745, SHAKY))
    assert "Its lead over popularity may be chance." in model_text.differences_sentence(both)


def test_a_winner_that_is_behind_on_the_test_window():
    behind = with_test(noisy("als", 0.08, CLEAR), noisy("bpr", 0.0805, SHAKY))
    assert model_text.differences_sentence(behind) == (
        "On the test window bpr is better than als by 0.0005 (−0.0099 to 0.0109), which may be chance after "
        "correction for 1 comparison."
    )
    assert model_text.differences_sentence(with_test(measurement("als", 0.1))) == ""


def test_a_ranking_that_lasts_and_one_that_does_not():
    stable = replace(make_report(), folds=make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.4, "bpr": 0.1}))
    assert model_text.folds_sentence(stable) == (
        "Over 2 windows als reached 0.3000 to 0.4000, 0.3500 on average, and was the best of 2 models on each. "
        "The ranking is stable in time (Kendall's W 1.00, where 1 is the same order on every window)."
    )
    assert model_text.best_fold_sentence(stable) == (
        "als did best from 3 December 2017 (0.4000) and worst from 5 November 2017 (0.3000)."
    )
    turned = replace(make_report(), folds=make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.4}))
    told = model_text.folds_sentence(turned)
    assert "was the best on 1 of them; the best were als on 1 and bpr on 1" in told.replace(
        "bpr on 1 and als on 1", "als on 1 and bpr on 1"
    )
    assert "The ranking is not stable in time" in told


def test_a_model_of_some_windows_is_left_out():
    folds = make_folds({"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.2, "blend": 0.5})
    report = replace(make_report(), winner="blend", folds=folds)
    assert model_text.fold_metrics(report) == [{"als": 0.3, "bpr": 0.2}, {"als": 0.1, "bpr": 0.2}]
    assert model_text.folds_sentence(report).startswith("Over 2 windows als reached")


def test_what_the_blend_leans_on():
    report = make_full_report()
    assert report.blend is not None
    assert model_text.blend_sentence(report, report.blend) == (
        "A blend of 3 models is published. Of the weights, which say how far each model's ranking counts, als the "
        "most for heavy shoppers (0.75) and bpr the most for light shoppers (0.75). Without als NDCG@20 on the "
        "validation window would fall most, by 0.0123; bpr could be left out without a loss."
    )
    useless = BlendSummary((BlendMember("als", {"heavy": 1.0}, 0.001),), chosen=False)
    told = model_text.blend_sentence(report, useless)
    assert told.startswith("A blend of 1 model was tried; als alone is published")
    assert told.endswith("could be left out without a loss of NDCG@20 on the validation window.")


def test_segments_best_served_first_and_few_shoppers_named():
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
        "NDCG@20 of als, the best served first: light shoppers 0.1000 (0.0900 to 0.1100), heavy shoppers 0.0500 "
        "(0.0400 to 0.0600) and new shoppers 0.0200 (0.0000 to 0.0500). Only 12 new shoppers were measured, too "
        "few to rely on."
    )
    assert catalogue_text.items_sentence(measured) == (
        "als finds wanted head items 4.0 times as well as wanted tail items."
    )
    assert "about as well" in catalogue_text.items_sentence(report)
    nothing = parts | {"tail": SegmentMeasurement(600, {"ndcg@20": 0.0}, None)}
    blind = with_test(replace(winner, segments=nothing))
    assert "none of the tail items" in catalogue_text.items_sentence(blind)


def test_who_shows_more_of_the_catalogue_at_what_cost():
    als = measurement("als", 0.08, coverage=0.1)
    wide = with_test(als, measurement("bpr", 0.06, coverage=0.3), measurement("popularity", 0.01, coverage=0.01))
    assert catalogue_text.tradeoff_sentence(wide) == (
        "bpr shows the most of the catalogue, 30% beside the 10% of als, at a 25% lower NDCG@20. For "
        "popularity another is both better and shows more."
    )
    assert catalogue_text.tradeoff_sentence(with_test(als, measurement("bpr", 0.09, coverage=0.05))) == (
        "No other model shows more of the catalogue than als, 10%."
    )


def test_popularity_of_what_is_shown_had_and_wanted():
    report = make_report()
    assert catalogue_text.popularity_sentence(report) == (
        "On average 12% of all shoppers have an item that als recommends, 5.0% one that the shopper had and 8.0% "
        "one that the shopper then wanted. Head items take 45% of the places, and are 30% of what was wanted."
    )
    assert catalogue_text.lift_sentence(report) == (
        "als shows light shoppers items 3.0 times as popular as those they had and 3.0 times as popular as those "
        "they then wanted; heavy shoppers items about as popular as those they had and 0.5 times as popular as "
        "those they then wanted."
    )
    same = ItemPopularity(0.1, 0.1)
    level = replace(
        report.winner_on_test,
        popularity_bias={"all": PopularityBias(9, same, same, same)}
        | {"light": PopularityBias(9, same, same, same)},
    )
    assert catalogue_text.lift_sentence(with_test(level)) == (
        "als shows light shoppers items about as popular as those they had and about as popular as those they then "
        "wanted."
    )


def test_diversity_names_what_is_compared():
    def diverse(name: str, diversity: float) -> ModelMeasurement:
        model = measurement(name, 0.05)
        return replace(model, catalogue=model.catalogue | {"diversity@20": diversity})

    report = with_test(diverse("als", 0.5), diverse("bpr", 0.25), diverse("popularity", 0.75))
    told = catalogue_text.diversity_sentence(report)
    assert told.startswith("Two items of one list by als are 0.50 apart by their categories")
    assert told.endswith("of bpr are the most alike (0.25), those of popularity the most varied (0.75).")
    by_users = with_test(replace(report.test[0], diversity_by="shoppers"))
    assert "by who has them" in catalogue_text.diversity_sentence(by_users)
    without = replace(report.test[0], catalogue={"coverage@20": 0.1})
    assert catalogue_text.diversity_sentence(with_test(without)) == ""


def test_even_and_uneven_models_are_named():
    def uneven(name: str, gini: float) -> ModelMeasurement:
        model = measurement(name, 0.05)
        return replace(model, catalogue=model.catalogue | {"gini@20": gini})

    told = catalogue_text.exposure_sentence(with_test(uneven("als", 0.9), uneven("bpr", 0.7)))
    assert told == "bpr is the most even (Gini index 0.700), als the least (0.900)."


def test_busy_days_and_windows():
    data = make_report().data
    days = ((date(2017, 12, 1), 100), (date(2017, 12, 2), 100), (date(2017, 12, 3), 240), (date(2017, 12, 4), 60))
    report = replace(make_report(), data=replace(data, events_per_day=days))
    assert data_text.events_sentence(report) == (
        "The busiest day was 3 December 2017 with 240 events. The test window had 150 a day, 50% more than the "
        "days before."
    )


@pytest.mark.parametrize(
    ("quarantine", "expected"),
    [
        (QuarantineCounts((), 0), ""),
        (QuarantineCounts((), 1), "1 row tells no day, or one outside the plot."),
        (
            QuarantineCounts(((date(2017, 1, 1), "late", 1000), (date(2017, 1, 1), "early", 1000)), 0),
            "The most rows, 2,000, were set aside of 1 January 2017: 33% of that day's.",
        ),
        (
            QuarantineCounts(((date(2017, 1, 1), "late", 4), (date(2017, 1, 4), "late", 997)), 3),
            "The most rows, 997, were set aside of 4 January 2017: 20% of that day's, where a usual day with any "
            "has 500. 3 rows tell no day, or one outside the plot.",
        ),
    ],
)
def test_quarantine_by_day(quarantine: QuarantineCounts, expected: str):
    report = replace(make_report(), quarantine=quarantine)
    assert data_text.quarantine_days_sentence(report) == expected


def test_changed_columns_are_counted():
    change = SchemaChange("orders", "store", "Int64", "String", datetime(2017, 12, 1, tzinfo=UTC))
    assert data_text.schema_sentence((change,)) == "1 column of orders changed between ingests."
    more = (change, replace(change, table="items"), replace(change, column="price"))
    assert data_text.schema_sentence(more) == "3 columns of items and orders changed between ingests."


def test_long_large_and_slow_steps_are_named():
    steps = (
        StepUsage("features", 10, 300_000_000, 5_000_000),
        StepUsage("fit", 30, 900_000_000, 3_000_000),
        StepUsage("lists", 60, 0),
    )
    report = replace(make_report(), steps=steps)
    assert data_text.steps_sentence(report) == (
        "lists took longest: 1 min 00 s, 60% of all. By events a second fit is the slowest, 100,000."
    )
    assert data_text.memory_sentence(replace(report, steps=steps[:2])).startswith(
        "The most memory was in use in fit, 900 MB; no step was below 300 MB"
    )
    assert data_text.events_per_second(StepUsage("short", 0.01, 0, 1000)) is None


def test_examples_tell_repeats():
    a, b, c = (ListedItem(name, None) for name in "abc")
    examples = (
        Example("1", "heavy", "als", (a,), (a, b)),
        Example("2", "light", "als", (c,), (a, b)),
        Example("", "new", "popularity", (), (c,)),
    )
    told = data_text.examples_sentence(replace(make_report(), examples=examples))
    assert told == (
        "The 4 places of these 2 lists hold 2 items; 1 of the places repeats what the shopper had last."
    )
    assert data_text.examples_sentence(replace(make_report(), examples=examples[2:])) == ""


def test_the_search_tells_who_took_part_and_what_tuning_did():
    report = make_full_report()
    assert model_text.search_sentence(report) == (
        "3 models took part. Tuning did the most for als: NDCG@20 rose by 0.0042. Left out: light_gcn."
    )
    untuned = replace(report, search=tuple(replace(model, gain=0.0) for model in report.search[:2]))
    assert model_text.search_sentence(untuned) == (
        "2 models took part. No other settings than those given did better."
    )
