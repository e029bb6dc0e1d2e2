"""Stages of a run, and names of its outputs: paths under the run directory, and keys in its manifest."""

from enum import IntEnum
from typing import Final

SCREEN: Final = "screen"
FEATURES: Final = "features"
PLAN: Final = "evaluation/plan"
SEARCH_MEMORY: Final = "evaluation/search_memory"
WINDOWS: Final = "evaluation/windows"
SEARCH: Final = "evaluation/search"
UNSCREENED: Final = "evaluation/unscreened"
MODELS: Final = "models"
CHECKPOINTS: Final = "checkpoints"
CATEGORIES: Final = "categories"
FORECASTS: Final = "forecasts"
LISTS: Final = "lists"
REPORT: Final = "report"
PUBLISH: Final = "publish"

VALIDATION: Final = "validation"
TEST: Final = "test"


class Until(IntEnum):
    """The stage at which a run stops."""

    FEATURES = 1
    TRAIN = 2
    EVALUATE = 3
    PUBLISH = 4


def model_step(name: str) -> str:
    """Return the name of the output with the model called `name`, fitted on all events."""
    return f"{MODELS}/{name}"


def window_step(window: str, name: str) -> str:
    """Return the name of the output with a model's measurement on the window `VALIDATION` or `TEST`."""
    return f"evaluation/{window}/{name}"


def fold_step(number: int, name: str) -> str:
    """Return the name of the output with a model's measurement on a window of the cross-validation."""
    return window_step(f"fold-{number}", name)
