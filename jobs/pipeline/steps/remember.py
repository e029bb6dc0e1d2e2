"""The remember step: keep what a run's search found and published in the lake, for the searches of later nights."""

import numpy as np

from jobs.pipeline.context import RunContext
from jobs.pipeline.search.memory import ModelMemory, Night, objective, remember_night
from jobs.pipeline.search.result import CandidateResult, read_search_result
from jobs.pipeline.steps.evaluate import read_blend_choice
from jobs.pipeline.steps.rank import winning_models
from recsys.data.splits import time_split
from recsys.models.registry import model_type


def remember_search(context: RunContext) -> RunContext:
    """Write the values, scores and weights of the models that the run's search fitted to the lake's memory.

    A run that is repeated writes the same in the same place.
    """
    if not context.is_measured:
        return context
    run, settings = context.run, context.settings
    weights = _weights(context)
    models = {
        candidate.name: _memory_of(candidate, weights.get(candidate.name, 0.0))
        for candidate in read_search_result(run).tried
        if candidate.metric is not None
    }
    end = time_split(run.as_of, settings.evaluation).validation_end
    remember_night(context.lake, Night(run.as_of, end, objective(settings), models))
    return context


def _weights(context: RunContext) -> dict[str, float]:
    """Return the mean weight of each model of the blend, and equal shares for the other members of a ranker."""
    by_segment = read_blend_choice(context.run).weights
    weights = {name: float(np.mean([*of_model.values()])) for name, of_model in by_segment.items()}
    winners = winning_models(context)
    return dict.fromkeys(winners, 1 / len(winners)) | weights


def _memory_of(candidate: CandidateResult, weight: float) -> ModelMemory:
    """Keep values that later nights may tune further, and the trials after the first, the start."""
    assert candidate.metric is not None
    space = model_type(candidate.name).search_space
    values = {field: float(value) for field, value in (candidate.values or {}).items() if field in space}
    return ModelMemory(candidate.metric, weight, values or None, candidate.score, candidate.trials[1:])
