"""What the report says of the models in words: which is best, by how much, how surely, and for how long."""

from collections.abc import Sequence

from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.comparison.significance import Difference, Lead, compare_pairs, find_lead
from recsys.evaluation.comparison.stability import concordance, summarize_folds
from recsys.evaluation.report.contents import BlendMember, BlendSummary, Report
from recsys.evaluation.report.formatting import count, day, interval, metric_name, percent, several, value

NAMED_PAIRS = 3
SAME_ORDER = 0.9  # Kendall's W from which the order of models is called the same
SIMILAR_ORDER = 0.6


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


def interval_sentence(measurements: Sequence[ModelMeasurement], metric: str) -> str:
    """Which models' intervals reach that of the best."""
    best, *others = sorted(measurements, key=lambda model: (-model.metrics[metric], model.name))
    if not others:
        return f"The bar is the 95% interval of {best.name}."
    reaching = [model.name for model in others if model.intervals[metric][1] >= best.intervals[metric][0]]
    if not reaching:
        return f"The bars are 95% intervals; that of {best.name} lies above all others."
    return f"The bars are 95% intervals; that of {best.name}, the best here, overlaps with {several(reaching)}."


def order_sentence(report: Report) -> str:
    """Whether the models keep on the test window the order they had on the validation window."""
    metric = report.evaluation.metric
    before, after = (
        [model.name for model in sorted(window, key=lambda model: (-model.metrics[metric], model.name))]
        for window in (report.validation, report.test)
    )
    if len(after) < 2:
        return ""
    moved = [name for place, name in enumerate(after) if before[place : place + 1] != [name]]
    if not moved:
        return "The models come in the same order as on the validation window."
    return (
        f"{several(moved)} stand elsewhere in the order than on the validation window; the others keep their place."
    )


def differences_sentence(report: Report) -> str:
    """How surely the winner is ahead on the test window, and which models cannot be told apart."""
    pairs = compare_pairs(report.test, report.evaluation.metric)
    if not pairs:
        return ""
    own = sorted(pairs_of(pairs, report.winner), key=lambda pair: pair.difference)
    behind = [pair for pair in own if pair.worse == report.winner and pair.difference > 0]
    ahead = [pair for pair in own if pair not in behind]
    parts = [_in_words(pair, len(pairs)) for pair in reversed(behind)]
    if ahead:
        parts.append(_in_words(ahead[0], len(pairs)))
    parts += _leads_in_words(ahead[1:])
    alike = [pair for pair in pairs if not pair.is_significant and report.winner not in (pair.better, pair.worse)]
    if alike:
        named = [f"{pair.better} from {pair.worse}" for pair in alike[:NAMED_PAIRS]]
        rest = f", nor {count(len(alike) - NAMED_PAIRS, 'more pair')}" if len(alike) > NAMED_PAIRS else ""
        parts.append(f"The window does not tell {several(named)}{rest}.")
    return " ".join(parts)


def pairs_of(pairs: Sequence[Difference], name: str) -> list[Difference]:
    """The pairs that one model is in."""
    return [pair for pair in pairs if name in (pair.better, pair.worse)]


def folds_sentence(report: Report) -> str:
    """Whether the choice would have been the same at other times."""
    folds = fold_metrics(report)
    models = {model.name: model for model in summarize_folds(folds)}
    first = models.get(report.winner) or next(iter(models.values()))
    agreement = concordance(folds)
    reached = (
        f"Over {count(len(folds), 'window')} {first.name} reached {value(first.lowest)} to {value(first.highest)}, "
        f"{value(first.mean)} on average"
    )
    winners = [f"{model.name} on {model.wins}" for model in models.values() if model.wins]
    won = (
        f"and was the best of {len(models)} models on each"
        if first.wins == len(folds)
        else f"and was the best on {first.wins} of them; the best were {several(winners)}"
    )
    if agreement >= SAME_ORDER:
        stable = "The ranking is stable in time"
    elif agreement >= SIMILAR_ORDER:
        stable = "The ranking changes somewhat from window to window"
    else:
        stable = "The ranking is not stable in time: a choice made on one window says little about the next"
    return f"{reached}, {won}. {stable} (Kendall's W {agreement:.2f}, where 1 is the same order on every window)."


