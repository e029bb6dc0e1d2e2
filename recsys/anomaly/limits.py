"""What a shopper does at most, and how shoppers' timing is distributed."""

from dataclasses import dataclass
from typing import Final

SESSION_BREAK_SECONDS: Final = 1_800.0
"""A longer gap is no gap within a session."""

HUMAN_LOG_MEAN: Final = 3.51
HUMAN_LOG_DEVIATION: Final = 0.97
"""Of the logarithm of seconds between a session's events. Fitted to the 12,368 gaps of 5,067 sessions of the REES46
multi-category shop, 2019-10-01 00:00 to 02:50 UTC: half of them are over 33 s, one in a hundred under 3 s."""

AUTOMATED_LOG_MEAN: Final = -0.69
AUTOMATED_LOG_DEVIATION: Final = 1.2
"""Of what scripts are taken to do: half a second between requests, from a twentieth of one to 5 s."""


@dataclass(frozen=True)
class Limits:
    """Where each detector takes what a user does for no shopper's: at 1 limit its evidence alone flags.

    Of the 4,505 shoppers of REES46 none made more than 5 events in 10 s, 25 in 5 min, 51 in an hour.
    """

    events: tuple[int, int, int] = (30, 150, 600)
    """Events of a user in 10 s, 5 min and an hour; an order counts as one."""
    items_a_minute: int = 200
    """Different items of a user."""
    likelihood: float = 20.7
    """Logarithm of how many times likelier the gaps are a script's than a shopper's: Wald's (1 - .05) / 1e-9. It is
    far beyond what independent gaps would need, for those of a person who skims are not independent."""
    regularity: float = 4.0
    """Sum of what gaps are more alike than a shopper's."""
    network_events: tuple[int, int, int] = (300, 6_000, 50_000)
    """Events of an address, a device or a session in 10 s, 5 min and an hour."""
    items_of_address: int = 5_000
    """Different items in an hour."""
    users_of_device: int = 50
    """Different users of an address and browser in an hour."""
    network_share: float = 0.5
    """Most evidence that an address or a device can be: offices and carriers share one, so it never flags alone."""
    unpriced_share: float = 0.3
    """Evidence that a purchase without a price is, in a shop whose purchases have prices."""


LIMITS: Final = Limits()
