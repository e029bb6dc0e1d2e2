"""How far a user's events count where all users together decide, as in trending and popular lists.

A user who wanted something on d days before the latest has

    trust = 1 - (1 - NEW_TRUST) * 0.5 ** ((d / HALF_TRUST_DAYS) ** 3)

A new account has next to none, and still hardly any the day after, so that a burst over midnight is none either;
half is reached after four days, nearly all after seven. Coming back takes time, which a burst does not have.

Trust alone would silence a shop of visitors who come once. Users with trust are therefore taken as a sample of all:
an item's sum is what they give it, scaled up by the shop's mean trust, and never more than all users give:

    counted = min(sum a, sum trust a / mean trust),      mean trust = sum trust a / sum a over the shop

So new users count where known ones stand behind the same item, and what only new ones want counts little. Where
all have the same trust, as in data without times or on a shop's first day, nothing changes.
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
    """`NEW_TRUST` to 1 for users who wanted something on so many different days."""
    before = np.maximum(active_days, 1) - 1.0
    return 1 - (1 - NEW_TRUST) * 0.5 ** ((before / HALF_TRUST_DAYS) ** 3)


def user_trust(user_rows: Rows, age_days: Table, users: int) -> Table:
    """The trust of every user, (users,), from events in order of user, then time."""
    of_user = user_rows[_begins_day(user_rows, age_days)]
    return trust_from_active_days(np.bincount(of_user, minlength=users))


def one_event_per_day(user_rows: Rows, item_rows: Rows, age_days: Table) -> NDArray[np.intp]:
    """Which events count where a user counts once an item and day: the latest of each, in order of user, then day.

    The events are in order of user, then time; a day is 24 hours back from the moment of the ages.
    """
    user_day = np.cumsum(_begins_day(user_rows, age_days))
    pair = user_day * (int(item_rows.max(initial=0)) + 1) + item_rows
    _, from_end = np.unique(pair[::-1], return_index=True)
    return len(pair) - 1 - from_end


def trusted_counts(amounts: Table, trusted: Table) -> Table:
    """What is counted of each item, (items,): `amounts` is the sum over all users, `trusted` that times trust."""
    total = trusted.sum()
    return amounts if total == 0 else np.minimum(amounts, trusted * (amounts.sum() / total))


def trusted_item_counts(item_rows: Rows, amounts: Table, trust: Table, items: int) -> Table:
    """`backed`, (items,), of amounts that each user, of so much trust, gives to an item; all of one length."""
    return trusted_counts(_sums(item_rows, amounts, items), _sums(item_rows, amounts * trust, items))


def _sums(item_rows: Rows, amounts: Table, items: int) -> Table:
    return np.bincount(item_rows, amounts, items).astype(np.float64)


def _begins_day(user_rows: Rows, age_days: Table) -> NDArray[np.bool_]:
    """Whether an event is the first of its user's day; whole days of age belong to the day that ends there."""
    days = np.ceil(age_days)
    begins = np.ones(len(days), bool)
    begins[1:] = (user_rows[1:] != user_rows[:-1]) | (days[1:] != days[:-1])
    return begins
