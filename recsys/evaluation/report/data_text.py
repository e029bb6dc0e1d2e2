"""The report's sentences about the data, the run and the example lists."""

from collections import Counter
from datetime import date
from statistics import median

from recsys.data.quality import SchemaChange
from recsys.evaluation.report.contents import DataSummary, Report, StepUsage
from recsys.evaluation.report.formatting import (
    count_noun,
    format_day,
    format_duration,
    format_integer,
    format_memory,
    format_percent,
    join_words,
    rule_label,
)
from recsys.evaluation.segments import NEW

MAX_NAMED_RULES = 3
MIN_TIMED_SECONDS = 0.05  # the throughput of a shorter step is not meaningful


def data_sentence(report: Report) -> str:
    """State the size of the data and how the events are distributed."""
    data = report.data
    days = f"from {format_day(data.first_day)} to {format_day(data.last_day)}"
    if data.first_day == data.last_day:
        days = f"on {format_day(data.first_day)}"
    variants, groups = count_noun(data.variants, "variant"), count_noun(data.groups, "item")
    grouped = f" {variants} of the catalogue count as {groups}, one for each group." if data.groups else ""
    return (
        f"The data contains {count_noun(data.events, 'event')} of {count_noun(data.users, 'user')} on "
        f"{count_noun(data.items, 'item')} {days}. The median user has "
        f"{count_noun(round(data.median_events_per_user), 'event')}, and "
        f"{format_percent(data.items_for_most_events)} of the items account for 80% of the events."
        f"{grouped}{_left_out(data)}"
    )


def _left_out(data: DataSummary) -> str:
    """State which events count for nothing, and which items are in no list."""
    sentence = ""
    if data.empty_purchases:
        verb = "counts" if data.empty_purchases == 1 else "count"
        sentence += f" {count_noun(data.empty_purchases, 'purchase')} of quantity 0 {verb} as nothing."
    if data.uncatalogued_items:
        verb = "is" if data.uncatalogued_items == 1 else "are"
        sentence += (
            f" {count_noun(data.uncatalogued_items, 'item')} with {count_noun(data.uncatalogued_events, 'event')} "
            f"{verb} in no catalogue, and so in no model and no list."
        )
    return sentence


def events_sentence(report: Report) -> str:
    """State the day with the most events, and compare the test window with the time before it."""
    per_day = report.data.events_per_day
    busiest, maximum = max(per_day, key=lambda pair: (pair[1], pair[0]))
    start = report.windows.validation_end.date()
    before, test = (
        _mean_per_day([pair for pair in per_day if (pair[0] >= start) == in_test]) for in_test in (False, True)
    )
    sentence = f"The busiest day was {format_day(busiest)} with {count_noun(maximum, 'event')}."
    if not report.is_measured or not before or not test:
        return sentence
    change = test / before - 1
    direction = "fewer" if change < 0 else "more"
    return (
        f"{sentence} The test window has {format_integer(test)} events per day, {format_percent(abs(change))} "
        f"{direction} than the days before it."
    )


def quarantine_sentence(report: Report) -> str:
    """State how many rows were quarantined and which rules they broke."""
    read = sum(source.rows_read for source in report.sources)
    by_rule: dict[str, int] = {}
    for source in report.sources:
        for rule, rows in source.rules.items():
            by_rule[rule] = by_rule.get(rule, 0) + rows
    quarantined = sum(source.quarantined for source in report.sources)
    if quarantined == 0:
        return (
            "The only row passed validation."
            if read == 1
            else f"All {format_integer(read)} rows passed validation."
        )
    ordered = sorted(by_rule.items(), key=lambda pair: (-pair[1], pair[0]))
    reasons = [f"{format_integer(rows)} broke “{rule_label(rule)}”" for rule, rows in ordered[:MAX_NAMED_RULES]]
    rest = sum(rows for _, rows in ordered[MAX_NAMED_RULES:])
    if rest:
        reasons.append(f"{format_integer(rest)} broke other rules")
    return (
        f"{format_integer(quarantined)} of {format_integer(read)} rows ({format_percent(quarantined / read)}) were "
        f"quarantined: {join_words(reasons)}."
    )


