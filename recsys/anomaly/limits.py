"""Limits of human behavior, and the distributions of the time between events of humans and of scripts."""

from dataclasses import dataclass
from typing import Final

SESSION_BREAK_SECONDS: Final = 1_800.0
"""A longer gap ends a session."""

HUMAN_LOG_MEAN: Final = 3.51
HUMAN_LOG_DEVIATION: Final = 0.97
"""Standard deviation of the logarithm of the seconds between events of a session. Both were fitted to the 12,368
gaps of 5,067 sessions of the REES46 multi-category shop, 2019-10-01 00:00 to 02:50 UTC: half of the gaps are longer
than 33 s, one in a hundred is shorter than 3 s."""

AUTOMATED_LOG_MEAN: Final = -0.69
AUTOMATED_LOG_DEVIATION: Final = 1.2
"""The same for scripts, assumed: half a second between requests, from 0.05 s to 5 s."""


@dataclass(frozen=True)
class Limits:
    """The values at which the evidence of a single detector flags a user.

    None of the 4,505 users of REES46 made more than 5 events in 10 s, 25 in 5 min or 51 in an hour.
    """

    events: tuple[int, int, int] = (30, 150, 600)
    """Events of a user in 10 s, 5 min and an hour; an order counts as one event."""
    items_a_minute: int = 200
    """Distinct items of a user."""
    likelihood: float = 20.7
    """Log-likelihood ratio of script to human: Wald's log((1 - .05) / 1e-9). It is far higher than independent gaps
    would need, because the gaps of a person who skims pages are not independent."""
    regularity: float = 4.0
    """CUSUM of how much more regular the gaps are than those of a human."""
    network_events: tuple[int, int, int] = (300, 6_000, 50_000)
    """Events of an address, a device or a session in 10 s, 5 min and an hour."""
    address_items: int = 5_000
    """Distinct items in an hour."""
    device_users: int = 50
    """Distinct users of an address and browser in an hour."""
    network_share: float = 0.5
    """Greatest evidence from an address or a device: offices and carriers share them, so it never flags alone."""
    unpriced_share: float = 0.3
    """Evidence from a purchase without a price, in a shop whose purchases have prices."""


LIMITS: Final = Limits()
