"""Gradient boosted trees that rank candidates: one ensemble for the probability of purchase, one for the order."""

# LightGBM does not type the arguments of its callbacks.
# pyright: reportUnknownMemberType=false

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.models._purchases.boosted_trees import reproducible_parameters
from recsys.models._purchases.purchase_features import Table
from recsys.models.artifacts import Array

if TYPE_CHECKING:
    import lightgbm

OBJECTIVES: Final = ("binary", "lambdarank")
LEAF_ROWS: Final = 100
"""Minimum number of training rows of a leaf; a small training set has a hundredth of its rows instead."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingTable:
    """Candidates of one moment, in order of user, and whether each was bought in the window after it."""

    features: Table  # (N, features)
    bought: NDArray[np.bool_]  # (N,)
    sizes: NDArray[np.int64]  # (users,) number of candidates of each user, all above 0
    weights: NDArray[np.float32]  # (N,) number of candidates that each one stands for


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the boosting of one ensemble."""

    trees: int
    leaves: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class RankingTrees:
    """Ensembles of trees, one for each of `OBJECTIVES`."""

    boosters: "tuple[lightgbm.Booster, ...]"

    def scores(self, features: Table) -> Values:
        """Score candidates, (N, features) to (N,), from 0 to 1: the logistic function of the mean raw score."""
        if not len(features):
            return np.zeros(0)
        return _logistic(np.mean([_predict(booster, features) for booster in self.boosters], axis=0))

    def probabilities(self, features: Table) -> Values:
        """Return the probability of purchase of candidates, (N, features) to (N,)."""
        return _logistic(_predict(self.boosters[OBJECTIVES.index("binary")], features))

    def importance(self) -> Values:
        """Return each feature's share of the gain of all splits, (features,), averaged over the ensembles."""
        gains = [booster.feature_importance("gain") for booster in self.boosters]
        return np.mean([gain / max(gain.sum(), 1e-12) for gain in gains], axis=0)

    def arrays(self) -> dict[str, Array]:
        """Return the text of each ensemble as bytes, by objective."""
        texts = (booster.model_to_string() for booster in self.boosters)
        return {
            f"trees.{objective}": np.frombuffer(text.encode(), np.uint8)
            for objective, text in zip(OBJECTIVES, texts, strict=True)
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "RankingTrees | None":
        """Rebuild the ensembles from what `arrays` returned; None where there are none."""
        import lightgbm  # as in `train_trees`

        if f"trees.{OBJECTIVES[0]}" not in arrays:
            return None
        texts = (arrays[f"trees.{objective}"].tobytes().decode() for objective in OBJECTIVES)
        return cls(tuple(lightgbm.Booster(model_str=text) for text in texts))


def train_trees(tables: Sequence[TrainingTable], settings: TreeSettings) -> RankingTrees | None:
    """Train on all tables; return None when there are none, and when all candidates were bought, or none was.

    Sources: Ke et al., "LightGBM: A Highly Efficient Gradient Boosting Decision Tree" (NeurIPS 2017); Burges, "From
    RankNet to LambdaRank to LambdaMART: An Overview" (Microsoft Research, 2010).
    """
    import lightgbm  # takes a second to import, which commands that train nothing do not need

    bought = np.concatenate([np.zeros(0, bool), *(table.bought for table in tables)])
    if bought.all() or not bought.any():
        return None
    data = lightgbm.Dataset(
        np.concatenate([table.features for table in tables]),
        bought.astype(np.float32),
        weight=np.concatenate([table.weights for table in tables]),
        group=np.concatenate([table.sizes for table in tables]),
        params=_parameters("binary", settings, len(bought)),
    ).construct()
    boosters: list[lightgbm.Booster] = []
    for objective in OBJECTIVES:
        boosters.append(lightgbm.train(_parameters(objective, settings, len(bought)), data, settings.trees))
        data.set_weight(None)  # weights make probabilities right, and would make the order of a user's pairs uneven
    return RankingTrees(tuple(boosters))


def _predict(booster: "lightgbm.Booster", features: Table) -> Values:
    return np.asarray(booster.predict(features, raw_score=True), np.float64)


def _logistic(values: Values) -> Values:
    return 1 / (1 + np.exp(-values))


def _parameters(objective: str, settings: TreeSettings, rows: int) -> dict[str, Any]:
    return {
        "objective": objective,
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": max(1, min(LEAF_ROWS, rows // 100)),
        "max_bin": 127,
        # Each tree sees half of the features and most rows, so that no single list or season dominates.
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        "lambdarank_truncation_level": 40,
        **reproducible_parameters(settings.seed),
    }
