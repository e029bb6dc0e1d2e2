"""Number, date and name formatting for the report."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

MAX_TITLE_LENGTH = 90

METRIC_LABELS = {
    "recall": "Recall",
    "precision": "Precision",
    "f1": "F1",
    "ndcg": "NDCG",
    "map": "MAP",
    "mrr": "MRR",
    "hit_rate": "Hit rate",
    "auc": "AUC",
    "coverage": "Coverage",
    "gini": "Gini index",
    "novelty": "Novelty",
    "diversity": "Diversity",
    "popularity": "Popularity",
    "head_share": "Head items",
}


def format_integer(number: float) -> str:
    """Format a whole number with a comma between thousands."""
    return f"{number:,.0f}"


def format_metric(number: float) -> str:
    """Format a metric with four decimals and a typographic minus sign."""
    return f"{round(number, 4) + 0:.4f}".replace("-", "−")


def format_interval(bounds: tuple[float, float]) -> str:
    """Format the lower and the upper bound of an interval, as in `0.0100 to 0.0200`."""
    return f"{format_metric(bounds[0])} to {format_metric(bounds[1])}"


def format_percent(share: float) -> str:
    """Format a share as a percentage: whole percents from 10 % on, two significant digits below."""
    hundredths = share * 100
    if hundredths == 0 or hundredths >= 10:
        return f"{hundredths:.0f}%"
    if hundredths >= 1:
        return f"{hundredths:.1f}%"
    return f"{hundredths:.2f}%" if hundredths >= 0.01 else "under 0.01%"


def format_duration(seconds: float) -> str:
    """Format a duration in its two largest units."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def format_memory(size: float) -> str:
    """Format a number of bytes in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 0.95e9 else f"{size / 1e6:.0f} MB"


def format_day(moment: date) -> str:
    """Format a day, as in 31 December 2017."""
    return f"{moment.day} {moment:%B %Y}"


def format_short_day(moment: date) -> str:
    """Format a day, as in 31 Dec 17."""
    return f"{moment.day} {moment:%b %y}"


def format_window(start: datetime | None, end: datetime) -> str:
    """Format the days of a window whose end is exclusive; a window without a start is `up to` its last day."""
    last = format_day(end - timedelta(microseconds=1))
    return f"up to {last}" if start is None else f"{format_day(start)} to {last}"


def metric_label(metric: str) -> str:
    """Return the displayed name of a metric: Hit rate@20 for `hit_rate@20`, Hit rate for `hit_rate`."""
    base, at, cutoff = metric.partition("@")
    return f"{METRIC_LABELS[base]}{at}{cutoff}"


def rule_label(rule: str) -> str:
    """Return the displayed name of a validation rule: price is an amount for `price_is_an_amount`.

    The settings after a colon keep their names.
    """
    name, colon, advice = rule.partition(":")
    return name.replace("_", " ") + colon + advice


def shorten(title: str) -> str:
    """Cut a title to two lines, ending in an ellipsis."""
    return title if len(title) <= MAX_TITLE_LENGTH else f"{title[: MAX_TITLE_LENGTH - 1].rstrip()}…"


def format_factor(factor: float) -> str:
    """Format a factor, as in 1.4 times or 12 times."""
    return f"{factor:.1f} times" if factor < 9.95 else f"{factor:.0f} times"


def format_p_value(p_value: float) -> str:
    """Format a p-value with two to four decimals, or as `under 0.0001`."""
    if p_value < 0.0001:
        return "under 0.0001"
    return f"{p_value:.4f}" if p_value < 0.01 else f"{p_value:.2f}"


def format_settings(values: Mapping[str, float]) -> str:
    """Format tuned settings as `name value` pairs; without any, state that the configured settings are used."""
    pairs = [f"{name} {number:.3g}" for name, number in values.items()]
    return join_words(pairs) if pairs else "configured settings"


def join_words(words: Sequence[str]) -> str:
    """Join words as in `a`, `a and b`, `a, b and c`."""
    if len(words) <= 1:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def count_noun(number: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun, as in 1 window or 4 windows."""
    return f"{format_integer(number)} {singular if number == 1 else plural or f'{singular}s'}"
