"""When automatic flagging stops: a rule that flags many users of a day is more likely wrong than they are bots."""

from typing import Final

MIN_DAILY_FLAG_LIMIT: Final = 100
"""So many may be flagged on any day, however few users it has: a burst is made by dozens of accounts."""
DAY_MS: Final = 86_400_000
MIN_PRICED_SHARE: Final = 0.95
MIN_PURCHASES: Final = 100
"""A shop sends prices whose purchases of the day, at least so many, have them but for one in twenty."""


def breaker_allows_flag(flagged: int, active: int, max_flagged_share: float) -> bool:
    """Whether one more user may be flagged on a day on which `flagged` of `active` users were.

    >>> [breaker_allows_flag(*counts, 0.02) for counts in ((50, 2_000), (100, 2_000), (100, 10_000))]
    [True, False, True]
    """
    return flagged < max(MIN_DAILY_FLAG_LIMIT, max_flagged_share * active)


def has_priced_purchases(purchases: int, priced: int) -> bool:
    """Whether purchases of a shop have prices, by those of the day up to now."""
    return purchases >= MIN_PURCHASES and priced >= MIN_PRICED_SHARE * purchases
