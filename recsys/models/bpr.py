"""Bayesian personalised ranking, fitted by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models._factors.factor_model import FactorModel
from recsys.models.artifacts import load_model, not_finite
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.settings.types import Device, Positive


@dataclass(frozen=True)
class BprConfig:
    """Size of the factorisation and how it is learned."""

    factors: Positive = 64
    """Length of a user's and an item's vector."""
    learning_rate: AboveZero = 0.03
    """Length of a step."""
    regularization: ZeroOrMore = 0.02
    """Weight of the squared length of the vectors."""
    epochs: Positive = 40
    """Passes over the interactions."""
    seed: Seed = 0
    """Where the starting vectors and the samples come from."""
    device: Device = "auto"
    """Where lists are ranked; the fit runs on the CPU."""


class Bpr(FactorModel):
    """Matrix factorisation that ranks an item the user wanted above one of the others.

    Rendle, Freudenthaler, Gantner, Schmidt-Thieme, "BPR: Bayesian Personalized Ranking from Implicit Feedback"
    (UAI 2009). The paper draws the other item uniformly, `implicit` in proportion to the item's number of users, so
    that it learns how much more than others the user wants the item. The logarithm of that number, added to the
    item's bias, makes it how much the user wants the item. Confidences are not used. It runs on one thread: on
    more, threads overwrite each other's steps and results do not repeat.
    """

    name = "bpr"

    def __init__(self, config: BprConfig = BprConfig()) -> None:
        self.config: BprConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Stochastic gradient steps; same input and seed, same factors."""
        config, wanted = self.config, interactions.wanted
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            fitter = BayesianPersonalizedRanking(
                factors=config.factors,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                iterations=config.epochs,
                random_state=config.seed,
                num_threads=1,
            )
            try:
                fitter.fit(wanted, show_progress=False)
            except ModelFitError:
                raise not_finite(self.name, "factors") from None
        item_users = np.bincount(wanted.indices, minlength=wanted.shape[1])
        popularity = np.log(np.maximum(item_users, 1)).astype(np.float32)
        self.take(
            {  # implicit's last column is 1 for a user and the bias for an item
                "user_factors": fitter.user_factors[:, :-1].copy(),
                "item_factors": fitter.item_factors[:, :-1].copy(),
                "item_bias": fitter.item_factors[:, -1] + popularity,
            }
        )
        return self

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the factors."""
        config, arrays = load_model(directory, cls.name, BprConfig)
        model = cls(config)
        model.take(arrays)
        return model
