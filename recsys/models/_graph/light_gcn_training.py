"""How LightGCN learns: the graph, its hops, the losses, and which interactions are held out to stop by."""

# torch and torch-geometric leave parts of their signatures without a type.
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
from recsys.data.scaling import scaled_by_counts
from recsys.data.truncated_svd import truncated_svd
from recsys.ids import Rows
from recsys.models._neural.long_fit import Training
from recsys.models._neural.training import Plan, train, workers
from recsys.models.artifacts import Array
from recsys.models.light_gcn import LightGcnConfig
from recsys.ranking.factors import FactorIndex, lengths_of, rank_factors
from recsys.ranking.top_k import Exclude

HELD_OUT_USERS: Final = 4_000
HELD_OUT_SHARE: Final = 0.02  # of all interactions, at most
MIN_ITEMS: Final = 3  # of a user who gives one away
PATIENCE: Final = 6
CUTOFF: Final = 20
FIRST_SCORE: Final = 0.7
NOISE: Final = 1e-3  # length of what fills vectors longer than the graph has singular values

Vectors = NDArray[np.float32]
_HOP = LGConv(normalize=False)


@dataclass(frozen=True)
class Examples:
    """Users and items to learn from, (N,) each, and one more item each of some users to stop by."""

    users: Rows
    items: Rows
    held_users: Rows
    held_items: Rows
    user_items: csr_matrix  # users x items, ones: what is learned from


class _Hop(torch.autograd.Function):
    """One hop. The adjacency is symmetric, so the gradient is a hop too; autograd would transpose each time."""

    @staticmethod
    def forward(ctx: Any, nodes: Tensor, adjacency: Tensor) -> Tensor:  # type: ignore[override]
        ctx.adjacency = adjacency
        return _HOP(nodes, adjacency)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return _HOP(gradient, ctx.adjacency), None


class LightGcnModule(nn.Module):
    """Vectors of all nodes, users first, and the loss of a batch of interactions."""

    def __init__(self, examples: Examples, config: LightGcnConfig, device: torch.device) -> None:
        super().__init__()
        self.config = config
        self.users, self.items = examples.user_items.shape
        weights = scaled_by_counts(examples.user_items)
        self.adjacency = adjacency_of(weights).to(device)
        self.nodes = nn.Parameter(torch.from_numpy(first_vectors(weights, config)).to(device))
        self.positive_users = torch.from_numpy(examples.users.astype(np.int64)).to(device)
        self.positive_items = torch.from_numpy(examples.items.astype(np.int64)).to(device)

    def spread(self) -> Tensor:
        """Vectors of all nodes, averaged over the hops."""
        reached = total = self.nodes
        for _ in range(self.config.layers):
            reached = _Hop.apply(reached, self.adjacency)
            total = total + reached
        return total / (self.config.layers + 1)

    def forward(self, places: Tensor, generator: torch.Generator) -> Tensor:
        """Mean loss of the interactions at `places`, and the penalty of their vectors' lengths."""
        places = places.to(self.nodes.device)
        users, items = self.positive_users[places], self.positive_items[places]
        size = len(places) if self.config.loss == "bpr" else self.config.negatives
        negatives = torch.randint(self.items, (size,), generator=generator).to(self.nodes.device)
        nodes = (users, self.users + items, self.users + negatives)
        spread = self.spread()
        # `embedding`, not an index: its gradient is summed in one order whatever the threads.
        with torch.autocast(self.nodes.device.type, torch.bfloat16, enabled=self.nodes.is_cuda):
            loss = LOSSES[self.config.loss](*(nn.functional.embedding(rows, spread) for rows in nodes))
        lengths = [nn.functional.embedding(rows, self.nodes).square().sum(1).mean() for rows in nodes]
        return loss.float() + self.config.regularization * torch.stack(lengths).sum()


def softmax_loss(users: Tensor, items: Tensor, negatives: Tensor) -> Tensor:
    """Mean cross entropy of each user's item (N, d) among it and all of the negatives (M, d)."""
    positive = (users * items).sum(1)
    return (torch.logaddexp(positive, (users @ negatives.T).logsumexp(1)) - positive).mean()


def bpr_loss(users: Tensor, items: Tensor, negatives: Tensor) -> Tensor:
    """Mean of -log sigmoid of how far each user's item (N, d) is above the negative (N, d) of the same place."""
    return nn.functional.softplus((users * (negatives - items)).sum(1)).mean()


LOSSES = {"softmax": softmax_loss, "bpr": bpr_loss}


def fit_vectors(
    interactions: Interactions, config: LightGcnConfig, training: Training
) -> tuple[dict[str, Array], int]:
    """The arrays of a `FactorModel`, and after how many epochs they were so."""
    examples = hold_out(interactions.wanted, config.seed)
    with workers(config.device) as among:
        torch.manual_seed(config.seed)
        module = LightGcnModule(examples, config, among.device)
        plan = Plan(config.epochs, config.batch_size, config.learning_rate, config.seed, PATIENCE)
        validate = (lambda: _ndcg(module, examples)) if len(examples.held_users) else None
        history = train(module, len(examples.users), validate, plan, training, among, "light_gcn")
        users, items = _as_arrays(module)
    arrays: dict[str, Array] = {"user_factors": users, "item_factors": items}
    return arrays | {"item_bias": _bias(users, items, interactions.wanted)}, history.best + 1


