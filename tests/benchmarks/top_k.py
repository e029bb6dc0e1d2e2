"""Exact top-N compared with `implicit` and numpy's `argpartition`: `python -m tests.benchmarks.top_k`."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.ranking import top_k as ranking
from recsys.ranking.factor_index import FactorIndex, row_norms
from recsys.ranking.factors import rank_factors
from recsys.ranking.top_k import Exclusion, Rows, Scores

GOWALLA = Path(__file__).parents[3] / "shared" / "data" / "gowalla" / "train.parquet"
FACTORS, N, ROUNDS = 64, 20, 5
MIN_RATIO = 2.0
DENSE = (20_000, 50_000)
DENSE_BLOCK = 400

Work = Callable[[], Any]


def top_k(work: Path) -> Iterator[tuple[str, Any]]:  # noqa: ARG001
    """Time our ranking and theirs in turns, compare the ids, and print a table."""
    print(f"\nTop {N} of all items, median of {ROUNDS} runs in turns\n")
    print("| what | theirs s | ours s | times as fast | lists with other ids |\n| --- | --- | --- | --- | --- |")
    if GOWALLA.is_file():
        yield "gowalla top-n", _gowalla()
    else:
        print(f"| no gowalla at {GOWALLA}: left out | | | | |")
    yield "dense top-n", _dense()


def _gowalla() -> dict[str, float]:
    pairs = pl.read_parquet(GOWALLA)
    ones = np.ones(len(pairs), np.float32)
    user_items = csr_matrix((ones, (pairs["user_id"].to_numpy(), pairs["item_id"].to_numpy())))
    users, items = user_items.shape
    with threadpool_limits(1, "blas"):  # as implicit recommends; otherwise it is slower
        implicit = AlternatingLeastSquares(factors=FACTORS, random_state=0)
        implicit.fit(user_items, show_progress=False)
    everyone = np.arange(users, dtype=np.int32)

    def theirs() -> tuple[Rows, Scores]:
        with threadpool_limits(1, "blas"):
            return implicit.recommend(everyone, user_items, N=N, filter_already_liked_items=True)

    def ours() -> tuple[Rows, Scores]:
        length = float(row_norms(implicit.user_factors).mean())
        index = FactorIndex.build(implicit.item_factors, np.zeros(items, np.float32), length)
        return rank_factors(implicit.user_factors, index, everyone, N, Exclusion(user_items), "cpu")

    title = f"ALS of {FACTORS} factors, {users:,} users x {items:,} items of Gowalla; implicit"
    their_ids, our_ids = theirs()[0], ours()[0]
    other_ids = int((np.sort(their_ids, axis=1) != np.sort(our_ids, axis=1)).any(axis=1).sum())
    other_order = int((their_ids != our_ids).any(axis=1).sum()) - other_ids
    figures = _in_turns(title, theirs, ours, f"{other_ids}; {other_order} in another order", MIN_RATIO)
    return figures | {"lists with other ids": other_ids, "lists in another order": other_order}


def _dense() -> dict[str, float]:
    users, items = DENSE
    scores = np.random.default_rng(0).random((DENSE_BLOCK, items), np.float32)

    def theirs() -> list[Rows]:
        return [_by_argpartition(scores) for _ in range(0, users, DENSE_BLOCK)]

    def ours() -> list[Rows]:
        return [ranking.top_k(scores, N)[0] for _ in range(0, users, DENSE_BLOCK)]

    their_ids, our_ids = _by_argpartition(scores), ranking.top_k(scores, N)[0]
    other_ids = int((np.sort(their_ids, axis=1) != np.sort(our_ids, axis=1)).any(axis=1).sum())
    return _in_turns(f"{users:,} x {items:,} random scores; argpartition", theirs, ours, str(other_ids), 0)


def _by_argpartition(scores: Scores) -> Rows:
    chosen = np.argpartition(scores, -N, axis=1)[:, -N:]
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1)
    return np.take_along_axis(chosen, order, axis=1).astype(np.int32)


def _in_turns(title: str, theirs: Work, ours: Work, difference: str, min_ratio: float) -> dict[str, float]:
    """Time both in turns, already warm; the ratio is the median of those of successive runs."""
    seconds = [(_seconds(theirs), _seconds(ours)) for _ in range(ROUNDS)]
    ratio = median(of_theirs / of_ours for of_theirs, of_ours in seconds)
    medians = [median(column) for column in zip(*seconds, strict=True)]
    shown = f"{ratio:.1f}" if ratio >= min_ratio else f"**missed: {ratio:.1f}**"
    print(f"| {title} | {medians[0]:.2f} | {medians[1]:.2f} | {shown} | {difference} |", flush=True)
    return {"their seconds": medians[0], "our seconds": medians[1], "ratio": ratio}


def _seconds(work: Work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    dict(top_k(Path()))
