"""LensKit's models on a task of `task`, each in LensKit's standard top-n pipeline."""

from dataclasses import dataclass
from typing import Any

import pandas as pd
from lenskit.als import ImplicitMFConfig, ImplicitMFScorer
from lenskit.batch import recommend
from lenskit.data import Dataset, from_interactions_df
from lenskit.knn import ItemKNNScorer, UserKNNScorer
from lenskit.knn.ease import EASEConfig, EASEScorer
from lenskit.knn.slim import SLIMScorer
from lenskit.pipeline import Pipeline, topn_pipeline
from lenskit.training import TrainingOptions

from tests.benchmarks.peers.task import run

# Neighborhood models need an option for data without ratings. EASE may use all the time of a model, so it is run
# once, with the default regularization of RecTools instead of its own, 1.
MODELS = {
    "ItemKNN": lambda: ItemKNNScorer(feedback="implicit"),
    "UserKNN": lambda: UserKNNScorer(feedback="implicit"),
    "UserKNN, 100 neighbors": lambda: UserKNNScorer(feedback="implicit", max_nbrs=100),
    "ImplicitMF": ImplicitMFScorer,
    "ImplicitMF, 256 factors": lambda: ImplicitMFScorer(ImplicitMFConfig(embedding_size=256)),
    "EASE, regularization 500": lambda: EASEScorer(EASEConfig(regularization=500)),
    "SLIM": SLIMScorer,
}


@dataclass(frozen=True)
class Trained:
    """A trained pipeline."""

    pipeline: Pipeline

    def lists(self, users: Any, n: int) -> pd.DataFrame:
        """Rank new items, in one process, whose memory is measured."""
        return recommend(self.pipeline, users.tolist(), n=n, n_jobs=1).to_df()


@dataclass(frozen=True)
class LensKit:
    """The history as LensKit's data set."""

    history: Dataset

    def fit(self, model: Any) -> Trained:
        """Train a scorer within LensKit's candidate selection and ranking."""
        pipeline = topn_pipeline(model)
        pipeline.train(self.history, TrainingOptions(rng=0))
        return Trained(pipeline)


def prepare(history: pd.DataFrame) -> LensKit:
    """Convert the history to LensKit's format."""
    return LensKit(from_interactions_df(history))


if __name__ == "__main__":
    run(prepare, MODELS)
