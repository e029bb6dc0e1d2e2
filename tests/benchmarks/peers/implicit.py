"""implicit's models on a task of `task`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.nearest_neighbours import BM25Recommender, CosineRecommender, TFIDFRecommender
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from tests.benchmarks.peers.task import ITEM, RANK, USER, run

# The paper on ALS for implicit feedback (Hu, Koren, Volinsky, 2008) sets alpha to 40; by default an interaction has
# the same weight as a missing one.
MODELS = {
    "cosine": CosineRecommender,
    "BM25": BM25Recommender,
    "TF-IDF": TFIDFRecommender,
    "TF-IDF, 100 neighbors": lambda: TFIDFRecommender(K=100),
    "ALS": lambda: AlternatingLeastSquares(random_state=0),
    "ALS, alpha 40": lambda: AlternatingLeastSquares(alpha=40, random_state=0),
    "ALS, alpha 40, 256 factors": lambda: AlternatingLeastSquares(factors=256, alpha=40, random_state=0),
    "BPR": lambda: BayesianPersonalizedRanking(random_state=0),
}


@dataclass(frozen=True)
class Implicit:
    """The history as a matrix, users x items."""

    user_items: csr_matrix
    users: pd.Index
    items: pd.Index

    def fit(self, model: Any) -> "Fitted":
        """Fit a model with one BLAS thread, as implicit recommends."""
        with threadpool_limits(1, "blas"):
            model.fit(self.user_items, show_progress=False)
        return Fitted(model, self)


@dataclass(frozen=True)
class Fitted:
    """A fitted model and the history, which implicit needs again to rank."""

    model: Any
    data: Implicit

    def lists(self, users: Any, n: int) -> pd.DataFrame:
        """Rank new items; implicit fills lists that are too short with -1."""
        rows = self.data.users.get_indexer(users)
        with threadpool_limits(1, "blas"):
            lists, _ = self.model.recommend(rows, self.data.user_items[rows], N=n, filter_already_liked_items=True)
        user, place = np.nonzero(lists >= 0)
        return pd.DataFrame({USER: users[user], ITEM: self.data.items[lists[user, place]], RANK: place + 1})


def prepare(history: pd.DataFrame) -> Implicit:
    """Convert the history to implicit's format; every interaction has weight 1."""
    users, user_ids = pd.factorize(history[USER], sort=True)
    items, item_ids = pd.factorize(history[ITEM], sort=True)
    ones = np.ones(len(history), np.float32)
    return Implicit(csr_matrix((ones, (users, items))), pd.Index(user_ids), pd.Index(item_ids))


if __name__ == "__main__":
    run(prepare, MODELS)
