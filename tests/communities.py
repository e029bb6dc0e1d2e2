"""A shop of several communities: users want items of their own, and each has a category of its own."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

VECTOR = 8


@dataclass(frozen=True)
class Communities:
    """A graph, vectors of its items that tell a little of their community, and the communities."""

    positives: csr_matrix  # users x items
    vectors: np.ndarray  # items x 8, float32
    community: np.ndarray  # (items,), int32


def make_communities(items: int, loyalty: float, signal: float, communities: int = 2) -> Communities:
    """Each of half as many users wants ten items, a share `loyalty` of them surely of the own community."""
    generator = np.random.default_rng(0)
    community = (np.arange(items) % communities).astype(np.int32)
    users = items // 2
    own = np.repeat(np.arange(users) % communities, 10)
    place = generator.integers(items // communities, size=len(own)) * communities
    side = np.where(generator.random(len(own)) < loyalty, own, generator.integers(communities, size=len(own)))
    edges = np.ones(len(own), np.float32), (np.repeat(np.arange(users), 10), place + side)
    positives = csr_matrix(edges, shape=(users, items))
    positives.sum_duplicates()
    noise = generator.standard_normal((items, VECTOR))
    noise[:, :communities] += signal * np.eye(communities)[community]
    return Communities(positives, noise.astype(np.float32), community)
