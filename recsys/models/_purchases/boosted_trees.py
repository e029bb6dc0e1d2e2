"""What models of gradient boosted trees have in common: parameters of a reproducible training, and its work."""

from typing import Any, Final

from recsys.models.work import UNIT

TREE_OPERATIONS: Final = 50.0
"""Operations of each training row and tree."""
LEAF_OPERATIONS: Final = 60.0
"""Operations of each row that is scored and tree."""


def reproducible_parameters(seed: int) -> dict[str, Any]:
    """Return the parameters of LightGBM with which the same rows give the same trees.

    The number of threads is fixed, whatever the machine has: with another one, sums of gradients round differently.
    """
    return {"deterministic": True, "force_row_wise": True, "num_threads": 2, "seed": seed, "verbosity": -1}


def training_work(rows: float, trees: int) -> float:
    """Return the work of training trees on rows."""
    return rows * TREE_OPERATIONS * trees / UNIT


def prediction_work(rows: float, trees: int) -> float:
    """Return the work of scoring rows by trees."""
    return rows * LEAF_OPERATIONS * trees / UNIT
