"""The report's sentences about users that were excluded as bots, and about the effect on accuracy."""

from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric, ScreeningSummary
from recsys.evaluation.report.formatting import (
    count_noun,
    format_integer,
    format_interval,
    format_metric,
    format_percent,
    join_words,
    metric_label,
)

ORIGINS = {
    "label": "by analyst labels",
    "online": "by the online guard",
    "nightly": "by the nightly detectors",
}


def screening_sentence(screening: ScreeningSummary, *, is_measured: bool = True) -> str:
    """State how many users were classified as bots, by which source, and what the run did with them.

    A run that measured nothing has no metrics to speak of.
    """
    flagged = screening.screened_users
    if not flagged:
        return (
            f"None of the {count_noun(screening.users, 'user')} was classified as a bot. The models were trained "
            "on the events of all users."
        )
    share = format_percent(flagged / screening.users)
    users = f"{count_noun(flagged, 'user')} of {format_integer(screening.users)} ({share})"
    verb = "was" if flagged == 1 else "were"
    event_share = format_percent(screening.screened_events / max(1, screening.events))
    events = f"{count_noun(screening.screened_events, 'event')} ({event_share} of all events)"
    origins = [
        f"{format_integer(number)} {ORIGINS[origin]}" for origin, number in screening.by_origin.items() if number
    ]
    return (
        f"{users} {verb} classified as bots: {join_words(origins)}. {_consequence(screening, events, is_measured)}"
    )


def _consequence(screening: ScreeningSummary, events: str, is_measured: bool) -> str:
    if screening.shadow:
        return (
            "The setting anomalies.nightly is shadow, so they are only reported: the models were trained on their "
            f"{events} too, and they get personal lists."
        )
    sentence = (
        f"Their {events} were excluded from training, and they get the popular list instead of a personal one."
    )
    if not is_measured:
        return sentence
    return (
        f"{sentence} All metrics of this report exclude them. The models of a window learn from all users except "
        "those who are flagged by the events before it."
    )


def labels_sentence(screening: ScreeningSummary) -> str:
    """State how many users analysts have labeled, and whether a detector was trained on the labels."""
    labeled = screening.bots + screening.fine
    if labeled == 0:
        sentence = "Analysts have not labeled any user yet"
    else:
        sentence = (
            f"Analysts have labeled {count_noun(labeled, 'user')}: {format_integer(screening.bots)} as bots and "
            f"{format_integer(screening.fine)} as legitimate"
        )
    if screening.has_labeled_detector:
        return f"{sentence}. A supervised detector was trained on these labels."
    return f"{sentence}. A supervised detector needs {format_integer(screening.min_labels)} labels of both kinds."


def comparison_sentence(comparison: ScreenComparison) -> str:
    """State whether excluding the bots' events from training changed the accuracy for the other users."""
    first = comparison.metrics[0]
    return (
        "The published model was trained a second time on the events of all users. On the test window, for "
        f"{count_noun(comparison.users, 'user')} not classified as bots, its {metric_label(first.metric)} is "
        f"{format_metric(first.with_all)} with the bots' events and {format_metric(first.without)} without them. "
        f"{_verdict(first)}"
    )


def _verdict(metric: ScreenedMetric) -> str:
    difference = metric.without - metric.with_all
    low, high = metric.interval
    share = f"by {format_percent(abs(difference) / metric.with_all)} " if metric.with_all else ""
    interval = f"(95% confidence interval of the difference {format_interval(metric.interval)})"
    if low > 0:
        return f"Excluding them improves the metric {share}with statistical significance {interval}."
    if high < 0:
        return f"Excluding them lowers the metric {share}with statistical significance {interval}."
    return f"The difference is not statistically significant {interval}."
