"""Training of neural models on a GPU in both precisions, compared with the CPU."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys.data.interactions import Interactions
from recsys.models._graph.light_gcn_config import LightGcnConfig
from recsys.models._graph.light_gcn_training import fit_vectors
from recsys.models.base import Precision, TrainingOptions

LAYERS: Final = {"light_gcn": 3, "matrix factorization": 0}
"""Without a convolution, LightGCN is a matrix factorization with the same loss."""
PRECISIONS: Final[tuple[Precision, ...]] = ("float32", "bfloat16")
CUTOFF: Final = 20
BLOCK_USERS: Final = 1_024
NOISE: Final = 3.0
"""Standard errors of the mean paired difference of two NDCG within which they are equal."""


@dataclass(frozen=True)
class Training:
    """One training on one device."""

    seconds: float
    """Median of the epochs but the first, validation included."""
    peak_bytes: int
    """Most memory of the device; 0 for the CPU, where it is not measured."""
    ndcg: NDArray[np.float64]
    """NDCG@20 of each user with test items."""


def measure_training(
    train: Interactions, test: csr_matrix, device: str, epochs: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Train each model on the device and on the CPU, print a table, and yield the figures."""
    print("\n| model | device | precision | seconds an epoch | peak MB | NDCG@20 | minus the CPU's |")
    print("|" + " --- |" * 7, flush=True)
    for name, layers in LAYERS.items():
        config = LightGcnConfig(layers=layers, epochs=epochs)
        reference = _train(train, test, config, "cpu", "float32")
        yield f"{name}, CPU", _print(name, "cpu", "float32", reference, reference)
        for precision in PRECISIONS:
            training = _train(train, test, config, device, precision)
            yield f"{name}, {device}, {precision}", _print(name, device, precision, training, reference)


def _train(
    train: Interactions, test: csr_matrix, config: LightGcnConfig, device: str, precision: Precision
) -> Training:
    moments = [time.perf_counter()]
    options = TrainingOptions(precision=precision, on_epoch=lambda _done, _all: moments.append(time.perf_counter()))
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    config = LightGcnConfig(layers=config.layers, epochs=config.epochs, device=device)  # type: ignore[arg-type]
    (users, items, bias), _ = fit_vectors(train, config, options)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    seconds = np.diff(moments)[1:] if len(moments) > 2 else np.diff(moments)
    return Training(median(seconds), peak, _ndcg(users, items, bias, train.user_items, test, device))


def _print(name: str, device: str, precision: str, training: Training, reference: Training) -> dict[str, Any]:
    difference = training.ndcg - reference.ndcg
    error = float(difference.std() / np.sqrt(len(difference)))
    is_equal = abs(difference.mean()) <= NOISE * error
    mark = "" if is_equal else " **other than the CPU's**"
    print(
        f"| {name} | {device} | {precision} | {training.seconds:.2f} | {training.peak_bytes / 2**20:,.0f} "
        f"| {training.ndcg.mean():.4f} | {difference.mean():+.5f} ± {error:.5f}{mark} |",
        flush=True,
    )
    return {
        "seconds an epoch": training.seconds,
        "peak bytes": training.peak_bytes,
        "ndcg": float(training.ndcg.mean()),
        "difference": float(difference.mean()),
        "standard error": error,
    }


def _ndcg(
    users: NDArray[np.float32],
    items: NDArray[np.float32],
    bias: NDArray[np.float32],
    train: csr_matrix,
    test: csr_matrix,
    device: str,
) -> NDArray[np.float64]:
    """Return the NDCG@20 of all users with test items; items of the training are left out of the lists."""
    discount = 1 / np.log2(np.arange(2, CUTOFF + 2))
    with_test = np.flatnonzero(np.diff(test.indptr))
    item_vectors, item_bias = torch.from_numpy(items).to(device), torch.from_numpy(bias).to(device)
    values: list[NDArray[np.float64]] = []
    for start in range(0, len(with_test), BLOCK_USERS):
        rows = with_test[start : start + BLOCK_USERS]
        scores = torch.from_numpy(users[rows]).to(device) @ item_vectors.T + item_bias
        known = train[rows].tocoo()
        scores[known.row.astype(np.int64), known.col.astype(np.int64)] = -torch.inf
        ranked = scores.topk(CUTOFF).indices.cpu().numpy()
        wanted = test[rows]
        hits = np.take_along_axis(wanted.toarray(), ranked, 1)
        values.append(hits @ discount / discount.cumsum()[np.minimum(np.diff(wanted.indptr), CUTOFF) - 1])
    return np.concatenate(values)