def best_fold_sentence(report: Report) -> str:
    """When the winner did best and worst."""
    metrics = fold_metrics(report)
    name = report.winner if report.winner in metrics[0] else next(iter(metrics[0]))
    starts = [fold.start for fold in report.folds]
    (worst, low), *_, (best, high) = sorted(
        ((start, of_models[name]) for start, of_models in zip(starts, metrics, strict=True)),
        key=lambda pair: pair[1],
    )
    return f"{name} did best from {day(best)} ({value(high)}) and worst from {day(worst)} ({value(low)})."


def fold_metrics(report: Report) -> list[dict[str, float]]:
    """The metric of every model that was measured on all windows, window by window."""
    metric = report.evaluation.metric
    folds = [{model.name: model.metrics[metric] for model in fold.measurements} for fold in report.folds]
    shared = sorted(name for name in folds[0] if all(name in fold for fold in folds))
    return [{name: fold[name] for name in shared} for fold in folds]


def search_sentence(report: Report) -> str:
    """How many models were tried, which gained by tuning, and which were left out."""
    tried = [model for model in report.search if model.left_out is None]
    parts = [f"{count(len(tried), 'model').capitalize()} took part."]
    tuned = [model for model in tried if model.gain > 0]
    if tuned:
        best = max(tuned, key=lambda model: model.gain)
        metric = metric_name(report.evaluation.metric)
        parts.append(f"Tuning did the most for {best.name}: {metric} rose by {value(best.gain)}.")
    elif any(model.trials for model in tried):
        parts.append("No other settings than those given did better.")
    if len(tried) < len(report.search):
        parts.append(f"Left out: {several([model.name for model in report.search if model.left_out])}.")
    return " ".join(parts)


def blend_sentence(report: Report, blend: BlendSummary) -> str:
    """Which models the blend leans on, and which it could do without."""
    models = count(len(blend.members), "model")
    parts = [
        f"A blend of {models} is published."
        if blend.chosen
        else f"A blend of {models} was tried; {report.winner} alone is published: it did no worse."
    ]
    segments = {segment for member in blend.members for segment in member.weight_by_segment}
    heaviest = [
        f"{member.name} the most for {segment} shoppers ({member.weight_by_segment[segment]:.2f})"
        for segment in sorted(segments)
        for member in (max(blend.members, key=lambda member: member.weight_by_segment.get(segment, 0)),)
    ]
    if heaviest:
        parts.append(f"Of the weights, which say how far each model's ranking counts, {several(heaviest)}.")
    tried = [(member, member.gain_without) for member in blend.members if member.gain_without is not None]
    if tried:
        parts.append(_needed(tried, metric_name(report.evaluation.metric)))
    return " ".join(parts)


def _needed(tried: Sequence[tuple[BlendMember, float]], metric: str) -> str:
    member, gain = min(tried, key=lambda pair: (pair[1], pair[0].name))
    useless = [one.name for one, change in tried if change >= 0]
    if gain >= 0:
        return f"Any one of them could be left out without a loss of {metric} on the validation window."
    needed = f"Without {member.name} {metric} on the validation window would fall most, by {value(-gain)}"
    return f"{needed}; {several(useless)} could be left out without a loss." if useless else f"{needed}."


def _leads_in_words(leads: Sequence[Difference]) -> list[str]:
    """Which of the leads that are not told one by one are clear."""
    told: list[str] = []
    for clear, verdict in ((False, "may be chance"), (True, "clear")):
        names = [pair.worse for pair in leads if pair.is_significant == clear]
        verb = "" if not clear else "is " if len(names) == 1 else "are "
        if names:
            told.append(f"Its lead{'s' if len(names) > 1 else ''} over {several(names)} {verb}{verdict}.")
    return told


def _in_words(pair: Difference, pairs: int) -> str:
    if pair.difference == 0:
        return f"{pair.better} and {pair.worse} are equal."
    surely = "clear" if pair.is_significant else "which may be chance"
    return (
        f"On the test window {pair.better} is better than {pair.worse} by {value(pair.difference)} "
        f"({interval(pair.interval)}), {surely} after correction for {count(pairs, 'comparison')}."
    )


def _certainty(lead: Lead) -> str:
    bounds = f"its 95% interval is {interval(lead.interval)}"
    return f"The lead is clear: {bounds}." if lead.interval[0] > 0 else f"The lead may be chance: {bounds}."
