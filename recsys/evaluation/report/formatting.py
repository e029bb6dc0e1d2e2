"""Figures and names as a reader of the report sees them."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta

TITLE_LENGTH = 90

METRIC_NAMES = {
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


def whole(number: float) -> str:
    """A whole number with commas between thousands."""
    return f"{number:,.0f}"


def value(number: float) -> str:
    """A metric, to four places, with a true minus sign."""
    return f"{round(number, 4) + 0:.4f}".replace("-", "−")


def interval(bounds: tuple[float, float]) -> str:
    """An interval's two ends, in words."""
    return f"{value(bounds[0])} to {value(bounds[1])}"


def percent(share: float) -> str:
    """A share in percent, to two figures or whole percents."""
    hundredths = share * 100
    if hundredths == 0 or hundredths >= 10:
        return f"{hundredths:.0f}%"
    if hundredths >= 1:
        return f"{hundredths:.1f}%"
    return f"{hundredths:.2f}%" if hundredths >= 0.01 else "under 0.01%"


def duration(seconds: float) -> str:
    """Seconds in the two largest units that matter."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def memory(size: float) -> str:
    """Bytes in MB or GB."""
    return f"{size / 1e9:.1f} GB" if size >= 0.95e9 else f"{size / 1e6:.0f} MB"


def day(moment: date) -> str:
    """A day, as in 31 December 2017."""
    return f"{moment.day} {moment:%B %Y}"


def short_day(moment: date) -> str:
    """A day, as in 31 Dec 17."""
    return f"{moment.day} {moment:%b %y}"


def span(start: datetime | None, end: datetime) -> str:
    """The days of a window that ends before `end`."""
    last = day(end - timedelta(microseconds=1))
    return f"up to {last}" if start is None else f"{day(start)} to {last}"


def metric_name(metric: str) -> str:
    """`hit_rate@20` as Hit rate@20, `hit_rate` as Hit rate."""
    base, at, cutoff = metric.partition("@")
    return f"{METRIC_NAMES[base]}{at}{cutoff}"


def rule_in_words(rule: str) -> str:
    """`price_is_an_amount` as price is an amount."""
    return rule.replace("_", " ")


def shorten(title: str) -> str:
    """A title that fits on two lines."""
    return title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1].rstrip()}…"


def times(factor: float) -> str:
    """A factor, as in 1.4 times, or 12 times."""
    return f"{factor:.1f} times" if factor < 9.95 else f"{factor:.0f} times"


def chance(p_value: float) -> str:
    """A p-value to two figures, or what it is under."""
    if p_value < 0.0001:
        return "under 0.0001"
    return f"{p_value:.4f}" if p_value < 0.01 else f"{p_value:.2f}"


def settings_in_words(values: Mapping[str, float]) -> str:
    """Settings that were found, or that the given ones stay."""
    found = [f"{name} {number:.3g}" for name, number in values.items()]
    return several(found) if found else "its own settings"


def several(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) <= 1:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number and its noun, as in 1 window, 4 windows."""
    return f"{whole(number)} {one if number == 1 else many or f'{one}s'}"
