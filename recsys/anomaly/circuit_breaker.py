"""When automatic flagging stops: a rule that flags many users of a day is more likely wrong than they are bots."""

from typing import Final

FEWEST_FLAGGED: Final = 100
"""So many may be flagged on any day, however few users it has: a burst is made by dozens of accounts."""
DAY_MS: Final = 86_400_000
USUALLY_PRICED: Final = 0.95
MIN_PURCHASES: Final = 100
"""A shop sends prices whose purchases of the day, at least so many, have them but for one in twenty."""


def stays_closed(flagged: int, active: int, max_flagged_share: float) -> bool:
    """Whether one more user may be flagged on a day on which `flagged` of `active` users were.

    >>> stays_closed(50, 2_000, 0.02), stays_closed(100, 2_000, 0.02), stays_closed(100, 10_000, 0.02)
    (True, False, True)
    """
    return flagged < max(FEWEST_FLAGGED, max_flagged_share * active)


def has_prices(purchases: int, priced: int) -> bool:
    """Whether purchases of a shop have prices, by those of the day up to now."""
    return purchases >= MIN_PURCHASES and priced >= USUALLY_PRICED * purchases
