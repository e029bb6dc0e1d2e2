"""The report's sentences about the models: the winner, its lead, significance, stability, search and blend."""

from collections.abc import Sequence

import numpy as np

from recsys.evaluation.comparison.measurement import ModelMeasurement, rank_models
from recsys.evaluation.comparison.significance import Difference, Lead, compare_pairs, find_lead
from recsys.evaluation.comparison.stability import concordance, summarize_folds
from recsys.evaluation.report.contents import BlendMember, BlendSummary, Report, SearchBudget
from recsys.evaluation.report.formatting import (
    count_noun,
    format_day,
    format_duration,
    format_interval,
    format_metric,
    format_percent,
    join_words,
    metric_label,
)

MAX_NAMED_PAIRS = 3
# Users below which a bootstrap interval is too narrow to call a lead significant.
MIN_COMPARED_USERS = 10

# Kendall's W from which the ranking of models is called stable, and from which it is called partly stable.
MIN_STABLE_CONCORDANCE = 0.9
MIN_PARTLY_STABLE_CONCORDANCE = 0.6


def winner_sentence(report: Report) -> str:
    """State which model is published, its validation metric, and its lead over the next best model."""
    metric = report.evaluation.metric
    winner = report.winner_on_validation
    result = (
        f"its {metric_label(metric)} on the validation window is {format_metric(winner.metrics[metric])} "
        f"(95% confidence interval {format_interval(winner.intervals[metric])})"
    )
    lead = find_lead(report.validation, report.winner, metric)
    if lead is None:
        return f"{report.winner} is the only model: {result}."
    side, other = (
        ("below", "the best of the other models") if lead.difference < 0 else ("above", "the next best model")
    )
    size = _describe_size(lead.difference, lead.relative)
    return (
        f"{report.winner} is published: {result}, {size} {side} {lead.runner_up}, {other}. "
        "The model was chosen on this window; the test window shows how good it is."
    )


def test_window_sentence(report: Report) -> str:
    """State the winner's metric on the test window, its lead over the next best model, and whether that matters."""
    metric = report.evaluation.metric
    winner = report.winner_on_test
    result = (
        f"On the test window, which was not used for model selection, {report.winner} reaches "
        f"{format_metric(winner.metrics[metric])} ({format_interval(winner.intervals[metric])})"
    )
    lead = find_lead(report.test, report.winner, metric)
    if lead is None:
        return f"{result}."
    certainty = _describe_certainty(lead, winner.users, report.evaluation.min_gain)
    size = _describe_size(lead.difference, lead.relative)
    if lead.difference < 0:
        return f"{result}; {lead.runner_up} is better there by {size}. {certainty}"
    return f"{result}, {size} above {lead.runner_up}. {certainty}"


def interval_sentence(measurements: Sequence[ModelMeasurement], metric: str) -> str:
    """Name the models whose confidence intervals overlap with that of the best model."""
    best, *others = rank_models(measurements, metric)
    if not others:
        return f"The bar is the 95% confidence interval of {best.name}."
    bars = "The bars are 95% confidence intervals."
    overlapping = [model.name for model in others if model.intervals[metric][1] >= best.intervals[metric][0]]
    if not overlapping:
        return f"{bars} The interval of {best.name}, the best model, lies above all others."
    return f"{bars} The interval of {best.name}, the best model, overlaps with {join_words(overlapping)}."


def order_sentence(report: Report) -> str:
    """State whether the models have the same order on the test window as on the validation window."""
    metric = report.evaluation.metric
    before, after = (
        [model.name for model in rank_models(window, metric)] for window in (report.validation, report.test)
    )
    if len(after) < 2:
        return ""
    moved = [name for place, name in enumerate(after) if before[place : place + 1] != [name]]
    if not moved:
        return "The models have the same order as on the validation window."
    return f"The rank of {join_words(moved)} differs from the validation window."


