"""Interactions with the accounts of an attack added, or with the events of users removed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix, diags_array, vstack

from recsys.anomaly.attacks import Attack
from recsys.data.interactions import Interactions
from recsys.ids import IdMap


def add_attack(
    interactions: Interactions, attack: Attack, account_ids: Sequence[str], weight: float, half_life_days: float
) -> Interactions:
    """Append the accounts of an attack as users, in order of `account_ids`; each event has the same `weight`."""
    weights = np.full(len(attack.item_rows), weight, np.float32)
    shape = (attack.accounts, len(interactions.items))
    decayed = weights * 0.5 ** (attack.age_days / half_life_days).astype(np.float32)
    accounts = csr_matrix((decayed, (attack.account_rows, attack.item_rows)), shape=shape)
    order = np.lexsort((-attack.age_days, attack.account_rows))
    users = interactions.users.values
    account_users = attack.account_rows[order] + len(interactions.users)
    return Interactions(
        users=IdMap(pl.concat([users, pl.Series(users.name, account_ids)])),
        items=interactions.items,
        user_items=csr_matrix(vstack([interactions.user_items, accounts])),
        user_rows=np.concatenate([interactions.user_rows, account_users]).astype(np.int32),
        item_rows=np.concatenate([interactions.item_rows, attack.item_rows[order]]),
        age_days=np.concatenate([interactions.age_days, attack.age_days[order]]),
        weights=np.concatenate([interactions.weights, weights]),
        is_owning=np.concatenate([interactions.is_owning, np.ones(len(weights), np.bool_)]),
        is_disliked=np.concatenate([interactions.is_disliked, np.zeros(len(weights), np.bool_)]),
    )


def remove_events(interactions: Interactions, users: pl.Series) -> Interactions:
    """Remove the events of `users`, who keep their rows."""
    is_kept = np.ones(len(interactions.users), np.bool_)
    is_kept[interactions.users.rows(users)] = False
    event_is_kept = is_kept[interactions.user_rows]
    return replace(
        interactions,
        user_items=csr_matrix(diags_array(is_kept.astype(np.float32)) @ interactions.user_items),
        user_rows=interactions.user_rows[event_is_kept],
        item_rows=interactions.item_rows[event_is_kept],
        age_days=interactions.age_days[event_is_kept],
        weights=interactions.weights[event_is_kept],
        is_owning=interactions.is_owning[event_is_kept],
        is_disliked=interactions.is_disliked[event_is_kept],
    )
