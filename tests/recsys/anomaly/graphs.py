"""Interactions to detect anomalies in: customers of several communities, and accounts added to them."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix, vstack


def draw_customers(
    users: int, items: int, communities: int, per_user: int, seed: int, unwanted: int = 0
) -> csr_matrix:
    """Users x items, ones: each user has mostly popular items of one community; nobody has the last `unwanted`."""
    random = np.random.default_rng(seed)
    size = items // communities
    popularity = 1 / np.arange(1, size + 1)
    rows: list[int] = []
    columns: list[int] = []
    for user in range(users):
        wanted = max(4, int(random.poisson(per_user)))
        own = random.choice(size, min(wanted, size), replace=False, p=popularity / popularity.sum())
        items_of_user = own + size * (user % communities)
        strange = random.choice(items, max(1, wanted // 8), replace=False)
        result = np.unique(np.concatenate([items_of_user, strange]))
        rows += [user] * len(result)
        columns += result.tolist()
    return csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(users, items + unwanted))


def by_degrees(users: int, items: int, entries: int, seed: int) -> csr_matrix:
    """Users x items, ones: who has what depends on how much users and items have alone."""
    random = np.random.default_rng(seed)
    heavy, popular = 1 / np.arange(1, users + 1) ** 0.5, 1 / np.arange(1, items + 1) ** 0.5
    chance = np.minimum(1, entries * np.outer(heavy / heavy.sum(), popular / popular.sum()))
    return csr_matrix((random.random(chance.shape) < chance).astype(np.float32))


def added(user_items: csr_matrix, profiles: Sequence[Sequence[int]]) -> csr_matrix:
    """The same with accounts of these items after all users."""
    rows = np.repeat(np.arange(len(profiles)), [len(profile) for profile in profiles])
    columns = np.concatenate([np.asarray(profile) for profile in profiles])
    shape = (len(profiles), user_items.shape[1])
    accounts = csr_matrix((np.ones(len(columns), np.float32), (rows, columns)), shape=shape)
    both = csr_matrix(vstack([user_items, accounts]))
    both.data[:] = 1
    both.sort_indices()
    return both
