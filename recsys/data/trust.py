"""User trust: how much a user's events count in popular and trending lists.

A user with positive events on d days before the latest such day has

    trust = 1 - (1 - NEW_TRUST) * 0.5 ** ((d / HALF_TRUST_DAYS) ** 3)

A new account has almost none, and hardly more on the next day, so that a burst over midnight has no effect; half is
reached after four days, nearly all after seven. Returning takes time, which a burst does not have.

Trust alone would hide all items of a shop whose visitors come once. Trusted users are therefore a sample of all
users: an item's sum is what they contribute, scaled up by the shop's mean trust, and at most what all users
contribute:

    counted = min(sum a, sum trust a / mean trust),      mean trust = sum trust a / sum a over the shop

New users count if trusted users support the same item; an item with events of new users only counts little. If
all users have the same trust, as in data without times or on a shop's first day, nothing changes.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]
Rows = NDArray[np.int32]

# A power of two, so that sums of equal trust are exact.
NEW_TRUST: Final = 1 / 256
HALF_TRUST_DAYS: Final = 4.0


def trust_from_active_days(active_days: NDArray[np.integer]) -> Table:
    """Compute the trust, `NEW_TRUST` to 1, of users with positive events on this many distinct days."""
    before = np.maximum(active_days, 1) - 1.0
    return 1 - (1 - NEW_TRUST) * 0.5 ** ((before / HALF_TRUST_DAYS) ** 3)


def user_trust(user_rows: Rows, age_days: Table, users: int) -> Table:
    """Compute the trust of every user, (users,), from events in order of user, then time."""
    day_users = user_rows[_begins_day(user_rows, age_days)]
    return trust_from_active_days(np.bincount(day_users, minlength=users))


def one_event_per_day(user_rows: Rows, item_rows: Rows, age_days: Table) -> NDArray[np.intp]:
    """Select the latest event of each user, item and day; return indices in order of user, day and item.

    The events are in order of user, then time; days are periods of 24 hours before age 0.
    """
    user_day = np.cumsum(_begins_day(user_rows, age_days))
    pair = user_day * (int(item_rows.max(initial=0)) + 1) + item_rows
    _, from_end = np.unique(pair[::-1], return_index=True)
    return len(pair) - 1 - from_end


def trusted_counts(amounts: Table, trusted: Table) -> Table:
    """Compute what counts for each item, (items,).

    `amounts` are the sums over all users, `trusted` the sums weighted by the users' trust.
    """
    total = trusted.sum()
    return amounts if total == 0 else np.minimum(amounts, trusted * (amounts.sum() / total))


def trusted_item_counts(item_rows: Rows, amounts: Table, trust: Table, items: int) -> Table:
    """Compute `trusted_counts`, (items,), from parallel arrays: item, amount, and trust of the user."""
    return trusted_counts(_sums(item_rows, amounts, items), _sums(item_rows, amounts * trust, items))


def _sums(item_rows: Rows, amounts: Table, items: int) -> Table:
    return np.bincount(item_rows, amounts, items).astype(np.float64)


def _begins_day(user_rows: Rows, age_days: Table) -> NDArray[np.bool_]:
    """Return whether each event is the first of its user's day; whole days of age belong to the later day."""
    days = np.ceil(age_days)
    begins = np.ones(len(days), bool)
    begins[1:] = (user_rows[1:] != user_rows[:-1]) | (days[1:] != days[:-1])
    return begins
