"""Names of what the steps of a run write: paths under the run directory, and the names in its manifest."""

from typing import Final

SCREEN: Final = "screen"
FEATURES: Final = "features"
SEARCH: Final = "evaluation/search"
UNSCREENED: Final = "evaluation/unscreened"
MODELS: Final = "models"
CATEGORIES: Final = "categories"
LISTS: Final = "lists"
REPORT: Final = "report"
PUBLISH: Final = "publish"

VALIDATION: Final = "validation"
TEST: Final = "test"


def model_step(name: str) -> str:
    """Name the output with the model called `name`, fitted on all events."""
    return f"{MODELS}/{name}"


def window_step(window: str, name: str) -> str:
    """Name the output with the measurement of the model called `name` on `VALIDATION` or `TEST`."""
    return f"evaluation/{window}/{name}"


def fold_step(number: int, name: str) -> str:
    """Name the output with the measurement of the model called `name` on a window of the cross-validation."""
    return window_step(f"fold-{number}", name)
