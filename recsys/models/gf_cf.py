"""GF-CF: graph filter collaborative filtering, by a linear and an ideal low-pass filter."""

from dataclasses import dataclass

from recsys.models._graph.graph_filter import GraphFilter
from recsys.models.config import Seed, Share, ZeroOrMore
from recsys.settings.types import Positive


@dataclass(frozen=True)
class GfCfConfig:
    """Filters, and normalization of the graph."""

    factors: Positive = 256
    """Number of singular vectors of the ideal low-pass filter."""
    low_pass: ZeroOrMore = 0.3
    """Weight of the ideal low-pass filter, relative to the maximum response of the linear one."""
    user_exponent: Share = 0.5
    """Power of a user's number of items by which the user's interactions are divided."""
    item_exponent: Share = 0.5
    """Power of an item's number of users by which the item's interactions are divided."""
    power_steps: Positive = 4
    """Iterations of the randomized SVD; few leave the last singular vectors inexact, 30 make all exact."""
    seed: Seed = 0
    """Seed of the randomized SVD."""


class GfCf(GraphFilter):
    """Graph filter collaborative filtering (GF-CF): `GraphFilter` without sharpening.

    Source: Shen, Wu, Zhang, Shan, Zhang, Letaief, Li, "How Powerful is Graph Convolution for Recommendation?" (CIKM
    2021), where both exponents are 1/2.
    """

    name = "gf_cf"
    config_type = GfCfConfig
    config: GfCfConfig

    def __init__(self, config: GfCfConfig = GfCfConfig()) -> None:
        super().__init__(config)
