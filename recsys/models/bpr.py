"""Bayesian personalized ranking, fitted by `implicit`."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models._factors.factor_model import FactorModel
from recsys.models.artifacts import not_finite_error
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.models.work import vector_work
from recsys.settings.types import Device, Positive


@dataclass(frozen=True)
class BprConfig:
    """Size of the factorization and its stochastic gradient descent."""

    factors: Positive = 64
    """Length of the vectors of users and items."""
    learning_rate: AboveZero = 0.03
    """Step size of gradient descent."""
    regularization: ZeroOrMore = 0.02
    """Weight of the squared norm of the vectors."""
    epochs: Positive = 40
    """Number of passes over the interactions."""
    seed: Seed = 0
    """Seed of the initial vectors and of the sampled pairs."""
    device: Device = "auto"
    """Device on which items are ranked; the fit runs on the CPU."""


class Bpr(FactorModel):
    """Bayesian personalized ranking: matrix factorization with a pairwise loss.

    For a user u, a positive item i and a sampled item j, a step lowers -log sigmoid(s_ui - s_uj) plus the
    regularization, with scores s_ui = x_u . y_i + b_i. Source: Rendle, Freudenthaler, Gantner, Schmidt-Thieme,
    "BPR: Bayesian Personalized Ranking from Implicit Feedback" (UAI 2009). The paper samples j uniformly,
    `implicit` in proportion to the item's number of users, so that the scores are relative to popularity. The
    logarithm of the number of users is therefore added to the bias. Confidences are not used. The fit runs on one
    thread: with more, threads overwrite each other's updates and results are not reproducible.
    """

    name = "bpr"
    config_type = BprConfig
    config: BprConfig

    def __init__(self, config: BprConfig = BprConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:  # noqa: ARG002 (an interface)
        """Count the updates of three vectors for each interaction and pass."""
        return vector_work(15.0 * self.config.epochs * interactions * self.config.factors)

    def fit(self, interactions: Interactions) -> Self:
        """Run stochastic gradient descent; the same input and seed give the same factors."""
        config, positives = self.config, interactions.positives
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
                fitter.fit(positives, show_progress=False)
            except ModelFitError:
                raise not_finite_error(self.name, "factors") from None
        item_users = np.bincount(positives.indices, minlength=positives.shape[1])
        popularity = np.log(np.maximum(item_users, 1)).astype(np.float32)
        self.set_factors(  # implicit's last column is 1 for a user and the bias for an item
            fitter.user_factors[:, :-1].copy(),
            fitter.item_factors[:, :-1].copy(),
            fitter.item_factors[:, -1] + popularity,
        )
        return self
