"""BSPM: a blurring-sharpening process on the graph of items."""

from dataclasses import dataclass
from typing import ClassVar, Final

from recsys.models._graph.graph_filter import GraphFilter
from recsys.models.config import Range, SearchSpace, Seed, Share, ZeroOrMore
from recsys.settings.types import Positive

EXPONENTS: Final = Range(0.1, 0.7)


@dataclass(frozen=True)
class BspmConfig:
    """Filters, and normalization of the graph."""

    factors: Positive = 448
    """Number of singular vectors of the ideal low-pass filter and of the sharpening."""
    low_pass: ZeroOrMore = 0.3
    """Weight of the ideal low-pass filter, relative to the maximum response of the linear one."""
    sharpening: ZeroOrMore = 0.6
    """Share of the blurred signal, blurred once more, that is subtracted from it."""
    user_exponent: Share = 0.5
    """Power of a user's number of items by which the user's interactions are divided."""
    item_exponent: Share = 0.5
    """Power of an item's number of users by which the item's interactions are divided."""
    power_steps: Positive = 4
    """Iterations of the randomized SVD; few leave the last singular vectors inexact, 30 make all exact."""
    seed: Seed = 0
    """Seed of the randomized SVD."""


class Bspm(GraphFilter):
    """Blurring-sharpening process model (BSPM): `GraphFilter` with one step of blurring and one of sharpening.

    Source: Choi, Hong, Park, Cho, "Blurring-Sharpening Process Models for Collaborative Filtering" (SIGIR 2023),
    the early merge solved by Euler's method with a step of `sharpening`. Here the sharpening of the linear filter
    is computed from the singular vectors alone, which hold nearly all of its weight, and the exponents of users and
    items may differ.
    """

    name = "bspm"
    config_type = BspmConfig
    search_space: ClassVar[SearchSpace] = {
        "user_exponent": EXPONENTS,
        "item_exponent": EXPONENTS,
        "low_pass": Range(0.03, 3.0, logarithmic=True),
        "sharpening": Range(0.0, 1.2),
    }
    config: BspmConfig

    def __init__(self, config: BspmConfig = BspmConfig()) -> None:
        super().__init__(config)
        self.sharpening = config.sharpening
