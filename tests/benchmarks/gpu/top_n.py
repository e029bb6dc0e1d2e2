"""Exact top-N on a GPU, compared with a sort in double precision, and with the CPU where numba is installed."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import torch
from scipy.sparse import csr_matrix

from recsys.ranking.cuda import DeviceIndex
from recsys.ranking.factor_index import FactorIndex, row_norms
from recsys.ranking.factors import rank_factors
from recsys.ranking.top_k import Exclusion, Rows

FACTORS: Final = 64
N: Final = 20
CHECKED_USERS: Final = 500
ROUNDS: Final = 3


def measure_top_n(user_items: csr_matrix, device: str, *, is_compiled: bool) -> Iterator[tuple[str, Any]]:
    """Rank all items for users on the device, compare the ids, print a table, and yield the figures.

    Without numba, loops run as Python, so that only `CHECKED_USERS` are ranked and no seconds are measured.
    """
    users, items = user_items.shape
    random = np.random.default_rng(0)
    user_vectors, item_vectors = (random.standard_normal((size, FACTORS), np.float32) for size in (users, items))
    index = FactorIndex.build(item_vectors, np.zeros(items, np.float32), float(row_norms(user_vectors).mean()))
    exclude, checked = Exclusion(user_items), random.choice(users, min(users, CHECKED_USERS), replace=False)
    print(f"\n| top {N} of {items:,} items, {FACTORS} factors | measured |\n| --- | --- |")

    def rank(rows: Rows, where: str) -> Rows:
        return rank_factors(user_vectors, index, rows, N, exclude, where)[0]  # type: ignore[arg-type]

    expected = _sort(user_vectors[checked], item_vectors, user_items[checked])
    ranked = rank(checked.astype(np.int32), device)
    yield from _row(f"lists of {len(checked)} users with other ids than a sort", _differing(ranked, expected))
    if not is_compiled:
        return
    everyone = np.arange(users, dtype=np.int32)
    yield from _row(
        "lists of all users with other ids than the CPU's",
        _differing(rank(everyone, device), rank(everyone, "cpu")),
    )
    for where in dict.fromkeys((device, "cpu")):
        yield from _row(
            f"seconds, all {users:,} users, {where}", _fastest(lambda where=where: rank(everyone, where))
        )
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        rank(everyone, device)
        yield from _row("peak MB of the device", torch.cuda.max_memory_allocated() / 2**20)


def measure_candidates(user_items: csr_matrix, device: str) -> Iterator[tuple[str, Any]]:
    """Time the part of the ranking that the device does: products, exclusions and selection."""
    users, items = user_items.shape
    vectors = torch.randn(items, FACTORS, device=device)
    index = FactorIndex.build(vectors.cpu().numpy(), np.zeros(items, np.float32), 1.0)
    device_index = DeviceIndex.build(device, index, items)

    def select() -> None:
        for start in range(0, users, device_index.block_users):
            size = min(device_index.block_users, users - start)
            torch.topk(torch.randn(size, FACTORS, device=device) @ device_index.vectors, N + 32, dim=1)
        if device == "cuda":
            torch.cuda.synchronize()

    yield from _row(f"seconds of products and selection, {users:,} users, {device}", _fastest(select))


def _row(name: str, value: float) -> Iterator[tuple[str, float]]:
    print(f"| {name} | {value:,.4g} |", flush=True)
    yield name, value


def _fastest(work: Callable[[], Any]) -> float:
    """Return the seconds of the fastest of some runs, after one that warms up."""
    seconds: list[float] = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def _sort(users: np.ndarray, items: np.ndarray, seen: csr_matrix) -> Rows:
    """Rank by scores in double precision; ties are in order of item row."""
    scores = users.astype(np.float64) @ items.astype(np.float64).T
    scores[seen.nonzero()] = -np.inf
    return np.argsort(-scores, axis=1, kind="stable")[:, :N].astype(np.int32)


def _differing(lists: Rows, others: Rows) -> int:
    return int((lists != others).any(axis=1).sum())
