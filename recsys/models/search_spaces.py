"""Which settings of which models are worth tuning, and between what."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Range:
    """Where a setting is looked for, both ends among it."""

    low: float
    high: float
    logarithmic: bool = False


_EXPONENT: Final = Range(0.1, 0.7)

SEARCH_SPACES: Final[dict[str, dict[str, Range]]] = {
    "item_knn": {"shrinkage": Range(0.5, 100.0, logarithmic=True)},
    "ease": {
        "regularization": Range(0.5, 50.0, logarithmic=True),
        "item_exponent": Range(0.0, 1.0),
        "user_exponent": Range(0.0, 0.5),
    },
    "bspm": {
        "user_exponent": _EXPONENT,
        "item_exponent": _EXPONENT,
        "low_pass": Range(0.03, 3.0, logarithmic=True),
        "sharpening": Range(0.0, 1.2),
    },
    "ials": {
        "regularization": Range(0.02, 1.0, logarithmic=True),
        "unobserved_weight": Range(2.0, 100.0, logarithmic=True),
    },
}
"""Of a setting that decides what a model is worth on one shop's data and not on another's. A range holds for any
data: the settings in it are relative to the data's size, or powers."""
