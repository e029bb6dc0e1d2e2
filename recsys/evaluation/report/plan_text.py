"""The sentences about windows that do not have their configured lengths, and about runs that measure nothing."""

from collections.abc import Sequence

from recsys.data.measurement_plan import MAX_WINDOWS_SHARE, MeasurementPlan, WindowLengths
from recsys.evaluation.report.formatting import count_noun, format_day, format_percent


def describe_short_history(plan: MeasurementPlan) -> str:
    """State that the history is shorter than two windows and the time to train on."""
    needed = count_noun(plan.required_days, "day")
    return f"the history has {count_noun(plan.history_days, 'day')}, and a measurement needs {needed}"


def unmeasured_sentence(plan: MeasurementPlan) -> str:
    """State that nothing was measured, why, and from when on that is expected."""
    return f"Nothing was measured yet: {plan.obstacle}. {_expect_measurement(plan)}"


def published_sentence(winner: str) -> str:
    """State whose lists are published without a measurement."""
    return (
        f"The lists of {winner} are published, by a fixed rule: no model was compared with another. Popular, "
        "trending and similar items do not need a measurement."
    )


def shortened_sentence(plan: MeasurementPlan) -> str:
    """State the lengths of the windows, why they are not the configured ones, and until when."""
    used, configured = plan.used, plan.configured
    sentence = (
        f"The history has only {count_noun(plan.history_days, 'day')}, and the windows take at most "
        f"{format_percent(MAX_WINDOWS_SHARE)} of it: {_describe_lengths(used)}, instead of the configured "
        f"{configured.validation_days:g} and {configured.test_days:g}"
    )
    if used.folds != configured.folds:
        folds = f"{count_noun(used.folds, 'test window')} instead of {configured.folds}"
        sentence = f"{sentence}, with {folds}"
    if plan.complete_from is None:
        return f"{sentence}."
    return f"{sentence}. They have their configured lengths from {format_day(plan.complete_from)} on."


def _expect_measurement(plan: MeasurementPlan) -> str:
    if plan.measured_from is not None:
        return (
            f"The run of {format_day(plan.measured_from)} is the first that can measure, if enough customers come "
            "back by then."
        )
    sentence = "A later run measures as soon as enough customers come back within its windows"
    if plan.complete_from is None:
        return f"{sentence}."
    return f"{sentence}, which grow with the history until {format_day(plan.complete_from)}."


def _describe_lengths(lengths: WindowLengths) -> str:
    validation, test = (
        f"{days:g} {'day' if days == 1 else 'days'}" for days in (lengths.validation_days, lengths.test_days)
    )
    return f"{validation} for validation and {test} for the test"


def relevant_sentence(relevant_events: Sequence[str]) -> str:
    """State which events make an item relevant; without names, every event with a positive weight does."""
    if not relevant_events:
        return "An item is relevant if the user has an event of positive weight on it in that window."
    return f"An item is relevant by an event of the user in that window: {' or '.join(relevant_events)}."
