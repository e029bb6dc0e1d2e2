"""RecTools' models on a task of `task`."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import TFIDFRecommender
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import (
    EASEModel,
    ImplicitALSWrapperModel,
    ImplicitItemKNNWrapperModel,
    PureSVDModel,
)
from threadpoolctl import threadpool_limits

from tests.benchmarks.peers.task import run

# The other models of RecTools wrap those of `implicit`, which are measured by themselves.
MODELS = {
    "EASE": EASEModel,
    "ItemKNN of implicit, TF-IDF": lambda: ImplicitItemKNNWrapperModel(TFIDFRecommender()),
    "ALS of implicit, alpha 40": lambda: ImplicitALSWrapperModel(AlternatingLeastSquares(alpha=40, random_state=0)),
    "PureSVD": lambda: PureSVDModel(random_state=0),
    "PureSVD, 256 factors": lambda: PureSVDModel(factors=256, random_state=0),
}


@dataclass(frozen=True)
class Fitted:
    """A fitted model and the history, which RecTools needs again to rank."""

    model: Any
    history: Dataset

    def lists(self, users: Any, n: int) -> pd.DataFrame:
        """Rank new items."""
        return self.model.recommend(users, self.history, k=n, filter_viewed=True)


@dataclass(frozen=True)
class RecTools:
    """The history as RecTools' data set."""

    history: Dataset

    def fit(self, model: Any) -> Fitted:
        """Fit a model; ALS with one BLAS thread, as `implicit` recommends."""
        with threadpool_limits(1 if isinstance(model, ImplicitALSWrapperModel) else None, "blas"):
            return Fitted(model.fit(self.history), self.history)


def prepare(history: pd.DataFrame) -> RecTools:
    """Convert the history to RecTools' format: weight 1 and the same day, which no model here uses."""
    weighed = history.assign(**{Columns.Weight: 1.0, Columns.Datetime: pd.Timestamp(0)})
    return RecTools(Dataset.construct(weighed))


if __name__ == "__main__":
    run(prepare, MODELS)