def differences_sentence(report: Report) -> str:
    """State which differences on the test window are significant, those of the winner first."""
    pairs = compare_pairs(report.test, report.evaluation.metric)
    if not pairs:
        return ""
    own = sorted(select_pairs(pairs, report.winner), key=lambda pair: pair.difference)
    behind = [pair for pair in own if pair.worse == report.winner and pair.difference > 0]
    ahead = [pair for pair in own if pair not in behind]
    min_gain = report.evaluation.min_gain
    sentences = [_describe_pair(pair, len(pairs), min_gain) for pair in reversed(behind)]
    if ahead:
        sentences.append(_describe_pair(ahead[0], len(pairs), min_gain))
    sentences += _describe_leads(ahead[1:], min_gain)
    others = [pair for pair in pairs if not pair.is_significant and report.winner not in (pair.better, pair.worse)]
    if others:
        named = [f"{pair.better} and {pair.worse}" for pair in others[:MAX_NAMED_PAIRS]]
        if len(others) > MAX_NAMED_PAIRS:
            named.append(count_noun(len(others) - MAX_NAMED_PAIRS, "other pair"))
        sentences.append(f"No significant difference: {'; '.join(named)}.")
    return " ".join(sentences)


def select_pairs(pairs: Sequence[Difference], name: str) -> list[Difference]:
    """Return the pairs that include the model called `name`."""
    return [pair for pair in pairs if name in (pair.better, pair.worse)]


def folds_sentence(report: Report) -> str:
    """State the winner's range over the folds, and whether the ranking of the models is stable over time."""
    folds = fold_metrics(report)
    models = {model.name: model for model in summarize_folds(folds)}
    first = models.get(report.winner) or next(iter(models.values()))
    agreement = concordance(folds)
    result = (
        f"Over {count_noun(len(folds), 'window')}, {first.name} has a mean "
        f"{metric_label(report.evaluation.metric)} of {format_metric(first.mean)} "
        f"(from {format_metric(first.lowest)} to {format_metric(first.highest)})"
    )
    winners = [f"{model.name} on {model.wins}" for model in models.values() if model.wins]
    wins = (
        f"is the best of {len(models)} models on each"
        if first.wins == len(folds)
        else f"is the best model on {first.wins} of them; the best models are {join_words(winners)}"
    )
    if agreement >= MIN_STABLE_CONCORDANCE:
        stability = "The ranking of the models is stable over time"
    elif agreement >= MIN_PARTLY_STABLE_CONCORDANCE:
        stability = "The ranking of the models is partly stable over time"
    else:
        stability = "The ranking of the models is not stable over time, so one window is not enough for a choice"
    return (
        f"{result} and {wins}. {stability} (Kendall's W {agreement:.2f}; 1 means the same order on every window)."
    )


def best_fold_sentence(report: Report) -> str:
    """Name the windows on which the winner has its highest and its lowest metric."""
    metrics = fold_metrics(report)
    name = report.winner if report.winner in metrics[0] else next(iter(metrics[0]))
    starts = [fold.start for fold in report.folds]
    (worst, low), *_, (best, high) = sorted(
        ((start, by_model[name]) for start, by_model in zip(starts, metrics, strict=True)),
        key=lambda pair: pair[1],
    )
    return (
        f"{name} is best on the window from {format_day(best)} ({format_metric(high)}) and worst on the window "
        f"from {format_day(worst)} ({format_metric(low)})."
    )


def fold_metrics(report: Report) -> list[dict[str, float]]:
    """Return for each fold the selection metric by model, for the models that were measured on all folds."""
    metric = report.evaluation.metric
    folds = [{model.name: model.metrics[metric] for model in fold.measurements} for fold in report.folds]
    shared = sorted(name for name in folds[0] if all(name in fold for fold in folds))
    return [{name: fold[name] for name in shared} for fold in folds]


def search_sentence(report: Report) -> str:
    """State how many models were evaluated, the gain of tuning, the models that were skipped, and what it cost."""
    evaluated = [model for model in report.search if model.left_out is None]
    verb = "was" if len(evaluated) == 1 else "were"
    sentences = [f"{count_noun(len(evaluated), 'model')} {verb} evaluated."]
    tuned = [model for model in evaluated if model.gain > 0]
    if tuned:
        best = max(tuned, key=lambda model: model.gain)
        metric = metric_label(report.evaluation.metric)
        sentences.append(f"Tuning improved {best.name} the most: {metric} rose by {format_percent(best.gain)}.")
    elif any(model.trials for model in evaluated):
        sentences.append("Tuning found no better settings than the configured ones.")
    if len(evaluated) < len(report.search):
        sentences.append(f"Skipped: {join_words([model.name for model in report.search if model.left_out])}.")
    if report.search_budget is not None:
        sentences += _describe_budget(report.search_budget)
    return " ".join(sentences)


def _describe_budget(budget: SearchBudget) -> list[str]:
    """State the work of the search and of later fits, and whether the search was stopped."""
    spent = (
        f"The search took {budget.search:,.1f} of {budget.budget:,g} units of work, in "
        f"{format_duration(budget.seconds)}; fitting its models again takes at most {budget.refits:,.1f}."
    )
    return [spent] if budget.stopped is None else [spent, f"It was stopped early: {budget.stopped}."]


