"""LightGCN: vectors of users and items, averaged over their neighbourhoods in the graph."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models._factors.factor_model import FactorModel
from recsys.models._neural.long_fit import ALONE, Training
from recsys.models.artifacts import load_model
from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.settings.types import Device, Positive


@dataclass(frozen=True)
class LightGcnConfig:
    """Size of the vectors, how far they spread, and how they are learned."""

    embedding_size: Positive = 64
    """Length of a user's and an item's vector."""
    layers: Positive = 3
    """Hops over the graph that are averaged."""
    loss: Literal["softmax", "bpr"] = "softmax"
    """Cross entropy of the item among negatives drawn for the whole batch, or pairwise with one negative each."""
    negatives: Positive = 1_024
    """Softmax: items drawn, all alike, for each batch."""
    batch_size: Positive = 8_192
    """Interactions of each step."""
    learning_rate: AboveZero = 1e-2
    """Step of Adam."""
    regularization: ZeroOrMore = 1e-2
    """Weight of the mean squared length of the vectors in a batch, before they are averaged."""
    epochs: Positive = 60
    """Most passes over the interactions."""
    seed: Seed = 0
    """Where all randomness starts."""
    device: Device = "auto"
    """Where the fit and the lists are computed."""


class LightGcn(FactorModel):
    """Scores by the product of user and item vectors, each the mean over 0 to `layers` hops of the learned ones.

    He, Deng, Wang, Li, Zhang, Wang, "LightGCN: Simplifying and Powering Graph Convolution Network for
    Recommendation" (SIGIR 2020), on the graph where an edge weighs 1 / sqrt(user's items x item's users). What
    differs: the vectors start as the graph's first singular vectors, not at random; `softmax` is the sampled
    softmax of Wu, Wang, Gao et al., "On the Effectiveness of Sampled Softmax Loss for Item Recommendation" (TOIS
    2024), over dot products; training ends when the NDCG of one interaction each of some users, held out from it,
    no longer rises. Items of no users come after all others.
    """

    name = "light_gcn"

    def __init__(self, config: LightGcnConfig = LightGcnConfig(), training: Training = ALONE) -> None:
        self.config: LightGcnConfig = config
        self.training = training

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:
        """Vectors with their gradients, momenta and hops, the graph, and the scores of a batch."""
        vectors = 4 * self.config.embedding_size * (users + items) * (8 + 2 * self.config.layers)
        return vectors + 32 * interactions + 16 * self.config.batch_size * self.config.negatives

    def fit(self, interactions: Interactions) -> Self:
        """Learn the vectors; `epochs` is how many it took to the best of them.

        Raises `ModelError` where torch and torch-geometric are not installed.
        """
        try:
            from recsys.models._graph.light_gcn_training import fit_vectors
        except ImportError:
            raise ModelError("light_gcn needs torch and torch-geometric: install recsys-engine[neural]") from None
        arrays, self.epochs = fit_vectors(interactions, self.config, self.training)
        self.take(arrays)
        return self

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the vectors."""
        config, arrays = load_model(directory, cls.name, LightGcnConfig)
        model = cls(config)
        model.take(arrays)
        return model
