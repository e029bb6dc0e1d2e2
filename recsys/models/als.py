"""Alternating least squares on implicit feedback, fitted by `implicit`."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.data.scaling import binarize
from recsys.models._factors.factor_model import FactorModel
from recsys.models.artifacts import not_finite_error
from recsys.models.config import AboveZero, Range, SearchSpace, Seed, ZeroOrMore
from recsys.models.work import dense_work, vector_work
from recsys.settings.types import Device, Positive

CONJUGATE_GRADIENT_STEPS = 3
GEMV = 2.0  # time of a product of a matrix and a vector, relative to one of matrices


@dataclass(frozen=True)
class AlsConfig:
    """Size and regularization of the factorization."""

    factors: Positive = 192
    """Length of the vectors of users and items."""
    regularization: ZeroOrMore = 0.07
    """Weight of the squared norm of the vectors, relative to the total weight of an average user's interactions."""
    alpha: AboveZero = 2.0
    """Weight of an average interaction, relative to a missing one."""
    epochs: Positive = 15
    """Number of alternations between users and items."""
    popularity: ZeroOrMore = 0.05
    """Weight of an item's share of users, which is added to its score to offset the shrinkage of the squares."""
    seed: Seed = 0
    """Seed of the initial vectors."""
    device: Device = "auto"
    """Device on which items are ranked; the fit runs on the CPU."""


class Als(FactorModel):
    """Alternating least squares: matrix factorization of implicit feedback, weighted by confidence.

    With user vectors x_u, item vectors y_i, and p_ui = 1 where user u has a positive interaction with item i and 0
    elsewhere, the fit minimizes, over all users and items,

        sum w_ui (p_ui - x_u . y_i)^2 + r (sum |x_u|^2 + sum |y_i|^2)

    where w_ui = alpha x confidence / mean confidence for an interaction, alpha for an item that the user dislikes,
    of which p_ui is 0, and 1 for a missing one. r is
    `regularization` times the total weight of an average user's interactions, so that the same value suits long and
    short histories. Source: Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM
    2008), each alternation by three steps of conjugate gradient after Takács, Pilászy, Tikk (RecSys 2011).
    Confidences are divided by their mean, so that event weights and half-life change the relative weights only, not
    the strength of the regularization. The score adds `popularity` times the item's share of users, in which a
    confidence below the mean counts in part.
    """

    name = "als"
    config_type = AlsConfig
    search_space: ClassVar[SearchSpace] = {
        "regularization": Range(0.001, 0.5, logarithmic=True),
        "alpha": Range(1.0, 100.0, logarithmic=True),
    }
    config: AlsConfig

    def __init__(self, config: AlsConfig = AlsConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the steps of conjugate gradient of all users and items, with the first residual one more."""
        factors, steps = self.config.factors, self.config.epochs * (CONJUGATE_GRADIENT_STEPS + 1)
        entries = vector_work(2.0 * 2 * steps * interactions * factors)
        return entries + dense_work(GEMV * steps * (users + items) * factors**2)

    def fit(self, interactions: Interactions) -> Self:
        """Alternate between users and items; the same input and seed give the same factors."""
        config = self.config
        positives = interactions.positives
        confidence = positives / positives.data.mean()
        fitted = confidence - binarize(interactions.disliked) if interactions.is_disliked.any() else confidence
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            fitter = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization * config.alpha * positives.nnz / positives.shape[0],
                alpha=config.alpha,
                iterations=config.epochs,
                random_state=config.seed,
            )
            try:
                fitter.fit(csr_matrix(fitted), show_progress=False)
            except ModelFitError:
                raise not_finite_error(self.name, "factors") from None
        users, items = positives.shape
        share = np.bincount(confidence.indices, np.minimum(confidence.data, 1), items) / users
        bias = (config.popularity * share).astype(np.float32)
        self.set_factors(fitter.user_factors, fitter.item_factors, bias)
        return self
