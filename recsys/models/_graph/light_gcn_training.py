"""Training of LightGCN: the graph, its convolutions, the losses, and the interactions held out for validation."""

# torch and torch-geometric do not type all of their signatures.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeStubs=false

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch_geometric.nn import LGConv

from recsys.data.interactions import Interactions
from recsys.data.scaling import normalize_by_degree
from recsys.data.truncated_svd import truncated_svd
from recsys.ids import Rows
from recsys.models._graph.light_gcn_config import LightGcnConfig
from recsys.models._neural.training import Schedule, join_workers, train
from recsys.models.base import Precision, TrainingOptions
from recsys.ranking.factor_index import row_norms

HELD_OUT_USERS: Final = 4_000
HELD_OUT_ITEMS: Final = 0.2  # share of a user's items, at least one
HELD_OUT_SHARE: Final = 0.02  # maximum, of all interactions
MIN_ITEMS: Final = 3  # of a user with held-out items
VALIDATION_BLOCK: Final = 256  # users
PATIENCE: Final = 6
CUTOFF: Final = 20
INITIAL_SCORE: Final = 0.7
NOISE: Final = 1e-3  # scale of the coordinates beyond the number of singular values

Vectors = NDArray[np.float32]
_CONVOLUTION = LGConv(normalize=False)


@dataclass(frozen=True)
class Examples:
    """Training pairs of users and items, (N,) each, and items of some users that are held out for validation."""

    users: Rows
    items: Rows
    held_out_users: Rows
    held_out_items: csr_matrix  # held-out users x items, ones
    user_items: csr_matrix  # users x items, ones: the training pairs


class _Convolution(torch.autograd.Function):
    """One graph convolution. The adjacency is symmetric, so its gradient needs no transpose, unlike autograd's."""

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, adjacency: Tensor) -> Tensor:  # type: ignore[override]
        ctx.adjacency = adjacency
        return _CONVOLUTION(nodes, adjacency)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _CONVOLUTION(gradient, ctx.adjacency), None


class LightGcnModule(nn.Module):
    """Embeddings of all nodes, users first, and the loss of a batch of interactions."""

    def __init__(
        self, examples: Examples, config: LightGcnConfig, device: torch.device, precision: Precision = "auto"
    ) -> None:
        super().__init__()
        self.config = config
        self.is_bfloat16 = device.type == "cuda" if precision == "auto" else precision == "bfloat16"
        self.users, self.items = examples.user_items.shape
        weights = normalize_by_degree(examples.user_items)
        self.adjacency = symmetric_adjacency(weights).to(device)
        self.nodes = nn.Parameter(torch.from_numpy(initial_vectors(weights, config)).to(device))
        self.positive_users = torch.from_numpy(examples.users.astype(np.int64)).to(device)
        self.positive_items = torch.from_numpy(examples.items.astype(np.int64)).to(device)

    def convolve(self) -> Tensor:
        """Average the embeddings of all nodes over the convolutions."""
        layer = total = self.nodes
        for _ in range(self.config.layers):
            layer = _Convolution.apply(layer, self.adjacency)
            total = total + layer
        return total / (self.config.layers + 1)

    def forward(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """Compute the mean loss of the interactions at `places`, plus the penalty on their embeddings."""
        places = places.to(self.nodes.device)
        users, items = self.positive_users[places], self.positive_items[places]
        size = len(places) if self.config.loss == "bpr" else self.config.negatives
        negatives = torch.randint(self.items, (size,), generator=generator).to(self.nodes.device)
        nodes = (users, self.users + items, self.users + negatives)
        convolved = self.convolve()
        # `embedding` rather than an index: its gradient is summed in the same order for any number of threads.
        with torch.autocast(self.nodes.device.type, torch.bfloat16, enabled=self.is_bfloat16):
            loss = LOSSES[self.config.loss](*(nn.functional.embedding(rows, convolved) for rows in nodes))
        norms = [nn.functional.embedding(rows, self.nodes).square().sum(1).mean() for rows in nodes]
        return loss.float() + self.config.regularization * torch.stack(norms).sum()


def softmax_loss(users: Tensor, items: Tensor, negatives: Tensor) -> Tensor:
    """Compute the mean cross entropy of each user's item (N, d) against all of the negatives (M, d)."""
    positive = (users * items).sum(1)
    return (torch.logaddexp(positive, (users @ negatives.T).logsumexp(1)) - positive).mean()


def bpr_loss(users: Tensor, items: Tensor, negatives: Tensor) -> Tensor:
    """Compute the mean of -log sigmoid(score of the item - score of the negative), (N, d) each."""
    return nn.functional.softplus((users * (negatives - items)).sum(1)).mean()


LOSSES = {"softmax": softmax_loss, "bpr": bpr_loss}


def fit_vectors(
    interactions: Interactions, config: LightGcnConfig, options: TrainingOptions, name: str = "light_gcn"
) -> tuple[tuple[Vectors, Vectors, Vectors], int]:
    """Return the user factors, item factors and item bias of a `FactorModel`, and the best number of epochs."""
    examples = hold_out(interactions.positives, config.seed)
    with join_workers(config.device) as workers:
        torch.manual_seed(config.seed)
        module = LightGcnModule(examples, config, workers.device, options.precision)
        schedule = Schedule(config.epochs, config.batch_size, config.learning_rate, config.seed, PATIENCE)
        validate = (lambda: validation_ndcg(module, examples)) if len(examples.held_out_users) else None
        history = train(module, len(examples.users), validate, schedule, options, workers, name)
        users, items = _convolved_arrays(module)
    return (users, items, _item_bias(users, items, interactions.positives)), history.best + 1


def hold_out(positives: csr_matrix, seed: int) -> Examples:
    """Hold out a fifth of the items of some users with at least `MIN_ITEMS` items, drawn at random."""
    users, items = positives.shape
    counts = np.diff(positives.indptr)
    pair_users = np.repeat(np.arange(users, dtype=np.int32), counts)
    pair_items = positives.indices.astype(np.int32)
    generator = np.random.default_rng(seed)
    sampled = generator.permutation(np.flatnonzero(counts >= MIN_ITEMS))[:HELD_OUT_USERS]
    sizes = np.zeros(users, np.int64)
    sizes[sampled] = np.maximum(1, (HELD_OUT_ITEMS * counts[sampled]).astype(np.int64))
    sizes[sampled[np.cumsum(sizes[sampled]) > HELD_OUT_SHARE * positives.nnz]] = 0
    # A user's interactions in random order: the first of them are held out.
    order = np.lexsort((generator.random(positives.nnz), pair_users))
    is_held_out = np.empty(positives.nnz, np.bool_)
    is_held_out[order] = np.arange(positives.nnz) - positives.indptr[pair_users] < sizes[pair_users]
    held_out_users = np.flatnonzero(sizes).astype(np.int32)
    kept, held_out = (
        csr_matrix((np.ones(int(mask.sum()), np.float32), (pair_users[mask], pair_items[mask])), (users, items))
        for mask in (~is_held_out, is_held_out)
    )
    learned = pair_users[~is_held_out], pair_items[~is_held_out]
    return Examples(*learned, held_out_users, csr_matrix(held_out[held_out_users]), kept)


def symmetric_adjacency(weights: csr_matrix) -> Tensor:
    """Return the symmetric adjacency matrix, as CSR, of the graph whose nodes are users, then items."""
    users, items = weights.shape
    entries = weights.tocoo()
    rows, columns = entries.row, entries.col + users
    adjacency = csr_matrix(
        (np.tile(entries.data, 2), (np.concatenate([rows, columns]), np.concatenate([columns, rows]))),
        shape=(users + items, users + items),
    )
    adjacency.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(adjacency.indptr.astype(np.int32)),
            torch.from_numpy(adjacency.indices.astype(np.int32)),
            torch.from_numpy(adjacency.data),
            adjacency.shape,
        )


