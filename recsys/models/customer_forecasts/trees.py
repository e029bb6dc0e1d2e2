"""Gradient boosted trees that forecast a number, and their text form."""

# LightGBM does not type the arguments of its callbacks.
# pyright: reportUnknownMemberType=false

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.models._purchases.boosted_trees import reproducible_parameters
from recsys.models.artifacts import Array
from recsys.models.customer_forecasts.order_features import Table

if TYPE_CHECKING:
    import lightgbm

MIN_LEAF_ROWS: Final = 20

Values = NDArray[np.float64]


@dataclass(frozen=True)
class TreeSettings:
    """Settings of the boosting of one ensemble."""

    objective: Literal["binary", "tweedie"]
    trees: int
    leaves: int
    learning_rate: float
    seed: int


@dataclass(frozen=True)
class Trees:
    """An ensemble of trees."""

    booster: "lightgbm.Booster"

    def predict(self, features: Table) -> Values:
        """Return the probability or the mean of each row, (N, features) to (N,)."""
        return np.asarray(self.booster.predict(features), np.float64) if len(features) else np.zeros(0)

    def array(self) -> Array:
        """Return the text of the ensemble as bytes."""
        return np.frombuffer(self.booster.model_to_string().encode(), np.uint8)

    @classmethod
    def from_array(cls, array: Array) -> "Trees":
        """Rebuild the ensemble from what `array` returned."""
        import lightgbm  # as in `train_trees`

        return cls(lightgbm.Booster(model_str=array.tobytes().decode()))


def train_trees(features: Table, target: NDArray[Any], settings: TreeSettings) -> Trees:
    """Train on rows of features, (N, features), and what followed, (N,)."""
    import lightgbm  # takes a second to import, which commands that train nothing do not need

    data = lightgbm.Dataset(features, target.astype(np.float32), params=_parameters(settings, len(target)))
    return Trees(lightgbm.train(_parameters(settings, len(target)), data, settings.trees))


def _parameters(settings: TreeSettings, rows: int) -> dict[str, Any]:
    return {
        "objective": settings.objective,
        "num_leaves": settings.leaves,
        "learning_rate": settings.learning_rate,
        "min_data_in_leaf": max(MIN_LEAF_ROWS, min(200, rows // 500)),
        "max_bin": 127,
        "feature_fraction": 0.5,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 5.0,
        **reproducible_parameters(settings.seed),
    }
