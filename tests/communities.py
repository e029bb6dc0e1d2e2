"""A synthetic shop of communities: users mostly want items of their own community, which is the items' category."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

VECTOR = 8


@dataclass(frozen=True)
class Communities:
    """The graph, item vectors that carry a weak signal of the community, and the community of each item."""

    positives: csr_matrix  # users x items
    vectors: np.ndarray  # items x 8, float32
    community: np.ndarray  # (items,), int32


def make_communities(items: int, loyalty: float, signal: float, communities: int = 2) -> Communities:
    """Let each of items / 2 users want ten items: a share `loyalty` from the own community, the others from any."""
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
