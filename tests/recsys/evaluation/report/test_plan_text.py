"""Test the sentences about shortened windows and about runs that measure nothing, and the page of such a run."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recsys.data.measurement_plan import MeasurementPlan, WindowLengths
from recsys.evaluation.report import plan_text
from recsys.evaluation.report.report import render_report
from tests.reports import make_report, make_screening

AS_OF = datetime(2026, 4, 11, tzinfo=UTC)
MONTHS = WindowLengths(28.0, 28.0, 1)


def make_plan(first_day: int, used: WindowLengths = MONTHS, obstacle: str | None = None) -> MeasurementPlan:
    return MeasurementPlan(datetime(2026, 4, first_day, tzinfo=UTC), AS_OF, MONTHS, used, obstacle)


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (make_plan(10), "the history has 1 day, and a measurement needs 4 days"),
        (
            replace(make_plan(9), configured=WindowLengths(1.0, 0.5, 1)),
            "the history has 2 days, and a measurement needs 3 days",
        ),
    ],
)
def test_a_history_that_is_too_short(plan: MeasurementPlan, expected: str):
    assert plan_text.describe_short_history(plan) == expected


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (
            make_plan(10, obstacle="it is too early"),
            "Nothing was measured yet: it is too early. The run of 14 April 2026 is the first that can measure, if "
            "enough customers come back by then.",
        ),
        (
            make_plan(1, obstacle="nobody came back"),
            "Nothing was measured yet: nobody came back. A later run measures as soon as enough customers come "
            "back within its windows, which grow with the history until 22 July 2026.",
        ),
        (
            replace(make_plan(1, obstacle="nobody came back"), configured=WindowLengths(1.0, 1.0, 1)),
            "Nothing was measured yet: nobody came back. A later run measures as soon as enough customers come "
            "back within its windows.",
        ),
    ],
)
def test_what_is_missing_and_when_it_is_expected(plan: MeasurementPlan, expected: str):
    assert plan_text.unmeasured_sentence(plan) == expected


def test_lengths_that_differ_from_the_configured_ones():
    plan = replace(make_plan(4, WindowLengths(2.0, 1.0, 1)), configured=WindowLengths(28.0, 14.0, 3))
    assert plan_text.shortened_sentence(plan) == (
        "The history has only 7 days, and the windows take at most 50% of it: 2 days for validation and 1 day for "
        "the test, instead of the configured 28 and 14, with 1 test window instead of 3. They have their "
        "configured lengths from 27 June 2026 on."
    )


def test_the_page_of_a_run_without_a_measurement_has_no_metrics():
    plan = make_plan(10, obstacle="it is too early")
    screening = replace(make_screening(), comparison=None)
    report = replace(make_report(), validation=(), test=(), plan=plan, screening=screening)
    page = render_report(report)
    assert re.findall(r'<section id="(\w+)"', page) == ["data", "screening", "examples", "run"]
    assert set(re.findall(r'<a href="#(\w+)"', page)) == {"data", "screening", "examples", "run"}
    text = re.sub(r"<[^>]+>", " ", re.sub(r"<(style|svg).*?</\1>", "", page, flags=re.DOTALL))
    assert "it is too early" in text
    for word in ("NDCG", "window", "metrics"):
        assert word not in text, word
