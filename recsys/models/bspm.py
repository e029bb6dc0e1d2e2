"""BSPM: a user's items blurred over the graph of items, then sharpened."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from recsys.models._graph.graph_filter import GraphFilter
from recsys.models.artifacts import load_model
from recsys.models.config import Seed, Share, ZeroOrMore
from recsys.settings.types import Positive


@dataclass(frozen=True)
class BspmConfig:
    """How the graph is scaled, and how much is blurred and sharpened."""

    factors: Positive = 448
    """Singular vectors of the ideal low-pass filter, and of what is sharpened."""
    low_pass: ZeroOrMore = 0.3
    """What the ideal low-pass filter counts beside the linear one, whose greatest response is 1."""
    sharpening: ZeroOrMore = 0.6
    """How much of the blurred signal, blurred once more, is taken off it."""
    user_exponent: Share = 0.5
    """A user's interactions are divided by their number to this power."""
    item_exponent: Share = 0.5
    """An item's interactions are divided by their number to this power."""
    power_steps: Positive = 4
    """Steps of the search for singular vectors; few leave the last ones rough, 30 make all exact."""
    seed: Seed = 0
    """Where the search for singular vectors starts."""


class Bspm(GraphFilter):
    """`GraphFilter` with one step of blurring and one of sharpening, each as long as `sharpening` says.

    Choi, Hong, Park, Cho, "Blurring-Sharpening Process Models for Collaborative Filtering" (SIGIR 2023), their
    early merge solved by Euler's method. Here what the sharpening takes off the linear filter is worked out on the
    singular vectors alone, where nearly all of its weight lies, and exponents of users and items may differ.
    """

    name = "bspm"

    def __init__(self, config: BspmConfig = BspmConfig()) -> None:
        self.config: BspmConfig = config
        self.sharpening = config.sharpening

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote."""
        config, arrays = load_model(directory, cls.name, BspmConfig)
        return cls(config).take(arrays)
