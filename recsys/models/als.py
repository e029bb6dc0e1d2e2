"""Alternating least squares on implicit feedback, fitted by `implicit`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.recommender_base import ModelFitError
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models._factors.factor_model import FactorModel
from recsys.models.artifacts import load_model, not_finite
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.settings.types import Device, Positive


@dataclass(frozen=True)
class AlsConfig:
    """Size and strength of the factorisation."""

    factors: Positive = 192
    """Length of a user's and an item's vector."""
    regularization: ZeroOrMore = 0.07
    """Weight of the squared length of the vectors, in weights of all interactions of an average user."""
    alpha: AboveZero = 2.0
    """Weight of an average interaction against a missing one."""
    epochs: Positive = 15
    """Alternations."""
    popularity: ZeroOrMore = 0.05
    """Weight of the share of users who want an item, added to its score: what the squares shrink away."""
    seed: Seed = 0
    """Where the starting vectors come from."""
    device: Device = "auto"
    """Where lists are ranked; the fit runs on the CPU."""


class Als(FactorModel):
    """Weighted matrix factorisation of "wanted or not", an interaction weighing alpha x confidence / its mean.

    With x the users' and y the items' vectors, it makes sum over all users u and items i of
    weight(u, i) (wanted(u, i) - x_u . y_i)^2 + r (sum |x_u|^2 + sum |y_i|^2) small; a missing interaction weighs 1,
    and r is `regularization` times what an average user's interactions weigh, so that it suits long histories and
    short ones. Hu, Koren, Volinsky, "Collaborative Filtering for Implicit Feedback Datasets" (ICDM 2008),
    each alternation by three steps of conjugate gradient after Takács, Pilászy, Tikk (RecSys 2011). Confidences are
    divided by their mean, so that event weights and half-life change what weighs more, not the strength of the
    regularisation. To the dot product comes `popularity` times the item's share of users, a confidence below the
    mean counting in part.
    """

    name = "als"

    def __init__(self, config: AlsConfig = AlsConfig()) -> None:
        self.config: AlsConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Alternate between users and items; same input and seed, same factors."""
        config = self.config
        wanted = interactions.wanted
        confidence = wanted / wanted.data.mean()
        with threadpool_limits(1, "blas"):  # implicit runs its own threads
            fitter = AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularization * config.alpha * wanted.nnz / wanted.shape[0],
                alpha=config.alpha,
                iterations=config.epochs,
                random_state=config.seed,
            )
            try:
                fitter.fit(confidence, show_progress=False)
            except ModelFitError:
                raise not_finite(self.name, "factors") from None
        users, items = wanted.shape
        share = np.bincount(confidence.indices, np.minimum(confidence.data, 1), items) / users
        bias = (config.popularity * share).astype(np.float32)
        self.take({"user_factors": fitter.user_factors, "item_factors": fitter.item_factors, "item_bias": bias})
        return self

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the factors."""
        config, arrays = load_model(directory, cls.name, AlsConfig)
        model = cls(config)
        model.take(arrays)
        return model
