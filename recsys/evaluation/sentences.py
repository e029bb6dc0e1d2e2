"""What the report says in words: who won, by how much, on what data."""

from typing import Final

from recsys.evaluation.differences import Lead, find_lead
from recsys.evaluation.formatting import (
    day,
    interval,
    metric_name,
    percent,
    rule_in_words,
    value,
    whole,
)
from recsys.evaluation.report_data import Report
from recsys.evaluation.segments import NEW

NAMED_RULES = 3

EXPLANATIONS: Final = {
    "ndcg": "How much of what a shopper went on to want is in the list, where a hit near the top counts for "
    "more than one further down. 1 means that everything wanted stood at the top.",
    "recall": "Of everything a shopper went on to want, the share that was in the list.",
    "hit_rate": "Share of shoppers whose list held at least one item that they went on to want.",
    "precision": "Of the places in the list, the share that held something the shopper went on to want.",
    "f1": "Recall and precision in one figure, high only when both are.",
    "map": "How early the hits come. Each hit counts as the share of hits among the places down to it; the sum "
    "is divided by the number of items the shopper wanted.",
    "mrr": "How far down the first hit is: 1 when it comes first, 0.5 when second, 0.33 when third.",
    "auc": "The chance that an item the shopper wanted stands above one the shopper did not. A blind draw "
    "gives 0.5.",
    "coverage": "Share of the catalogue that is in at least one shopper's list.",
    "gini": "How unevenly the lists spread attention: 0 when every item is shown as often as any other, 1 when "
    "a single item takes every place.",
    "novelty": "How far the lists go beyond what everyone has, in bits: one bit more means items that half as "
    "many shoppers have.",
}


def winner_sentence(report: Report) -> str:
    """Which model is published and what it reached where it was chosen."""
    metric = report.evaluation.metric
    winner = report.winner_on_validation
    reached = (
        f"its {metric_name(metric)} on the validation window was {value(winner.metrics[metric])} "
        f"(95% interval {interval(winner.intervals[metric])})"
    )
    lead = find_lead(report.validation, report.winner, metric)
    if lead is None:
        return f"{report.winner} was the only model: {reached}."
    share = abs(lead.difference) / (winner.metrics[metric] - lead.difference or 1)
    if lead.difference < 0:
        return (
            f"{report.winner} is published: {reached}, {value(-lead.difference)} ({percent(share)}) below "
            f"{lead.runner_up}, the best of the others."
        )
    ahead = f"{value(lead.difference)} ({percent(share)}) above the next best, {lead.runner_up}"
    return f"{report.winner} won: {reached}, {ahead}. {_certainty(lead)}"


def test_sentence(report: Report) -> str:
    """What the winner reached where nothing was chosen, and whether another did better there."""
    metric = report.evaluation.metric
    winner = report.winner_on_test
    reached = (
        f"On the test window, which had no part in the choice, {report.winner} reached "
        f"{value(winner.metrics[metric])} ({interval(winner.intervals[metric])})"
    )
    lead = find_lead(report.test, report.winner, metric)
    if lead is None:
        return f"{reached}."
    if lead.difference < 0:
        return f"{reached}; {lead.runner_up} was ahead of it there by {value(-lead.difference)}."
    return f"{reached}, {value(lead.difference)} above {lead.runner_up} ({interval(lead.interval)})."


def cold_sentence(report: Report) -> str:
    """How many users of the test window had no history."""
    winner = report.winner_on_test
    everyone = winner.users + winner.cold_users
    if winner.cold_users == 0:
        return f"All {whole(everyone)} shoppers measured on the test window had a history."
    share = percent(winner.cold_users / everyone)
    sentence = (
        f"{whole(winner.cold_users)} of the {whole(everyone)} shoppers of the test window ({share}) were "
        "new, without any history; they are measured apart"
    )
    metric = report.evaluation.metric
    metrics = winner.segments[NEW].metrics
    if metric not in metrics:
        return f"{sentence}."
    return f"{sentence}, on the popular list that they get ({metric_name(metric)} {value(metrics[metric])})."


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
        f"{_join(reasons)}."
    )


def data_sentence(report: Report) -> str:
    """How much data there is and how it is spread."""
    data = report.data
    return (
        f"{whole(data.users)} shoppers left {whole(data.events)} events on {whole(data.items)} items from "
        f"{day(data.first_day)} to {day(data.last_day)}. Half of the shoppers have "
        f"{whole(data.median_events_per_user)} events or more, and {percent(data.items_for_most_events)} of the "
        "items make 80% of the events."
    )


def catalogue_sentence(report: Report) -> str:
    """How much of the catalogue the winner's lists show."""
    catalogue, k = report.winner_on_test.catalogue, report.cutoff
    half = next(i for i, share in enumerate(report.winner_on_test.exposure_curve) if share >= 0.5)
    return (
        f"The lists of {report.winner} show {percent(catalogue[f'coverage@{k}'])} of the catalogue; the "
        f"{half}% of items that are shown most take half of all places."
    )


def _certainty(lead: Lead) -> str:
    bounds = f"its 95% interval is {interval(lead.interval)}"
    return f"The lead is clear: {bounds}." if lead.interval[0] > 0 else f"The lead may be chance: {bounds}."


def _join(parts: list[str]) -> str:
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"
