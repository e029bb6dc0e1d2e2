"""What the report says in words of the users who were screened out, and of what that changed."""

from recsys.evaluation.report.contents import ScreenComparison, ScreenedMetric, ScreeningSummary
from recsys.evaluation.report.formatting import count, interval, metric_name, percent, several, value, whole

ORIGINS = {
    "label": "by the labels of analysts",
    "online": "while they were on the site",
    "nightly": "by the nightly detectors",
}


def screening_sentence(screening: ScreeningSummary) -> str:
    """How many users do not behave like shoppers, who found them, and what became of them."""
    found = screening.screened_users
    if not found:
        return (
            f"Each of the {count(screening.users, 'user')} behaves like a shopper, as far as can be told: nobody "
            "was screened out, and the models learned from everyone."
        )
    users = f"{count(found, 'user')} of {whole(screening.users)} ({percent(found / screening.users)})"
    does = "does" if found == 1 else "do"
    share = percent(screening.screened_events / max(1, screening.events))
    events = f"{count(screening.screened_events, 'event')} ({share} of all)"
    by = [f"{whole(number)} {ORIGINS[origin]}" for origin, number in screening.by_origin.items() if number]
    return f"{users} {does} not behave like shoppers: {several(by)}. {_consequence(screening, events)}"


def _consequence(screening: ScreeningSummary, events: str) -> str:
    if screening.shadow:
        return (
            f"They are only reported here: anomalies.nightly is shadow, so the models learned from their {events} "
            "too, and they have lists like everyone else."
        )
    return (
        f"Their {events} taught the models nothing, and they get the popular list, like a visitor of whom nothing "
        "is known. All figures of this report are without them."
    )


def labels_sentence(screening: ScreeningSummary) -> str:
    """What analysts said, and whether a detector learned from it."""
    known = screening.bots + screening.fine
    if known == 0:
        said = "No analyst has labelled a user yet"
    else:
        said = (
            f"Analysts have labelled {count(known, 'user')}: {whole(screening.bots)} as bots, "
            f"{whole(screening.fine)} as fine"
        )
    if screening.has_labeled_detector:
        return f"{said}; a detector that learns from these labels took part."
    return f"{said}; from {whole(screening.min_labels)} labels of both kinds on, a detector learns from them."


def comparison_sentence(comparison: ScreenComparison) -> str:
    """Whether the lists of ordinary shoppers are better for what was left out, worse, or neither."""
    first = comparison.metrics[0]
    measured = (
        "What is published was fitted a second time, from everyone's events. On the test window, for the "
        f"{count(comparison.users, 'shopper')} who were not screened out, came back and wanted something, its "
        f"{metric_name(first.metric)} is {value(first.with_all)} with the screened users' events and "
        f"{value(first.without)} without them"
    )
    return f"{measured}: {_verdict(first)}"


def _verdict(metric: ScreenedMetric) -> str:
    difference = metric.without - metric.with_all
    low, high = metric.interval
    share = percent(abs(difference) / metric.with_all) if metric.with_all else "all"
    spread = f"(95% interval of the difference {interval(metric.interval)})"
    if low > 0:
        return f"leaving them out makes ordinary shoppers' lists {share} better, more than chance would {spread}."
    if high < 0:
        return f"leaving them out costs ordinary shoppers {share}, more than chance would {spread}."
    return f"the difference is no larger than chance would make it {spread}."
