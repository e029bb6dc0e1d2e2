"""Alternating least squares whose regularisation grows with how often a user or an item was seen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models._factors.factor_model import FactorModel, Factors
from recsys.models.artifacts import load_model, not_finite
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.ranking.top_k import blocks_of, in_threads
from recsys.settings.types import Device, Positive

BLOCK_ROWS = 256
BLOCK_FACTORS = 64
CHUNK = 1024  # entries whose vectors are copied at a time, so that a row of many takes no more memory
SCALE = 0.1  # the starting vectors' expected length


@dataclass(frozen=True)
class IalsConfig:
    """Size and strength of the factorisation."""

    factors: Positive = 128
    """Length of a user's and an item's vector."""
    regularization: ZeroOrMore = 0.15
    """Weight of the squared length of a vector of average history, in interactions of such a history."""
    unobserved_weight: AboveZero = 15.0
    """Weight of all pairs, wanted or not, towards a score of 0, against that of all interactions towards 1."""
    frequency_exponent: ZeroOrMore = 1.0
    """A vector whose pairs weigh twice the average is held back 2 ** frequency_exponent times as much."""
    epochs: Positive = 16
    """Alternations."""
    seed: Seed = 0
    """Where the starting vectors come from."""
    device: Device = "auto"
    """Where lists are ranked; the fit runs on the CPU."""


class Ials(FactorModel):
    """Weighted matrix factorisation of "wanted or not", as in `Als`, with frequency-scaled regularisation.

    Rendle, Krichene, Zhang, Koren, "Revisiting the Performance of iALS on Item Recommendation Benchmarks" (RecSys
    2022): with x the users' and y the items' vectors, a0 the weight of an unobserved pair and n_u, m_i the
    entries of a user and an item, the sum over wanted pairs of (1 - x_u . y_i)^2 + a0 times the sum over all
    pairs of (x_u . y_i)^2 + the sums of penalty_u |x_u|^2 and of penalty_i |y_i|^2 is made small. With w_u = n_u
    + a0 items, penalty_u = regularization x mean n (w_u / mean w) ** frequency_exponent, and likewise for items:
    the paper's (n_u + a0 items) ** nu times a lambda of each side's own. a0 is `unobserved_weight` x interactions
    / (users x items). So one setting suits long histories and short ones, few items and many. Beyond 64 factors
    an alternation takes one Newton step for each 64 coordinates of a vector, after Rendle, Krichene, Zhang,
    Koren, "iALS++: Speeding up Matrix Factorization with Subspace Optimization" (2021); up to 64 it solves for
    the vector. Starting vectors are normal with deviation 0.1 / sqrt(factors). Confidences are not used.
    """

    name = "ials"

    def __init__(self, config: IalsConfig = IalsConfig()) -> None:
        self.config: IalsConfig = config

    def fit(self, interactions: Interactions) -> Self:
        """Alternate between users and items; same input and seed, same factors."""
        config, wanted = self.config, interactions.wanted
        users, items = wanted.shape
        generator = np.random.default_rng(config.seed)
        user_factors, item_factors = (
            generator.normal(0, SCALE / np.sqrt(config.factors), (rows, config.factors)).astype(np.float32)
            for rows in (users, items)
        )
        of_items = csr_matrix(wanted.T)
        try:
            with threadpool_limits(1, "blas"):  # the threads are ours
                for _ in range(config.epochs):
                    self._improve(wanted, item_factors, user_factors)
                    self._improve(of_items, user_factors, item_factors)
        except np.linalg.LinAlgError:
            raise not_finite(self.name, "factors") from None
        bias = np.zeros(items, np.float32)
        self.take({"user_factors": user_factors, "item_factors": item_factors, "item_bias": bias})
        return self

    def _improve(self, wanted: csr_matrix, others: Factors, vectors: Factors) -> None:
        """Change the vectors of the rows of `wanted`, those of its columns standing still."""
        from recsys.models._factors.ials_steps import improve  # numba takes long to import

        config, columns = self.config, wanted.shape[1]
        counts = np.diff(wanted.indptr)
        unobserved = config.unobserved_weight * counts.mean() / columns
        gram = (unobserved * (others.T @ others)).astype(np.float32)
        weighs = counts + unobserved * columns
        of_average = config.regularization * counts.mean()
        penalties = of_average * (weighs / weighs.mean()) ** config.frequency_exponent
        offsets, entries = wanted.indptr.astype(np.int64), wanted.indices.astype(np.int32)
        with np.errstate(over="ignore"):  # what is infinite ends the fit
            arrays = (offsets, entries, others, gram, penalties.astype(np.float32))

        def work(block: NDArray[np.intp]) -> None:
            improve(block, *arrays, BLOCK_FACTORS, CHUNK, vectors)

        in_threads(work, blocks_of(np.arange(wanted.shape[0]), BLOCK_ROWS))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the factors."""
        config, arrays = load_model(directory, cls.name, IalsConfig)
        model = cls(config)
        model.take(arrays)
        return model
