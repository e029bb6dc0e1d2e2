"""GF-CF: a user's items smoothed over the graph of items, with an ideal low-pass part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recsys.models._graph.graph_filter import GraphFilter
from recsys.models.artifacts import load_model
from recsys.models.config import Seed, Share, ZeroOrMore
from recsys.settings.types import Positive


@dataclass(frozen=True)
class GfCfConfig:
    """How wide the ideal filter is, how much it counts, and how the graph is scaled."""

    factors: Positive = 256
    """Singular vectors of the ideal low-pass filter."""
    low_pass: ZeroOrMore = 0.3
    """What the ideal low-pass filter counts beside the linear one, whose greatest response is 1."""
    user_exponent: Share = 0.5
    """A user's interactions are divided by their number to this power."""
    item_exponent: Share = 0.5
    """An item's interactions are divided by their number to this power."""
    power_steps: Positive = 4
    """Steps of the search for singular vectors; few leave the last ones rough, 30 make all exact."""
    seed: Seed = 0
    """Where the search for singular vectors starts."""


class GfCf(GraphFilter):
    """`GraphFilter` without sharpening: nothing is learned but singular vectors.

    Shen, Wu, Zhang, Shan, Zhang, Letaief, Li, "How Powerful is Graph Convolution for Recommendation?" (CIKM 2021);
    theirs has both exponents 1/2.
    """

    name = "gf_cf"

    def __init__(self, config: GfCfConfig = GfCfConfig()) -> None:
        self.config: GfCfConfig = config

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        config, arrays = load_model(directory, cls.name, GfCfConfig)
        return cls(config).take(arrays)
