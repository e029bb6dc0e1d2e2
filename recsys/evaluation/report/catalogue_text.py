"""The report's sentences about user segments and the catalogue: accuracy by segment, coverage, popularity bias."""

from collections.abc import Sequence

from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.comparison.popularity_bias import ALL
from recsys.evaluation.report.contents import Report
from recsys.evaluation.report.formatting import (
    count_noun,
    format_factor,
    format_integer,
    format_interval,
    format_metric,
    format_percent,
    join_words,
    metric_label,
)
from recsys.evaluation.report.model_plots import SEGMENT_LABELS
from recsys.evaluation.segments import HEAD, HEAVY, LIGHT, MIN_RELIABLE_USERS, NEW, TAIL

MIN_RELATIVE_DIFFERENCE = 0.1  # smaller differences are called about equal


def cold_sentence(report: Report) -> str:
    """State how many users of the test window have no history, and how accurate their popular list is."""
    winner = report.winner_on_test
    total = winner.users + winner.cold_users
    if winner.cold_users == 0:
        return f"All {format_integer(total)} users of the test window have a history."
    share = format_percent(winner.cold_users / total)
    verb = "is" if winner.cold_users == 1 else "are"
    sentence = (
        f"{format_integer(winner.cold_users)} of {count_noun(total, 'user')} of the test window ({share}) {verb} "
        "new, without history. They are measured separately"
    )
    metric = report.evaluation.metric
    metrics = winner.segments[NEW].metrics
    if metric not in metrics:
        return f"{sentence}."
    result = f"{metric_label(metric)} {format_metric(metrics[metric])}"
    return f"{sentence}, on the popular list that they get ({result})."


def segments_sentence(report: Report) -> str:
    """Order the user segments by the winner's metric, and name the segments with too few users."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    segments = {name: winner.segments[name] for name in (NEW, LIGHT, HEAVY)}
    measured = {name: segment for name, segment in segments.items() if metric in segment.metrics}
    values = [
        f"{SEGMENT_LABELS[name]} {format_metric(segment.metrics[metric])} ({format_interval(segment.interval)})"
        if segment.interval
        else f"{SEGMENT_LABELS[name]} {format_metric(segment.metrics[metric])}"
        for name, segment in sorted(measured.items(), key=lambda pair: -pair[1].metrics[metric])
    ]
    small = [
        f"{format_integer(segment.users)} {name}"
        for name, segment in segments.items()
        if 0 < segment.users < MIN_RELIABLE_USERS
    ]
    label = f"{metric_label(metric)} of {report.winner} by user segment"
    sentence = f"{label}, in descending order: {join_words(values)}."
    if not small:
        return sentence
    return f"{sentence} Segments with too few users for a reliable mean: {join_words(small)}."


def items_sentence(report: Report) -> str:
    """Compare the winner's metric on head items with that on tail items."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    head, tail = (winner.segments[name].metrics.get(metric) for name in (HEAD, TAIL))
    if head is None or tail is None:
        return ""
    label = f"The {metric_label(metric)} of {report.winner}"
    if tail == 0:
        return f"{label} on tail items is 0."
    if abs(head / tail - 1) < MIN_RELATIVE_DIFFERENCE:
        return f"{label} on head items is about the same as on tail items."
    if head > tail:
        return f"{label} on head items is {format_factor(head / tail)} that on tail items."
    if head == 0:
        return f"{label} on head items is 0."
    return f"{label} on tail items is {format_factor(tail / head)} that on head items."


def catalogue_sentence(report: Report) -> str:
    """State how much of the catalogue the winner's lists cover, and how concentrated they are."""
    catalogue, k = report.winner_on_test.catalogue, report.cutoff
    half = next(i for i, share in enumerate(report.winner_on_test.exposure_curve) if share >= 0.5)
    return (
        f"The lists of {report.winner} cover {format_percent(catalogue[f'coverage@{k}'])} of the catalogue. The "
        f"{half}% most recommended items take half of all list positions."
    )


def exposure_sentence(report: Report) -> str:
    """Name the models with the lowest and the highest Gini index."""
    ginis = sorted((model.catalogue[f"gini@{report.cutoff}"], model.name) for model in report.test)
    (lowest, most_even), (highest, least_even) = ginis[0], ginis[-1]
    if lowest == highest:
        return f"The Gini index is {lowest:.3f}."
    return f"{most_even} has the lowest Gini index ({lowest:.3f}), {least_even} the highest ({highest:.3f})."


