"""Test the sentences about the data, the run and the examples."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from recsys.data.quality import QuarantineCounts, SchemaChange
from recsys.evaluation.report import data_text
from recsys.evaluation.report.contents import Example, ListedItem, StepUsage
from tests.reports import make_report


def test_busy_days_and_windows():
    data = make_report().data
    days = ((date(2017, 12, 1), 100), (date(2017, 12, 2), 100), (date(2017, 12, 3), 240), (date(2017, 12, 4), 60))
    report = replace(make_report(), data=replace(data, events_per_day=days))
    assert data_text.events_sentence(report) == (
        "The busiest day was 3 December 2017 with 240 events. The test window has 150 events per day, 50% more "
        "than the days before it."
    )


def test_variants_that_count_as_one_item_are_counted():
    report = make_report()
    plain = data_text.data_sentence(report)
    grouped = replace(report, data=replace(report.data, variants=1_200, groups=1))
    assert data_text.data_sentence(grouped) == (
        f"{plain} 1,200 variants of the catalogue count as 1 item, one for each group."
    )


def test_what_counts_for_nothing_is_counted():
    report = make_report()
    plain = data_text.data_sentence(report)
    left_out = replace(report.data, empty_purchases=8_869, uncatalogued_items=17, uncatalogued_events=4_836)
    assert data_text.data_sentence(replace(report, data=left_out)) == (
        f"{plain} 8,869 purchases of quantity 0 count as nothing. 17 items with 4,836 events are in no catalogue, "
        "and so in no model and no list."
    )


@pytest.mark.parametrize(
    ("quarantine", "expected"),
    [
        (QuarantineCounts((), 0), ""),
        (QuarantineCounts((), 1), "1 row has no readable day, or a day outside the plot."),
        (
            QuarantineCounts(((date(2017, 1, 1), "late", 1000), (date(2017, 1, 1), "early", 1000)), 0),
            "1 January 2017 has the most quarantined rows: 2,000, 33% of the rows of that day.",
        ),
        (
            QuarantineCounts(((date(2017, 1, 1), "late", 4), (date(2017, 1, 4), "late", 997)), 3),
            "4 January 2017 has the most quarantined rows: 997, 20% of the rows of that day. The median of the "
            "days with quarantined rows is 500. 3 rows have no readable day, or a day outside the plot.",
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
        "lists took longest: 1 min 00 s, 60% of the run. fit has the lowest throughput: 100,000 events per second."
    )
    assert data_text.memory_sentence(replace(report, steps=steps[:2])).startswith(
        "fit has the highest peak memory, 900 MB. The lowest is 300 MB"
    )
    assert data_text.events_per_second(StepUsage("short", 0.01, 0, 1000)) is None


def test_examples_state_repeated_items():
    a, b, c = (ListedItem(name, None) for name in "abc")
    examples = (
        Example("1", "heavy", "als", (a,), (a, b)),
        Example("2", "light", "als", (c,), (a, b)),
        Example("", "new", "popularity", (), (c,)),
    )
    sentence = data_text.examples_sentence(replace(make_report(), examples=examples))
    assert sentence == (
        "The 4 positions of 2 example lists hold 2 distinct items; 1 of the positions repeats a recent item of the "
        "user."
    )
    assert data_text.examples_sentence(replace(make_report(), examples=examples[2:])) == ""