def quarantine_days_sentence(report: Report) -> str:
    """State the day with the most quarantined rows and compare it with the median day."""
    per_day: Counter[date] = Counter()
    for day, _, rows in report.quarantine.per_day:
        per_day[day] += rows
    undated = report.quarantine.undated
    rest = (
        f" {count_noun(undated, 'row has', 'rows have')} no readable day, or a day outside the plot."
        if undated
        else ""
    )
    if not per_day:
        return rest.strip()
    worst, maximum = max(per_day.items(), key=lambda pair: (pair[1], pair[0]))
    accepted = dict(report.data.events_per_day).get(worst, 0)
    share = format_percent(maximum / (maximum + accepted))
    sentence = (
        f"{format_day(worst)} has the most quarantined rows: {format_integer(maximum)}, {share} of the rows of "
        "that day."
    )
    if len(per_day) > 1:
        sentence += f" The median of the days with quarantined rows is {format_integer(median(per_day.values()))}."
    return f"{sentence}{rest}"


def schema_sentence(changes: tuple[SchemaChange, ...]) -> str:
    """State how many columns of which tables changed."""
    tables = sorted({change.table for change in changes})
    return f"{count_noun(len(changes), 'column')} of {join_words(tables)} changed between ingests."


def steps_sentence(report: Report) -> str:
    """State the longest step and the step with the lowest throughput."""
    total = sum(step.seconds for step in report.steps)
    longest = max(report.steps, key=lambda step: (step.seconds, step.name))
    share = format_percent(longest.seconds / total) if total else "100%"
    sentence = f"{longest.name} took longest: {format_duration(longest.seconds)}, {share} of the run."
    speeds = sorted((speed, step.name) for step in report.steps if (speed := events_per_second(step)))
    if len(speeds) < 2:
        return sentence
    speed, slowest = speeds[0]
    return f"{sentence} {slowest} has the lowest throughput: {format_integer(speed)} events per second."


def memory_sentence(report: Report) -> str:
    """State the step with the highest peak memory."""
    largest = max(report.steps, key=lambda step: (step.peak_memory, step.name))
    minimum = min(step.peak_memory for step in report.steps)
    return (
        f"{largest.name} has the highest peak memory, {format_memory(largest.peak_memory)}. The lowest is "
        f"{format_memory(minimum)}; all steps share one process."
    )


def events_per_second(step: StepUsage) -> float | None:
    """Return the throughput of a step in events per second; None if the step is too short to measure."""
    return step.events / step.seconds if step.events and step.seconds >= MIN_TIMED_SECONDS else None


def examples_sentence(report: Report) -> str:
    """State how many distinct items the example lists hold and how many repeat the user's recent items."""
    examples = [example for example in report.examples if example.segment != NEW]
    positions = [item.item_id for example in examples for item in example.recommended]
    if not positions:
        return ""
    repeats = sum(
        item.item_id in {recent.item_id for recent in example.recent}
        for example in examples
        for item in example.recommended
    )
    verb = "repeats" if repeats == 1 else "repeat"
    return (
        f"The {count_noun(len(positions), 'position')} of {count_noun(len(examples), 'example list')} hold "
        f"{count_noun(len(set(positions)), 'distinct item')}; {repeats or 'none'} of the positions {verb} a recent "
        "item of the user."
    )


def _mean_per_day(per_day: list[tuple[date, int]]) -> float:
    """Average events per day from the first to the last day; days without events count as 0."""
    if not per_day:
        return 0.0
    return sum(events for _, events in per_day) / ((per_day[-1][0] - per_day[0][0]).days + 1)