def blend_sentence(report: Report, blend: BlendSummary) -> str:
    """State which models have the largest weights in the blend, and which can be removed without a loss."""
    models = count_noun(len(blend.members), "model")
    metric = metric_label(report.evaluation.metric)
    gain = (
        f": with weights that were found without a user, its {metric_label(f'ndcg@{report.cutoff}')} is "
        f"{format_metric(blend.gain)} above that of the best single model"
        if blend.gain is not None
        else ""
    )
    sentences = [
        f"A blend of {models} is published{gain}."
        if blend.chosen
        else f"A blend of {models} was evaluated, but is not better than {report.winner}, which is published alone."
    ]
    segments = {segment for member in blend.members for segment in member.weight_by_segment}
    largest = [
        f"{member.name} for {segment} users ({member.weight_by_segment[segment]:.2f})"
        for segment in sorted(segments)
        for member in (max(blend.members, key=lambda member: member.weight_by_segment.get(segment, 0)),)
    ]
    if largest:
        sentences.append(f"The largest weights: {join_words(largest)}.")
    changes = [(member, member.gain_without) for member in blend.members if member.gain_without is not None]
    if changes:
        sentences.append(_describe_ablation(changes, metric))
    return " ".join(sentences)


def _describe_ablation(changes: Sequence[tuple[BlendMember, float]], metric: str) -> str:
    """State which member the blend needs most, from the change of the metric without each member."""
    member, change = min(changes, key=lambda pair: (pair[1], pair[0].name))
    redundant = [one.name for one, gain in changes if gain >= 0]
    if change >= 0:
        return f"Removing any single member does not lower {metric} on the validation window."
    loss = format_metric(-change)
    sentence = f"Removing {member.name} lowers {metric} on the validation window the most, by {loss}"
    return f"{sentence}; removing {' or '.join(redundant)} does not lower it." if redundant else f"{sentence}."


def _describe_leads(leads: Sequence[Difference], min_gain: float) -> list[str]:
    """State the significance of leads whose sizes are not given."""
    sentences: list[str] = []
    for verdict in (
        "not statistically significant",
        f"statistically significant but below {format_percent(min_gain)}, too small to matter",
        "statistically significant",
    ):
        names = [pair.worse for pair in leads if _describe_significance(pair, min_gain) == verdict]
        noun, verb = ("lead", "is") if len(names) == 1 else ("leads", "are")
        if names:
            sentences.append(f"Its {noun} over {join_words(names)} {verb} {verdict}.")
    return sentences


def _describe_significance(pair: Difference, min_gain: float) -> str:
    if not pair.is_significant:
        return "not statistically significant"
    small = f" but below {format_percent(min_gain)}, too small to matter" if pair.relative < min_gain else ""
    return f"statistically significant{small}"


def _describe_pair(pair: Difference, pairs: int, min_gain: float) -> str:
    if pair.difference == 0:
        return f"{pair.better} and {pair.worse} are equal."
    return (
        f"On the test window, {pair.better} is better than {pair.worse} by "
        f"{_describe_size(pair.difference, pair.relative)}, 95% confidence interval "
        f"{format_interval(pair.interval)}. At the 5% level after Holm's correction for "
        f"{count_noun(pairs, 'comparison')}, this is {_describe_significance(pair, min_gain)}."
    )


def _describe_size(difference: float, relative: float) -> str:
    """Format the size of a difference, with its share of the worse model's mean where that is not 0."""
    share = f" ({format_percent(abs(relative))})" if np.isfinite(relative) else ""
    return f"{format_metric(abs(difference))}{share}"


def _describe_certainty(lead: Lead, users: int, min_gain: float) -> str:
    """State whether a difference may be chance, and whether it matters."""
    if users < MIN_COMPARED_USERS:
        return (
            f"Only {count_noun(users, 'user')} could be measured, too few to tell whether the difference is chance."
        )
    low, high = lead.interval
    interval = f"95% confidence interval of the difference {format_interval(lead.interval)}"
    if low <= 0 <= high:
        return f"The difference may be chance ({interval})."
    if abs(lead.relative) < min_gain:
        return f"The difference is below {format_percent(min_gain)}, too small to matter ({interval})."
    return f"The difference is statistically significant and large enough to matter ({interval})."
