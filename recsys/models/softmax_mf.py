"""Matrix factorization with the sampled softmax loss."""

from dataclasses import dataclass
from typing import Self

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models._factors.factor_model import FactorModel
from recsys.models._graph.light_gcn_config import LightGcnConfig
from recsys.models.base import NeuralModel
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.models.light_gcn import LightGcn
from recsys.settings.types import Device, Positive


@dataclass(frozen=True)
class SoftmaxMfConfig:
    """Size of the factorization, its loss and its optimization."""

    factors: Positive = 64
    """Length of the vectors of users and items."""
    negatives: Positive = 1_024
    """Number of items sampled uniformly for each batch."""
    batch_size: Positive = 8_192
    """Number of interactions of a training step."""
    learning_rate: AboveZero = 1e-2
    """Step size of Adam."""
    regularization: ZeroOrMore = 1e-2
    """Weight of the mean squared norm of the vectors in a batch."""
    epochs: Positive = 60
    """Maximum number of passes over the interactions."""
    seed: Seed = 0
    """Seed of all randomness."""
    device: Device = "auto"
    """Device of the fit and of the ranking."""


class SoftmaxMf(FactorModel, NeuralModel):
    """Matrix factorization with the sampled softmax loss: a score is the dot product of two trained vectors.

    For a user u with item i and the items J that are sampled uniformly for the batch, a step lowers

        -log (exp s_ui / (exp s_ui + sum over j in J of exp s_uj))

    plus the regularization. Uniform samples need no correction by their probability, which is the same for all.
    Source: Wu, Wang, Gao et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation" (TOIS
    2024), whose scores are cosines, here dot products. It is `LightGcn` without convolutions, with the same
    training: vectors are initialized with the first singular vectors of the normalized interactions, and training
    stops when the NDCG of held-out interactions no longer rises. Confidences are not used. Items without users come
    after all others.
    """

    name = "softmax_mf"
    config_type = SoftmaxMfConfig
    config: SoftmaxMfConfig

    def __init__(self, config: SoftmaxMfConfig = SoftmaxMfConfig()) -> None:
        super().__init__(config)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:
        """Count like `LightGcn`, without convolutions."""
        return self._as_light_gcn().bytes_needed(users, items, interactions)

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count like `LightGcn`, without convolutions."""
        return self._as_light_gcn().work(users, items, interactions)

    def fit(self, interactions: Interactions) -> Self:
        """Train the vectors, and set `epochs` to the number of epochs after which they were best.

        Raises `ModelError` when torch and torch-geometric are not installed.
        """
        try:
            from recsys.models._graph.light_gcn_training import fit_vectors
        except ImportError:
            raise ModelError(
                f"{self.name} needs torch and torch-geometric: install recsys-engine[neural]"
            ) from None
        config = self._as_light_gcn().config
        vectors, self.epochs = fit_vectors(interactions, config, self.training, self.name)
        self.set_factors(*vectors)
        return self

    def _as_light_gcn(self) -> LightGcn:
        config = self.config
        return LightGcn(
            LightGcnConfig(
                embedding_size=config.factors,
                layers=0,
                loss="softmax",
                negatives=config.negatives,
                batch_size=config.batch_size,
                learning_rate=config.learning_rate,
                regularization=config.regularization,
                epochs=config.epochs,
                seed=config.seed,
                device=config.device,
            )
        )
