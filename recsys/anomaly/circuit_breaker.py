"""The circuit breaker of automatic flagging, and other rules that depend on the totals of a UTC day.

When many users are flagged on one day, a wrong rule is a more likely reason than so large a number of bots.
"""

from typing import Final

MIN_DAILY_FLAG_LIMIT: Final = 100
"""Users who may be flagged on any day, however few are active: one burst is made by dozens of accounts."""
DAY_MS: Final = 86_400_000
MIN_PRICED_SHARE: Final = 0.95
MIN_PURCHASES: Final = 100
"""Purchases of a day from which a shop is taken to send prices, if `MIN_PRICED_SHARE` of them have one."""


def breaker_allows_flag(flagged: int, active: int, max_flagged_share: float) -> bool:
    """Return whether one more user may be flagged on a day on which `flagged` of `active` users were.

    >>> [breaker_allows_flag(*counts, 0.02) for counts in ((50, 2_000), (100, 2_000), (100, 10_000))]
    [True, False, True]
    """
    return flagged < max(MIN_DAILY_FLAG_LIMIT, max_flagged_share * active)


def has_priced_purchases(purchases: int, priced: int) -> bool:
    """Return whether the shop sends prices, judging by the purchases of the day so far."""
    return purchases >= MIN_PURCHASES and priced >= MIN_PRICED_SHARE * purchases
