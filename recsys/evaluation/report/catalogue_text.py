"""What the report says in words of shoppers and of the catalogue: who is served how well, and with what."""

from collections.abc import Sequence

from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.comparison.segments import FEW_USERS, HEAD, HEAVY, LIGHT, NEW, TAIL
from recsys.evaluation.metrics.popularity_bias import ALL
from recsys.evaluation.report.contents import Report
from recsys.evaluation.report.formatting import interval, metric_name, percent, several, times, value, whole
from recsys.evaluation.report.model_plots import SEGMENT_LABELS

NEAR = 0.1  # a popularity that differs by a smaller share is called about the same


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


def segments_sentence(report: Report) -> str:
    """Whom the winner serves best and worst, and what is measured on too few to tell."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    parts = {name: winner.segments[name] for name in (NEW, LIGHT, HEAVY)}
    measured = {name: part for name, part in parts.items() if metric in part.metrics}
    told = [
        f"{SEGMENT_LABELS[name]} {value(part.metrics[metric])} ({interval(part.interval)})"
        if part.interval
        else f"{SEGMENT_LABELS[name]} {value(part.metrics[metric])}"
        for name, part in sorted(measured.items(), key=lambda pair: -pair[1].metrics[metric])
    ]
    few = [f"{whole(part.users)} {name}" for name, part in parts.items() if 0 < part.users < FEW_USERS]
    sentence = f"{metric_name(metric)} of {report.winner}, the best served first: {several(told)}."
    return f"{sentence} Only {several(few)} shoppers were measured, too few to rely on." if few else sentence


def items_sentence(report: Report) -> str:
    """How much better the winner finds popular items than others."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    head, tail = (winner.segments[name].metrics.get(metric) for name in (HEAD, TAIL))
    if head is None or tail is None:
        return ""
    if tail == 0:
        return f"{report.winner} finds none of the tail items that shoppers wanted."
    if abs(head / tail - 1) < NEAR:
        return f"{report.winner} finds wanted head and tail items about as well."
    if head > tail:
        return f"{report.winner} finds wanted head items {times(head / tail)} as well as wanted tail items."
    return (
        f"{report.winner} finds wanted tail items {times(tail / head) if head else 'far'} better than head items."
    )


def catalogue_sentence(report: Report) -> str:
    """How much of the catalogue the winner's lists show."""
    catalogue, k = report.winner_on_test.catalogue, report.cutoff
    half = next(i for i, share in enumerate(report.winner_on_test.exposure_curve) if share >= 0.5)
    return (
        f"The lists of {report.winner} show {percent(catalogue[f'coverage@{k}'])} of the catalogue; the "
        f"{half}% of items that are shown most take half of all places."
    )


def exposure_sentence(report: Report) -> str:
    """Which models share places out the most and the least evenly."""
    ginis = sorted((model.catalogue[f"gini@{report.cutoff}"], model.name) for model in report.test)
    (lowest, most_even), (highest, least_even) = ginis[0], ginis[-1]
    if lowest == highest:
        return f"The Gini index is {lowest:.3f}."
    return f"{most_even} is the most even (Gini index {lowest:.3f}), {least_even} the least ({highest:.3f})."


def tradeoff_sentence(report: Report) -> str:
    """Whether a model that shows more of the catalogue costs accuracy, and which models have neither."""
    metric, winner = report.evaluation.metric, report.winner_on_test
    others = [model for model in report.test if model.name != report.winner]
    if not others:
        return f"{report.winner} shows {percent(_coverage(winner, report))} of the catalogue."
    widest = max(others, key=lambda model: (_coverage(model, report), model.name))
    shown, more = _coverage(winner, report), _coverage(widest, report)
    if more <= shown:
        first = f"No other model shows more of the catalogue than {report.winner}, {percent(shown)}"
    else:
        change = widest.metrics[metric] / winner.metrics[metric] - 1 if winner.metrics[metric] else 0
        than = f"{percent(abs(change))} {'lower' if change < 0 else 'higher'} {metric_name(metric)}"
        first = (
            f"{widest.name} shows the most of the catalogue, {percent(more)} beside the {percent(shown)} of "
            f"{report.winner}, at a {than}"
        )
    beaten = sorted(model.name for model in report.test if _is_beaten(model, report))
    return f"{first}. For {several(beaten)} another is both better and shows more." if beaten else f"{first}."


def popularity_sentence(report: Report) -> str:
    """How popular the recommended items are beside those that shoppers had and wanted."""
    bias = report.winner_on_test.popularity_bias[ALL]
    shown, had, wanted = bias.recommended, bias.had, bias.wanted
    return (
        f"On average {percent(shown.share_of_users)} of all shoppers have an item that {report.winner} recommends, "
        f"{percent(had.share_of_users)} one that the shopper had and {percent(wanted.share_of_users)} one that the "
        f"shopper then wanted. Head items take {percent(shown.head_share)} of the places, and are "
        f"{percent(wanted.head_share)} of what was wanted."
    )


def lift_sentence(report: Report) -> str:
    """Whether light shoppers are shown more popular items than they ask for, and heavy ones."""
    bias = report.winner_on_test.popularity_bias
    told = [
        f"{SEGMENT_LABELS[name]} items {_than(part.lift)} those they had and {_than(part.lift_over_wanted)} those "
        "they then wanted"
        for name in (LIGHT, HEAVY)
        if (part := bias.get(name))
    ]
    return f"{report.winner} shows {'; '.join(told)}."


def diversity_sentence(report: Report) -> str:
    """How unlike each other the items of one list are."""
    name, winner = f"diversity@{report.cutoff}", report.winner_on_test
    if name not in winner.catalogue:
        return ""
    by = (
        "by their categories, where 0 is the same category and 1 another root"
        if winner.diversity_by == "categories"
        else "by who has them, where 0 is the same shoppers and 1 no shopper in common"
    )
    sentence = f"Two items of one list by {report.winner} are {winner.catalogue[name]:.2f} apart {by}"
    others = [model for model in report.test if name in model.catalogue and model.name != report.winner]
    if not others:
        return f"{sentence}."
    found = sorted((model.catalogue[name], model.name) for model in others)
    (least, alike), (most, varied) = found[0], found[-1]
    if least == most:
        return f"{sentence}, those of {several([model for _, model in found])} {least:.2f}."
    return (
        f"{sentence}; of the others the lists of {alike} are the most alike ({least:.2f}), those of {varied} "
        f"the most varied ({most:.2f})."
    )


def _than(lift: float) -> str:
    return "about as popular as" if abs(lift) < NEAR else f"{times(1 + lift)} as popular as"


def _coverage(model: ModelMeasurement, report: Report) -> float:
    return model.catalogue[f"coverage@{report.cutoff}"]


def _is_beaten(model: ModelMeasurement, report: Report) -> bool:
    metric = report.evaluation.metric
    others: Sequence[ModelMeasurement] = report.test
    return any(
        other.metrics[metric] > model.metrics[metric] and _coverage(other, report) > _coverage(model, report)
        for other in others
    )
