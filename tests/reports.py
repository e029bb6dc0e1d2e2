"""Reports for tests, with made-up numbers that are easy to tell apart."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np

from recsys.data.quality import QuarantineCounts, SchemaChange, SourceCounts
from recsys.data.splits import fold_windows, time_split
from recsys.evaluation.comparison.measurement import ModelMeasurement, SegmentMeasurement
from recsys.evaluation.comparison.popularity_bias import ItemPopularity, PopularityBias
from recsys.evaluation.metrics.classification import CategoryMeasurement, LevelMeasurement, ProposalsAtThreshold
from recsys.evaluation.metrics.forecasts import ForecastScores, measure_amounts, measure_probabilities
from recsys.evaluation.metrics.ranking import metric_names
from recsys.evaluation.report.contents import (
    BlendMember,
    BlendSummary,
    CategoryExample,
    CategorySummary,
    DataSummary,
    Example,
    Fold,
    ListedItem,
    RankerFeature,
    RankerSummary,
    Report,
    ScreenComparison,
    ScreenedMetric,
    ScreeningSummary,
    SearchBudget,
    SearchedModel,
    StepUsage,
    Suspect,
)
from recsys.evaluation.report.forecast_contents import ForecastSummary
from recsys.evaluation.report.list_contents import ListPart, NewUsers
from recsys.settings import Evaluation

AS_OF = datetime(2017, 12, 31, tzinfo=UTC)
EVALUATION = Evaluation(cutoffs=(5, 20), light_user_events=20, relevant_events=("purchase",))
HOSTILE = '<script>alert("1")</script> & $x_1$'


def measurement(name: str, metric: float, cold_users: int = 50, coverage: float = 0.231) -> ModelMeasurement:
    names = metric_names(EVALUATION.cutoffs)
    metrics = dict.fromkeys(names, metric)
    segment = SegmentMeasurement(100, metrics, (metric - 0.02, metric + 0.02))
    return ModelMeasurement(
        name=name,
        users=950,
        cold_users=cold_users,
        metrics=metrics,
        intervals=dict.fromkeys(names, (metric - 0.004, metric + 0.004)),
        segments=dict.fromkeys(("new", "light", "heavy", "head", "tail"), segment),
        catalogue={
            f"{base}@{k}": value
            for k in EVALUATION.cutoffs
            for base, value in (
                ("coverage", coverage),
                ("gini", 0.8),
                ("novelty", 7.5),
                ("diversity", 0.86),
                ("popularity", 0.12),
                ("head_share", 0.45),
            )
        },
        diversity_by="categories",
        popularity_bias={
            "all": PopularityBias(
                950, ItemPopularity(0.12, 0.45), ItemPopularity(0.05, 0.2), ItemPopularity(0.08, 0.3)
            ),
            "light": PopularityBias(
                60, ItemPopularity(0.15, 0.6), ItemPopularity(0.05, 0.2), ItemPopularity(0.05, 0.2)
            ),
            "heavy": PopularityBias(
                890, ItemPopularity(0.1, 0.4), ItemPopularity(0.1, 0.4), ItemPopularity(0.2, 0.5)
            ),
        },
        exposure_curve=tuple(min(1, step / 50) for step in range(101)),
        resampled=tuple(metric + shift for shift in (-0.001, 0, 0.001)),
        auc=0.912,
    )


def make_report() -> Report:
    models = (measurement("popularity", 0.05), measurement("als", 0.08), measurement("bpr", 0.064))
    tested = (measurement("popularity", 0.05), measurement("als", 0.079), measurement("bpr", 0.0805))
    first = date(2017, 1, 1)
    return Report(
        title="Corner shop",
        windows=time_split(AS_OF, EVALUATION),
        evaluation=EVALUATION,
        repeat="exclude",
        winner="als",
        validation=models,
        test=tested,
        data=DataSummary(
            users=2469,
            items=92339,
            events=1469307,
            first_day=first,
            last_day=date(2017, 12, 30),
            events_per_day=tuple((first + timedelta(days=n), 4000 + n) for n in range(0, 364, 3)),
            events_per_type={"view": 400000, "purchase": 1069307},
            median_events_per_user=512.0,
            items_for_most_events=0.124,
        ),
        sources=(
            SourceCounts("transactions", 1000000, 998500, 300, 1150, {"price_is_an_amount": 900, "late": 300}),
            SourceCounts("products", 92339, 92339, 0, 0, {}),
        ),
        steps=(StepUsage("ingest", 18.34, 612_000_000), StepUsage("train als", 131.0, 1_300_000_000, 1_000_000)),
        examples=(
            Example(
                user_id="u1",
                segment="light",
                source="als",
                recent=(ListedItem("i1", None),),
                recommended=(ListedItem("i2", HOSTILE), ListedItem("i3", "Roma tomatoes")),
            ),
        ),
        settings={"seed": "0"},
    )


def make_folds(*means: dict[str, float]) -> tuple[Fold, ...]:
    """Make folds, the oldest first, from the means of the models."""
    spans = fold_windows(AS_OF, Evaluation(folds=len(means)))
    return tuple(
        Fold(start, end, tuple(measurement(name, mean) for name, mean in models.items()))
        for (start, end), models in zip(reversed(spans), means, strict=True)
    )


def make_categories() -> CategorySummary:
    """Make proposals of two category levels, the second with a lower confidence."""
    return CategorySummary(
        items_without=1200,
        with_events=900,
        proposed=640,
        least_confidence=0.5,
        measured=CategoryMeasurement(
            learned_from=7000,
            calibrated_on=1000,
            measured_on=2000,
            levels=(
                LevelMeasurement(1, 21, 0.61, 0.104, 0.012, 0.034, 0.43, 0.55),
                LevelMeasurement(2, 280, 0.16, 0.08, 0.031, 0.029, 0.025, 0.1),
            ),
            proposals=(ProposalsAtThreshold(0.5, 0.72, 0.68, 1.1), ProposalsAtThreshold(0.95, 0.0, None, None)),
        ),
        examples=(
            CategoryExample(ListedItem("i7", HOSTILE), "GROCERY>CHEESE", 0.97),
            CategoryExample(ListedItem("i8", "Brie", "GROCERY>CHEESE>BRIE"), "DELI", 0.61),
        ),
    )


def make_forecasts() -> ForecastSummary:
    """Make forecasts without spend, one of them badly calibrated."""
    generator = np.random.default_rng(0)
    probabilities, drawn = generator.random(1000), generator.random(1000)
    week = measure_probabilities(
        "an order within 7 days",
        probabilities,
        drawn < probabilities,
        "orders in the last 90 days",
        probabilities**2,
    )
    never = measure_probabilities(
        "no order within 28 days", probabilities, drawn < 0.2, "orders in the last 90 days", -probabilities
    )
    days = generator.exponential(8, 1000)
    gaps = {"last order + median gap, not in the past": days + 6, "last order + mean gap": days - 11}
    return ForecastSummary(
        users=2469,
        learned_from=2400,
        churn_days=28,
        reasons={"spend": "no order has a price", "categories": "orders go back 50 days, and 56 are needed"},
        scores=ForecastScores(
            (week, never), (measure_amounts("time to the next order", "days", days + 5, days, gaps),), 0.84
        ),
    )


def make_screening() -> ScreeningSummary:
    """Make a screening with 40 bots, one of them by a label."""
    return ScreeningSummary(
        shadow=False,
        users=2469,
        events=1469307,
        screened_users=40,
        screened_events=31000,
        by_origin={"label": 1, "online": 0, "nightly": 39},
        reasons=(("most events within a minute", 31), ("near duplicates of others", 12)),
        suspects=(
            Suspect(
                "b1", 99.6, True, "nightly", 900, ("most events within a minute: 120, usually 1 to 4", HOSTILE)
            ),
            Suspect("b2", 61.0, False, "nightly", 20, ()),
        ),
        bots=1,
        fine=3,
        has_labeled_detector=False,
        min_labels=200,
        comparison=ScreenComparison(
            910,
            (
                ScreenedMetric("ndcg@20", 0.0801, 0.0763, (0.0021, 0.0055)),
                ScreenedMetric("recall@20", 0.1203, 0.1201, (-0.0012, 0.0016)),
            ),
        ),
    )


def make_full_report() -> Report:
    """Make a report with all sections."""
    return replace(
        make_report(),
        folds=make_folds(
            {"als": 0.081, "bpr": 0.07, "popularity": 0.05},
            {"als": 0.083, "bpr": 0.071, "popularity": 0.04},
            {"als": 0.079, "bpr": 0.0805, "popularity": 0.05},
        ),
        blend=BlendSummary(
            (
                BlendMember("als", {"heavy": 0.75, "light": 0.25}, -0.0123),
                BlendMember("bpr", {"light": 0.75, "heavy": 0.25}, 0.0001),
                BlendMember("popularity", {"light": 0.0}, None),
            ),
            chosen=True,
        ),
        ranker=RankerSummary(
            ("als", "bpr"),
            4,
            None,
            0.0042,
            (
                RankerFeature("days since last", 0.31, (1.0, 8.0, 90.0), (0.08, 0.03, 0.01)),
                RankerFeature("place in als", 0.25, (0.0, 1.0), (0.01, 0.2)),
                RankerFeature("cycle", 0.02),
            ),
        ),
        list_parts=(
            ListPart("again", (), 480, -0.0021, {role: measurement(role, 0.3) for role in ("chosen", "winner")}),
            ListPart("new", ("bpr", "als"), 620, 0.0064, {"chosen": measurement("chosen", 0.04)}),
        ),
        new_users=NewUsers(
            "last_28_days",
            150,
            120,
            {name: dict.fromkeys(metric_names(EVALUATION.cutoffs), 0.05) for name in ("all_time", "last_28_days")},
            {"all_time": dict.fromkeys(metric_names(EVALUATION.cutoffs), 0.061)},
        ),
        search=(
            SearchedModel("als", 0.081, 12.5, 24, 0.042, {"regularization": 0.0712, "alpha": 3.0}, None, 30.0),
            SearchedModel("bpr", 0.079, 30.0, 0, 0.0, {}, None, 25.0),
            SearchedModel("popularity", 0.05, 0.1, 0, 0.0, {}, None, 0.1),
            SearchedModel(
                "light_gcn",
                None,
                0.0,
                0,
                0.0,
                {},
                "search.budget = 100: 12 units of work are left for it, and it needs 80",
                80.0,
            ),
        ),
        search_budget=SearchBudget(100.0, 55.1, 40.0, 42.6, "search.max_minutes = 5: no time was left"),
        quarantine=QuarantineCounts(
            (
                (date(2017, 3, 1), "price_is_an_amount", 4),
                (date(2017, 3, 3), "event_is_known", 2),
                (date(2017, 3, 3), "price_is_an_amount", 398),
            ),
            undated=17,
        ),
        schema_changes=(
            SchemaChange("orders", "discount", None, "Float64", datetime(2017, 11, 5, tzinfo=UTC)),
            SchemaChange("orders", "store", "Int64", "String", datetime(2017, 12, 1, tzinfo=UTC)),
        ),
        categories=make_categories(),
        screening=make_screening(),
        forecasts=make_forecasts(),
    )
