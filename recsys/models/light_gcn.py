"""LightGCN: embeddings of users and items, averaged over graph convolutions."""

from typing import Self

from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models._factors.factor_model import FactorModel
from recsys.models._graph.light_gcn_config import DEFAULT_CONFIG, LightGcnConfig
from recsys.models.base import NeuralModel
from recsys.models.work import dense_work, vector_work
from recsys.ranking.factors import find_cuda

CUDA_SPEED = 50  # of training, relative to a processor core
UPDATES = 10  # operations of the optimizer and of the averages, for each coordinate


class LightGcn(FactorModel, NeuralModel):
    """Light graph convolution network (LightGCN): a score is the dot product of convolved embeddings.

    The embedding of a node is the mean over 0 to `layers` convolutions of the trained one, on the graph of users
    and items whose edges weigh 1 / sqrt(user's items x item's users). Source: He, Deng, Wang, Li, Zhang, Wang,
    "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation" (SIGIR 2020). Three things
    differ: the embeddings are initialized with the first singular vectors of the graph, not at random; the loss
    `softmax` is the sampled softmax over dot products of Wu, Wang, Gao et al., "On the Effectiveness of Sampled
    Softmax Loss for Item Recommendation" (TOIS 2024); training stops when the NDCG of held-out interactions, a
    fifth of those of some users, no longer rises. Items without users come after all others.
    """

    name = "light_gcn"
    config_type = LightGcnConfig
    config: LightGcnConfig

    def __init__(self, config: LightGcnConfig = DEFAULT_CONFIG) -> None:
        super().__init__(config)

    def bytes_needed(self, users: int, items: int, interactions: int) -> int:
        """Count embeddings with gradients, momenta and convolutions, the graph, and the scores of a batch."""
        vectors = 4 * self.config.embedding_size * (users + items) * (8 + 2 * self.config.layers)
        return vectors + 32 * interactions + 16 * self.config.batch_size * self.config.negatives

    def work(self, users: int, items: int, interactions: int) -> float:
        """Count the convolutions, the update of all embeddings, and the negatives of each step, forth and back."""
        config = self.config
        steps = config.epochs * -(-interactions // config.batch_size)
        convolutions = vector_work(2.0 * config.layers * 2 * interactions * config.embedding_size)
        update = vector_work(UPDATES * (users + items) * config.embedding_size)
        negatives = dense_work(3.0 * config.batch_size * config.negatives * config.embedding_size)
        speed = CUDA_SPEED if find_cuda(config.device) else 1
        return steps * (convolutions + update + negatives) / speed

    def _size(self) -> int:
        return self.config.embedding_size

    def fit(self, interactions: Interactions) -> Self:
        """Train the embeddings, and set `epochs` to the number of epochs after which they were best.

        Raises `ModelError` when torch and torch-geometric are not installed.
        """
        try:
            from recsys.models._graph.light_gcn_training import fit_vectors
        except ImportError:
            raise ModelError("light_gcn needs torch and torch-geometric: install recsys-engine[neural]") from None
        vectors, self.epochs = fit_vectors(interactions, self.config, self.training)
        self.set_factors(*vectors)
        return self