def tradeoff_sentence(report: Report) -> str:
    """Compare the winner with the model of the highest coverage, and name the dominated models."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    others = [model for model in report.test if model.name != report.winner]
    if not others:
        return f"{report.winner} covers {format_percent(_coverage(winner, report))} of the catalogue."
    widest = max(others, key=lambda model: (_coverage(model, report), model.name))
    own, highest = _coverage(winner, report), _coverage(widest, report)
    if highest <= own:
        sentence = f"{report.winner} has the highest coverage, {format_percent(own)}"
    else:
        change = widest.metrics[metric] / winner.metrics[metric] - 1 if winner.metrics[metric] else 0
        direction = "lower" if change < 0 else "higher"
        sentence = (
            f"{widest.name} has the highest coverage, {format_percent(highest)} (coverage of {report.winner}: "
            f"{format_percent(own)}), and its {metric_label(metric)} is {format_percent(abs(change))} {direction}"
        )
    dominated = sorted(model.name for model in report.test if _is_dominated(model, report))
    if not dominated:
        return f"{sentence}."
    verb = "is" if len(dominated) == 1 else "are"
    return f"{sentence}. {join_words(dominated)} {verb} dominated: another model is better in both."


def popularity_sentence(report: Report) -> str:
    """Compare the popularity of recommended items with that of the users' history and relevant items."""
    bias = report.winner_on_test.popularity_bias[ALL]
    shown, history, relevant = bias.recommended, bias.had, bias.wanted
    return (
        f"On average, {format_percent(shown.share_of_users)} of all users have interacted with an item that "
        f"{report.winner} recommends, {format_percent(history.share_of_users)} with an item of a user's history "
        f"and {format_percent(relevant.share_of_users)} with a relevant item of the test window. Head items take "
        f"{format_percent(shown.head_share)} of the list positions and are {format_percent(relevant.head_share)} "
        "of the relevant items."
    )


def lift_sentence(report: Report) -> str:
    """State how popular the items recommended to light and heavy users are, relative to their own items."""
    bias = report.winner_on_test.popularity_bias
    comparisons = [
        f"to {SEGMENT_LABELS[name]} are {_compare(part.lift)} the items of their history and "
        f"{_compare(part.lift_over_wanted)} their relevant items"
        for name in (LIGHT, HEAVY)
        if (part := bias.get(name))
    ]
    return f"The items that {report.winner} recommends {'; those '.join(comparisons)}."


def diversity_sentence(report: Report) -> str:
    """State the intra-list diversity of the winner, and name the least and the most diverse other models."""
    name, winner = f"diversity@{report.cutoff}", report.winner_on_test
    if name not in winner.catalogue:
        return ""
    basis = (
        "their categories: 0 is the same category, 1 a different root category"
        if winner.diversity_by == "categories"
        else "their users: 0 is the same users, 1 no user in common"
    )
    sentence = (
        f"The mean dissimilarity of two items in a list of {report.winner} is {winner.catalogue[name]:.2f}, based "
        f"on {basis}."
    )
    others = [model for model in report.test if name in model.catalogue and model.name != report.winner]
    if not others:
        return sentence
    values = sorted((model.catalogue[name], model.name) for model in others)
    (lowest, least_diverse), (highest, most_diverse) = values[0], values[-1]
    if lowest == highest:
        return f"{sentence} For {join_words([model for _, model in values])} it is {lowest:.2f}."
    return (
        f"{sentence} Of the other models, {least_diverse} is the least diverse ({lowest:.2f}) and {most_diverse} "
        f"the most diverse ({highest:.2f})."
    )


def _compare(lift: float) -> str:
    if abs(lift) < MIN_RELATIVE_DIFFERENCE:
        return "about as popular as"
    return f"{format_factor(1 + lift)} as popular as"


def _coverage(model: ModelMeasurement, report: Report) -> float:
    return model.catalogue[f"coverage@{report.cutoff}"]


def _is_dominated(model: ModelMeasurement, report: Report) -> bool:
    """Return whether another model has both a higher metric and a higher coverage."""
    metric = report.evaluation.metric
    others: Sequence[ModelMeasurement] = report.test
    return any(
        other.metrics[metric] > model.metrics[metric] and _coverage(other, report) > _coverage(model, report)
        for other in others
    )
