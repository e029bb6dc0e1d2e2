"""What the report says in words of the data, of the run and of the examples."""

from collections import Counter
from datetime import date
from statistics import median

from recsys.data.quality import SchemaChange
from recsys.evaluation.comparison.segments import NEW
from recsys.evaluation.report.contents import Report, StepUsage
from recsys.evaluation.report.formatting import count, day, duration, memory, percent, rule_in_words, several, whole

NAMED_RULES = 3
SHORTEST = 0.05  # seconds; a shorter step says nothing of speed


def data_sentence(report: Report) -> str:
    """How much data there is and how it is spread."""
    data = report.data
    return (
        f"{whole(data.users)} shoppers left {whole(data.events)} events on {whole(data.items)} items from "
        f"{day(data.first_day)} to {day(data.last_day)}. Half of the shoppers have "
        f"{whole(data.median_events_per_user)} events or more, and {percent(data.items_for_most_events)} of the "
        "items make 80% of the events."
    )


def events_sentence(report: Report) -> str:
    """The busiest day, and whether the test window was busier than the time before."""
    per_day = report.data.events_per_day
    busiest, most = max(per_day, key=lambda pair: (pair[1], pair[0]))
    start = report.windows.validation_end.date()
    before, test = (
        _mean_per_day([pair for pair in per_day if (pair[0] >= start) == within]) for within in (False, True)
    )
    sentence = f"The busiest day was {day(busiest)} with {count(most, 'event')}."
    if not before or not test:
        return sentence
    change = test / before - 1
    than = "fewer" if change < 0 else "more"
    return (
        f"{sentence} The test window had {whole(test)} a day, {percent(abs(change))} {than} than the days before."
    )


def quarantine_sentence(report: Report) -> str:
    """How many rows were set aside and for which rules."""
    read = sum(source.rows_read for source in report.sources)
    by_rule: dict[str, int] = {}
    for source in report.sources:
        for rule, rows in source.rules.items():
            by_rule[rule] = by_rule.get(rule, 0) + rows
    aside = sum(source.quarantined for source in report.sources)
    if aside == 0:
        return f"All {whole(read)} rows that were read passed every check."
    ordered = sorted(by_rule.items(), key=lambda pair: (-pair[1], pair[0]))
    reasons = [f"{whole(rows)} broke “{rule_in_words(rule)}”" for rule, rows in ordered[:NAMED_RULES]]
    rest = sum(rows for _, rows in ordered[NAMED_RULES:])
    if rest:
        reasons.append(f"{whole(rest)} broke other rules")
    return (
        f"{whole(aside)} of the {whole(read)} rows that were read ({percent(aside / read)}) were set aside: "
        f"{several(reasons)}."
    )


def quarantine_days_sentence(report: Report) -> str:
    """On which day the most rows were set aside, and how that compares."""
    per_day: Counter[date] = Counter()
    for told, _, rows in report.quarantine.per_day:
        per_day[told] += rows
    undated = report.quarantine.undated
    rest = f" {count(undated, 'row tells', 'rows tell')} no day, or one outside the plot." if undated else ""
    if not per_day:
        return rest.strip()
    worst, most = max(per_day.items(), key=lambda pair: (pair[1], pair[0]))
    accepted = dict(report.data.events_per_day).get(worst, 0)
    share = percent(most / (most + accepted))
    sentence = f"The most rows, {whole(most)}, were set aside of {day(worst)}: {share} of that day's"
    usual = f", where a usual day with any has {whole(median(per_day.values()))}" if len(per_day) > 1 else ""
    return f"{sentence}{usual}.{rest}"


def schema_sentence(changes: tuple[SchemaChange, ...]) -> str:
    """How many columns of which tables changed."""
    tables = sorted({change.table for change in changes})
    return f"{count(len(changes), 'column')} of {several(tables)} changed between ingests."


def steps_sentence(report: Report) -> str:
    """Which step took longest, and which is the fastest and slowest by events."""
    total = sum(step.seconds for step in report.steps)
    longest = max(report.steps, key=lambda step: (step.seconds, step.name))
    share = percent(longest.seconds / total) if total else "all"
    sentence = f"{longest.name} took longest: {duration(longest.seconds)}, {share} of all."
    speeds = sorted((speed, step.name) for step in report.steps if (speed := events_per_second(step)))
    if len(speeds) < 2:
        return sentence
    slowest = speeds[0]
    return f"{sentence} By events a second {slowest[1]} is the slowest, {whole(slowest[0])}."


def memory_sentence(report: Report) -> str:
    """Which step needed the most memory."""
    largest = max(report.steps, key=lambda step: (step.peak_memory, step.name))
    least = min(step.peak_memory for step in report.steps)
    return (
        f"The most memory was in use in {largest.name}, {memory(largest.peak_memory)}; no step was below "
        f"{memory(least)}, as all share one process."
    )


def events_per_second(step: StepUsage) -> float | None:
    """How fast a step went through its events; None where that says nothing."""
    return step.events / step.seconds if step.events and step.seconds >= SHORTEST else None


def examples_sentence(report: Report) -> str:
    """How much of what is recommended in the examples is a repeat, and how much the lists differ."""
    known = [example for example in report.examples if example.segment != NEW]
    places = [item.item_id for example in known for item in example.recommended]
    if not places:
        return ""
    repeats = sum(
        item.item_id in {had.item_id for had in example.recent} for example in known for item in example.recommended
    )
    kinds = count(len(set(places)), "item")
    again = f"{repeats or 'none'} of the places {'repeats' if repeats == 1 else 'repeat'}"
    return (
        f"The {count(len(places), 'place')} of these {count(len(known), 'list')} hold {kinds}; {again} what the "
        "shopper had last."
    )


def _mean_per_day(per_day: list[tuple[date, int]]) -> float:
    """Events a day from the first day to the last, those without any among them."""
    if not per_day:
        return 0.0
    return sum(events for _, events in per_day) / ((per_day[-1][0] - per_day[0][0]).days + 1)
