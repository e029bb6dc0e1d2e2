"""Settings of LightGCN, which the model and its training share."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.models.work import dense_work, vector_work
from recsys.ranking.factors import find_cuda
from recsys.settings.types import Device, Positive

UPDATE: Final = 10.0  # operations of the optimizer and of the average, for each coordinate
CUDA_SPEED: Final = 50.0  # of training, relative to a processor core


@dataclass(frozen=True)
class LightGcnConfig:
    """Size of the embeddings, graph convolution, loss and optimization."""

    embedding_size: Positive = 64
    """Length of the embeddings of users and items."""
    layers: Annotated[int, Field(ge=0)] = 3
    """Number of graph convolutions whose outputs are averaged; without, it is a matrix factorization."""
    loss: Literal["softmax", "bpr"] = "softmax"
    """Cross entropy against negatives sampled for the whole batch, or pairwise with one negative each."""
    negatives: Positive = 1_024
    """Softmax: number of items sampled uniformly for each batch."""
    batch_size: Positive = 8_192
    """Number of interactions of a training step."""
    learning_rate: AboveZero = 1e-2
    """Step size of Adam."""
    regularization: ZeroOrMore = 1e-2
    """Weight of the mean squared norm of the embeddings in a batch, before convolution."""
    epochs: Positive = 60
    """Maximum number of passes over the interactions."""
    seed: Seed = 0
    """Seed of all randomness."""
    device: Device = "auto"
    """Device of the fit and of the ranking."""


DEFAULT_CONFIG: Final = LightGcnConfig()


def training_work(config: LightGcnConfig, users: int, items: int, interactions: int) -> float:
    """Count the convolutions, the update of all embeddings, and the negatives of each step, forth and back."""
    steps = config.epochs * -(-interactions // config.batch_size)
    convolutions = vector_work(2.0 * config.layers * 2 * interactions * config.embedding_size)
    update = vector_work(UPDATE * (users + items) * config.embedding_size)
    negatives = dense_work(3.0 * config.batch_size * config.negatives * config.embedding_size)
    return steps * (convolutions + update + negatives) / (CUDA_SPEED if find_cuda(config.device) else 1)
