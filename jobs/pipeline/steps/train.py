"""The train step: fit the models of a run on all events before its `as_of`."""

import shutil
from functools import cache, partial
from pathlib import Path

from jobs.lake.lake import Lake
from jobs.pipeline.context import RunContext
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.models import ITEM_KNN, POPULARITY, TRENDING, fit_on_all_events
from jobs.pipeline.step_names import CHECKPOINTS, model_step
from jobs.pipeline.steps.list_parts import models_of_parts
from jobs.pipeline.steps.rank import RANKER, winning_models, write_final_ranker
from recsys.models.categories.levels import category_path
from recsys.models.light_gcn import LightGcn


def train_models(context: RunContext) -> RunContext:
    """Fit the winner or its members, and the models of shared lists, one output for each."""
    run = context.run
    interactions = cache(partial(read_interactions, run, context.settings.sources))

    def fit(directory: Path, name: str) -> None:
        fit_on_all_events(run, name, interactions(), context.settings, context.progress).save(directory)

    context.write_outputs({model_step(name): partial(fit, name=name) for name in _models_to_fit(context)})
    if context.winner == RANKER:
        context.write_outputs({model_step(RANKER): lambda path: write_final_ranker(path, context, interactions())})
    shutil.rmtree(run.directory / CHECKPOINTS, ignore_errors=True)
    return context


def _models_to_fit(context: RunContext) -> list[str]:
    names = {*winning_models(context), *models_of_parts(context), POPULARITY, TRENDING, ITEM_KNN}
    if LightGcn.name in context.settings.models and _lacks_categories(context.lake):
        names.add(LightGcn.name)
    return sorted(names)


def _lacks_categories(lake: Lake) -> bool:
    """Return whether some items have a category and others have none, for which one can be proposed."""
    without = lake.items().select(category_path().is_null()).collect().to_series()
    return bool(without.any()) and not without.all()
