"""Implicit alternating least squares with frequency-scaled regularization (iALS)."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.data.interactions import Interactions
from recsys.models._factors.factor_model import FactorModel
from recsys.models._factors.ials_solver import minimize_rows
from recsys.models.config import AboveZero, Range, SearchSpace, Seed, ZeroOrMore
from recsys.models.work import dense_work, vector_work
from recsys.ranking.factor_index import Factors
from recsys.ranking.top_k import run_in_threads, split_into_blocks
from recsys.settings.types import Device, Positive

BLOCK_ROWS = 256
STEPS = 3  # of conjugate gradient for each vector in an alternation
INITIAL_NORM = 0.1  # expected norm of the initial vectors


@dataclass(frozen=True)
class IalsConfig:
    """Size and regularization of the factorization."""

    factors: Positive = 256
    """Length of the vectors of users and items."""
    regularization: ZeroOrMore = 0.15
    """Weight of the squared norm of a vector with an average history, relative to the size of that history."""
    unobserved_weight: AboveZero = 15.0
    """Total weight of all pairs towards a score of 0, relative to that of the interactions towards 1."""
    frequency_exponent: ZeroOrMore = 1.0
    """Power by which the regularization of a vector grows with the total weight of its pairs."""
    epochs: Positive = 12
    """Number of alternations between users and items."""
    seed: Seed = 0
    """Seed of the initial vectors."""
    device: Device = "auto"
    """Device on which items are ranked; the fit runs on the CPU."""


class Ials(FactorModel):
    """Implicit alternating least squares (iALS): unweighted interactions, frequency-scaled regularization.

    With user vectors x_u, item vectors y_i, and the weight a0 of an unobserved pair, the fit minimizes

        sum over interactions (1 - x_u . y_i)^2 + a0 sum over all pairs (x_u . y_i)^2
        + sum penalty_u |x_u|^2 + sum penalty_i |y_i|^2

    a0 is `unobserved_weight` x interactions / (users x items). With n_u the interactions of a user and w_u = n_u +
    a0 items, penalty_u = regularization x mean n (w_u / mean w) ** frequency_exponent, and likewise for items. So
    one setting suits long and short histories, small and large catalogues. Source: Rendle, Krichene, Zhang, Koren,
    "Revisiting the Performance of iALS on Item Recommendation Benchmarks" (RecSys 2022), whose penalty is (n_u + a0
    items) ** nu times a lambda. An alternation takes three steps of conjugate gradient for each vector, after
    Takács, Pilászy, Tikk, "Applications of the Conjugate Gradient Method for Implicit Feedback Collaborative
    Filtering" (RecSys 2011). Initial vectors are normal with deviation 0.1 / sqrt(factors). Confidences
    are not used.
    """

    name = "ials"
    config_type = IalsConfig
    search_space: ClassVar[SearchSpace] = {
        "regularization": Range(0.02, 1.0, logarithmic=True),
        "unobserved_weight": Range(2.0, 100.0, logarithmic=True),
    }
    config: IalsConfig

    def __init__(self, config: IalsConfig = IalsConfig()) -> None:
        super().__init__(config)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the steps of conjugate gradient of all users and items, with the first residual one more."""
        factors, steps = self.config.factors, self.config.epochs * (STEPS + 1)
        entries = vector_work(2.0 * 2 * steps * interactions * factors)
        return entries + dense_work(2.0 * steps * (users + items) * factors**2)

    def fit(self, interactions: Interactions) -> Self:
        """Alternate between users and items; the same input and seed give the same factors."""
        config, user_items = self.config, interactions.positives
        users, items = user_items.shape
        generator = np.random.default_rng(config.seed)
        user_factors, item_factors = (
            generator.normal(0, INITIAL_NORM / np.sqrt(config.factors), (rows, config.factors)).astype(np.float32)
            for rows in (users, items)
        )
        item_users = csr_matrix(user_items.T)
        with threadpool_limits(1, "blas"):  # `run_in_threads` uses all processors
            for _ in range(config.epochs):
                self._update(user_items, item_factors, user_factors)
                self._update(item_users, user_factors, item_factors)
        self.set_factors(user_factors, item_factors, np.zeros(items, np.float32))
        return self

    def _update(self, matrix: csr_matrix, others: Factors, vectors: Factors) -> None:
        """Update the vectors of the rows of `matrix` in place, while those of its columns, `others`, are fixed."""
        config, columns = self.config, matrix.shape[1]
        counts = np.diff(matrix.indptr)
        unobserved = config.unobserved_weight * counts.mean() / columns
        gram = (unobserved * (others.T @ others)).astype(np.float32)
        weights = counts + unobserved * columns
        average_penalty = config.regularization * counts.mean()
        penalties = average_penalty * (weights / weights.mean()) ** config.frequency_exponent
        binary = csr_matrix((np.ones(matrix.nnz, np.float32), matrix.indices, matrix.indptr), matrix.shape)

        def work(block: NDArray[np.intp]) -> None:
            rows = slice(int(block[0]), int(block[-1]) + 1)
            with np.errstate(over="ignore", invalid="ignore"):  # `set_factors` checks that all is finite
                minimize_rows(binary[rows], others, gram, penalties[rows].astype(np.float32), STEPS, vectors[rows])

        run_in_threads(work, split_into_blocks(np.arange(matrix.shape[0]), BLOCK_ROWS))
