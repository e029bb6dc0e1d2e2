"""Models as the settings configure them."""

from collections.abc import Iterable

from recsys.models.base import Model
from recsys.models.registry import build_model
from recsys.settings import Settings


def build_candidate(name: str, settings: Settings) -> Model:
    """The model called `name`, not yet fitted; raises `SettingsError` for what the settings get wrong."""
    return build_model(name, settings.model_settings.get(name, {}), settings.seed, settings.device)


def check_candidates(names: Iterable[str], settings: Settings) -> None:
    """Raise `SettingsError` for a wrong name or config now rather than after the models before it are trained."""
    for name in names:
        build_candidate(name, settings)