def initial_vectors(weights: csr_matrix, config: LightGcnConfig) -> Vectors:
    """Return initial embeddings from the graph's first singular vectors, (users + items, embedding size).

    They are scaled so that the mean score of an interaction is `INITIAL_SCORE` x log(number of negatives): the
    softmax is then neither flat nor saturated.
    """
    values, item_vectors = truncated_svd(weights, config.embedding_size, config.seed)
    vectors = np.concatenate([weights @ (item_vectors / values), item_vectors]) * np.sqrt(values)
    noise = np.random.default_rng(config.seed).standard_normal(
        (len(vectors), config.embedding_size - len(values)), np.float32
    )
    vectors = np.concatenate([vectors, NOISE * noise], axis=1)
    vectors /= np.maximum(row_norms(vectors), np.finfo(np.float32).tiny)[:, None]
    layer = total = vectors
    users, transposed = weights.shape[0], csr_matrix(weights.T)
    for _ in range(config.layers):
        layer = np.concatenate([weights @ layer[users:], transposed @ layer[:users]])
        total = total + layer
    convolved = total / (config.layers + 1)
    rows, columns = weights.nonzero()
    mean = float(np.einsum("nd,nd->n", convolved[rows], convolved[users + columns]).mean())
    vectors *= np.sqrt(INITIAL_SCORE * np.log1p(config.negatives) / max(mean, 1e-6))
    return np.ascontiguousarray(vectors, np.float32)


def _convolved_arrays(module: LightGcnModule) -> tuple[Vectors, Vectors]:
    """Return the convolved embeddings of users and items, zeros for nodes without an edge."""
    with torch.no_grad():
        users, items = np.split(module.convolve().cpu().numpy(), [module.users])
    edges = np.diff(module.adjacency.crow_indices().cpu().numpy())
    users[edges[: len(users)] == 0] = 0
    items[edges[len(users) :] == 0] = 0
    return users, items


def validation_ndcg(module: LightGcnModule, examples: Examples) -> float:
    """Compute the mean NDCG of the held-out items among all items that the users do not have, on the device."""
    with torch.no_grad():
        users, items = module.convolve().split([module.users, module.items])
    total, discount = 0.0, 1 / np.log2(np.arange(2, CUTOFF + 2))
    cutoff = min(CUTOFF, module.items)
    for start in range(0, len(examples.held_out_users), VALIDATION_BLOCK):
        rows = examples.held_out_users[start : start + VALIDATION_BLOCK]
        scores = users[torch.from_numpy(rows.astype(np.int64)).to(users.device)] @ items.T
        known = examples.user_items[rows].tocoo()
        scores[known.row.astype(np.int64), known.col.astype(np.int64)] = -torch.inf
        ranked = scores.topk(cutoff).indices.cpu().numpy()
        held_out = examples.held_out_items[start : start + VALIDATION_BLOCK]
        hits = np.take_along_axis(held_out.toarray(), ranked, 1)
        ideal = discount.cumsum()[np.minimum(np.diff(held_out.indptr), CUTOFF) - 1]
        total += float((hits @ discount[:cutoff] / ideal).sum())
    return total / len(examples.held_out_users)


def _item_bias(users: Vectors, items: Vectors, positives: csr_matrix) -> Vectors:
    """Return a bias below any score for items without users, 0 for all others."""
    has_no_users = np.bincount(positives.indices, minlength=len(items)) == 0
    lowest = -1 - float(row_norms(users).max(initial=0) * row_norms(items).max(initial=0))
    return np.where(has_no_users, lowest, 0).astype(np.float32)
