"""Settings of LightGCN, which the model and its training share."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field

from recsys.models.config import AboveZero, Seed, ZeroOrMore
from recsys.settings.types import Device, Positive


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
