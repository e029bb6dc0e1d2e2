"""Alternating least squares on implicit feedback, fitted by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models.artifacts import load_model
from recsys.models.factors import FactorModel


@dataclass(frozen=True)
class AlsConfig:
    """Size and strength of the factorisation."""

    factors: int = 128
    """Length of a user's and an item's vector."""
    regularization: float = 45.0
    """Weight of the squared length of the vectors; confidences are scaled to a mean of 1 first."""
    alpha: float = 2.0
    """Weight of an average interaction against a missing one."""
    epochs: int = 15
    """Alternations."""
    seed: int = 0
    """Where the starting vectors come from."""


class Als(FactorModel):
    """Weighted matrix factorisation of "wanted or not", an interaction weighing alpha x confidence / its mean.

    Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008), by the conjugate
    gradient of Takács, Pilászy, Tikk (RecSys 2011). Confidences are divided by their mean, so that event weights
    and half-life change what weighs more, not the strength of the regularisation.
    """

    name = "als"

    def __init__(self, config: AlsConfig = AlsConfig()) -> None:
        self.config: AlsConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Alternate between users and items; same input and seed, same factors."""
        config = self.config
        wanted = interactions.wanted
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            fitter = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization,
                alpha=config.alpha,
                iterations=config.epochs,
                random_state=config.seed,
            )
            fitter.fit(wanted / wanted.data.mean(), show_progress=False)
        self.take({"user_factors": fitter.user_factors, "item_factors": fitter.item_factors})
        return self

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read both factor matrices."""
        config, arrays = load_model(directory, cls.name, AlsConfig)
        model = cls(config)
        model.take(arrays)
        return model
