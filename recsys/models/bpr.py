"""Bayesian personalised ranking, fitted by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from implicit.cpu.bpr import BayesianPersonalizedRanking
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models.artifacts import load_model
from recsys.models.factors import FactorModel


@dataclass(frozen=True)
class BprConfig:
    """Size of the factorisation and how it is learned."""

    factors: int = 64
    """Length of a user's and an item's vector; one more holds the item's bias."""
    learning_rate: float = 0.05
    """Length of a step."""
    regularization: float = 0.01
    """Weight of the squared length of the vectors."""
    epochs: int = 40
    """Passes over the interactions."""
    seed: int = 0
    """Where the starting vectors and the samples come from."""


class Bpr(FactorModel):
    """Matrix factorisation that ranks an item the user wanted above one drawn at random.

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback"
    (UAI 2009). Confidences are not used. It runs on one thread: on more, threads overwrite each other's steps and
    results do not repeat.
    """

    name = "bpr"

    def __init__(self, config: BprConfig = BprConfig()) -> None:
        self.config: BprConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Stochastic gradient steps; same input and seed, same factors."""
        config = self.config
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            fitter = BayesianPersonalizedRanking(
                factors=config.factors,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                iterations=config.epochs,
                random_state=config.seed,
                num_threads=1,
            )
            fitter.fit(interactions.wanted, show_progress=False)
        self.take({"user_factors": fitter.user_factors, "item_factors": fitter.item_factors})
        return self

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read both factor matrices."""
        config, arrays = load_model(directory, cls.name, BprConfig)
        model = cls(config)
        model.take(arrays)
        return model
