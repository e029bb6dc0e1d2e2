"""The search step: choose models and their settings within a budget of work, from what earlier nights found."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from jobs.pipeline.context import RunContext
from jobs.pipeline.search.memory import FILE, earlier_nights, objective, read_nights, recall, write_nights
from jobs.pipeline.search.result import SearchResult, apply_search, read_search_result, write_search_result
from jobs.pipeline.search.search import search
from jobs.pipeline.step_names import SEARCH, SEARCH_MEMORY
from jobs.pipeline.steps.plan_measurement import unmeasured_winner
from jobs.pipeline.steps.windows import prepare_screened_window
from recsys.data.splits import time_split

__all__ = ["SearchResult", "apply_search", "read_search_result", "search", "search_models"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def search_models(context: RunContext) -> RunContext:
    """Search on the validation window; later steps get the best settings found.

    What earlier nights found is copied to the run first, so that a run that resumes starts from the same. A run
    that measures nothing has no search, and the model of `unmeasured_winner` as its only one.
    """
    if not context.is_measured:
        winner = unmeasured_winner(context.settings)
        return replace(context, settings=replace(context.settings, models=(winner,)))
    context.write_outputs(
        {SEARCH_MEMORY: partial(_copy_memory, context=context), SEARCH: partial(_write, context=context)}
    )
    return replace(context, settings=apply_search(context.settings, read_search_result(context.run)))


def _copy_memory(directory: Path, context: RunContext) -> None:
    split = time_split(context.run.as_of, context.settings.evaluation)
    chosen_by = objective(context.settings)
    write_nights(directory / FILE, earlier_nights(context.lake, context.run.as_of, split.validation_end, chosen_by))


def _write(directory: Path, context: RunContext) -> None:
    run, settings = context.run, context.settings
    split = time_split(run.as_of, settings.evaluation)
    window = prepare_screened_window(context, split.train_end, split.validation_end)
    memory = recall(read_nights(run.directory / SEARCH_MEMORY / FILE))
    night = (run.as_of - EPOCH).days
    result, lists = search(window, settings, context.progress, memory, night)
    for name, ranked in lists.items():
        np.save(directory / f"{name}.npy", ranked)
    write_search_result(run, directory, result)
