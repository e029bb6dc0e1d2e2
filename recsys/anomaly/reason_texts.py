"""The words for behavior features and measures in the reasons of a flag."""

from collections.abc import Mapping
from typing import Final

FEATURE_PHRASES: Final[Mapping[str, str]] = {
    "events": "number of events",
    "days_since_first": "days since the first event",
    "night_share": "share of events at night",
    "carts_per_view": "carts per view",
    "purchases_per_cart": "purchases per cart",
    "purchases_per_view": "purchases per view",
    "refund_share": "share of purchases that were refunded",
    "unpriced_share": "share of purchases without a price",
    "rating_mean": "mean rating",
    "rating_deviation": "spread of ratings",
    "greatest_rating_share": "share of ratings that are the greatest",
    "least_rating_share": "share of ratings that are the least",
    "most_in_minute": "most events within a minute",
    "most_in_hour": "most events within an hour",
    "log_gap_mean": "mean logarithm of seconds between events",
    "log_gap_deviation": "spread of the gaps between events",
    "same_gap_share": "share of gaps of the same length",
    "events_per_active_hour": "events in an active hour",
    "hour_entropy": "variety of the hours of the day",
    "active_days": "days with an event",
    "events_per_active_day": "events on an active day",
    "busiest_day_share": "share of events on the busiest day",
    "most_items_in_minute": "most different items within a minute",
    "items": "number of different items",
    "distinct_share": "different items per event",
    "item_entropy": "variety of items",
    "log_popularity_mean": "mean logarithm of the items' users",
    "log_popularity_deviation": "spread of the items' popularity",
    "rating_dissent": "distance of ratings from those of others",
    "ips": "number of IP addresses",
    "users_per_ip": "users per IP address",
    "most_users_of_ip": "most users of one IP address",
    "coherence": "how much the items belong together",
    "similarity": "likeness to the most similar user",
    "copies": "users with nearly the same items",
    "synchrony": "how much the items are wanted in the same way",
    "block_density": "density of the block of users and items",
    "most_repeats": "most events with one item",
    "repeats": "events per item",
}


def describe_value(name: str, value: float, usual_range: tuple[float, float], phrases: Mapping[str, str]) -> str:
    """Describe a feature's value beside its usual range.

    >>> describe_value("most_in_minute", 120.0, (1.0, 4.0), FEATURE_PHRASES)
    'most events within a minute: 120, usually 1 to 4'
    """
    low, high = usual_range
    usual = f"{_number(low)}" if low == high else f"{_number(low)} to {_number(high)}"
    return f"{phrases.get(name, name.replace('_', ' '))}: {_number(value)}, usually {usual}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