def hold_out(wanted: csr_matrix, seed: int) -> Examples:
    """One item each of some users of several items is set aside."""
    users, items = wanted.shape
    pair_users = np.repeat(np.arange(users, dtype=np.int32), np.diff(wanted.indptr))
    pair_items = wanted.indices.astype(np.int32)
    generator = np.random.default_rng(seed)
    several = np.flatnonzero(np.diff(wanted.indptr) >= MIN_ITEMS)
    size = min(HELD_OUT_USERS, int(HELD_OUT_SHARE * wanted.nnz), len(several))
    chosen = np.sort(generator.choice(several, size, replace=False)) if size else several[:0]
    places = wanted.indptr[chosen] + generator.integers(np.diff(wanted.indptr)[chosen]) if size else chosen
    kept = np.ones(wanted.nnz, np.bool_)
    kept[places] = False
    learned = csr_matrix(
        (np.ones(int(kept.sum()), np.float32), (pair_users[kept], pair_items[kept])), shape=(users, items)
    )
    return Examples(pair_users[kept], pair_items[kept], pair_users[places], pair_items[places], learned)


def adjacency_of(weights: csr_matrix) -> Tensor:
    """The symmetric matrix of the graph whose nodes are users, then items, as CSR."""
    users, items = weights.shape
    entries = weights.tocoo()
    rows, columns = entries.row, entries.col + users
    both = csr_matrix(
        (np.tile(entries.data, 2), (np.concatenate([rows, columns]), np.concatenate([columns, rows]))),
        shape=(users + items, users + items),
    )
    both.sort_indices()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(both.indptr.astype(np.int32)),
            torch.from_numpy(both.indices.astype(np.int32)),
            torch.from_numpy(both.data),
            both.shape,
        )


def first_vectors(weights: csr_matrix, config: LightGcnConfig) -> Vectors:
    """Directions of the nodes in the graph's first singular vectors, (users + items, embedding size).

    They are as long as it takes for the mean score of an interaction to be `FIRST_SCORE` of the logarithm of how
    many negatives it stands among: the softmax is then neither flat nor saturated.
    """
    values, of_items = truncated_svd(weights, config.embedding_size, config.seed)
    vectors = np.concatenate([weights @ (of_items / values), of_items]) * np.sqrt(values)
    noise = np.random.default_rng(config.seed).standard_normal(
        (len(vectors), config.embedding_size - len(values)), np.float32
    )
    vectors = np.concatenate([vectors, NOISE * noise], axis=1)
    vectors /= np.maximum(lengths_of(vectors), np.finfo(np.float32).tiny)[:, None]
    reached = total = vectors
    users, turned = weights.shape[0], csr_matrix(weights.T)
    for _ in range(config.layers):
        reached = np.concatenate([weights @ reached[users:], turned @ reached[:users]])
        total = total + reached
    spread = total / (config.layers + 1)
    rows, columns = weights.nonzero()
    mean = float(np.einsum("nd,nd->n", spread[rows], spread[users + columns]).mean())
    vectors *= np.sqrt(FIRST_SCORE * np.log1p(config.negatives) / max(mean, 1e-6))
    return np.ascontiguousarray(vectors, np.float32)


def _as_arrays(module: LightGcnModule) -> tuple[Vectors, Vectors]:
    """The vectors of users and items, all zeros where a node has no edge."""
    with torch.no_grad():
        users, items = np.split(module.spread().cpu().numpy(), [module.users])
    edges = np.diff(module.adjacency.crow_indices().cpu().numpy())
    users[edges[: len(users)] == 0] = 0
    items[edges[len(users) :] == 0] = 0
    return users, items


def _ndcg(module: LightGcnModule, examples: Examples) -> float:
    """NDCG of the items held out, one a user, among all that the user does not have."""
    users, items = _as_arrays(module)
    index = FactorIndex.of(items, np.zeros(len(items), np.float32), float(lengths_of(users).mean()))
    ranked, _ = rank_factors(users, index, examples.held_users, CUTOFF, Exclude(examples.user_items), "cpu")
    found = ranked == examples.held_items[:, None]
    return float((found / np.log2(np.arange(2, CUTOFF + 2))).sum(1).mean())


def _bias(users: Vectors, items: Vectors, wanted: csr_matrix) -> Vectors:
    """Less than any score for an item of no users, 0 for all others."""
    nobody = np.bincount(wanted.indices, minlength=len(items)) == 0
    lowest = -1 - float(lengths_of(users).max(initial=0) * lengths_of(items).max(initial=0))
    return np.where(nobody, lowest, 0).astype(np.float32)
