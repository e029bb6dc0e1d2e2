"""Names of the outputs of a run: paths under the run directory, and keys in its manifest."""

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
    """Return the name of the output with the model called `name`, fitted on all events."""
    return f"{MODELS}/{name}"


def window_step(window: str, name: str) -> str:
    """Return the name of the output with a model's measurement on the window `VALIDATION` or `TEST`."""
    return f"evaluation/{window}/{name}"


def fold_step(number: int, name: str) -> str:
    """Return the name of the output with a model's measurement on a window of the cross-validation."""
    return window_step(f"fold-{number}", name)
