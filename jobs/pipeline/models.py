"""The models of a run: built as configured, fitted on all events, and loaded again."""

from collections.abc import Iterable

from jobs.pipeline.run import Run
from jobs.pipeline.step_names import CHECKPOINTS, model_step
from jobs.progress import Progress
from recsys.data.interactions import Interactions
from recsys.models.base import Model, NeuralModel, TrainingOptions
from recsys.models.registry import build_model, model_type
from recsys.settings import Settings

# Models of the lists that are the same for all users.
POPULARITY, TRENDING, ITEM_KNN = "popularity", "trending", "item_knn"


def build_configured_model(name: str, settings: Settings) -> Model:
    """Build the model called `name`, not yet fitted; raises `SettingsError` for a wrong name or config."""
    return build_model(name, settings.model_settings.get(name, {}), settings.seed, settings.device)


def check_models(names: Iterable[str], settings: Settings) -> None:
    """Raise `SettingsError` for a wrong name or config now rather than after other models have been fitted."""
    for name in names:
        build_configured_model(name, settings)
    for name in settings.model_settings:
        model_type(name)


def fit_on_all_events(
    run: Run, name: str, interactions: Interactions, settings: Settings, progress: Progress
) -> Model:
    """Fit the model called `name`; a long fit keeps checkpoints in the run directory and resumes from them."""
    model = build_configured_model(name, settings)
    epochs = model.config.epochs if isinstance(model, NeuralModel) else None
    with progress.task(f"fit {name} on all events", epochs) as task:
        if isinstance(model, NeuralModel):
            checkpoint = run.directory / CHECKPOINTS / f"{name}.safetensors"
            model.training = TrainingOptions(checkpoint, on_epoch=lambda _done, _epochs: task.advance(1))
        return model.fit(interactions)


def load_fitted_model(run: Run, name: str) -> Model:
    """Load the model called `name` that the train step fitted."""
    return model_type(name).load(run.directory / model_step(name))
