"""The popular list that users without history get, chosen on the new users of the validation window."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import EvaluationWindow
from jobs.pipeline.models import POPULARITY, TRENDING, build_configured_model
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import TEST, VALIDATION, window_step
from recsys.data.interactions import Interactions
from recsys.evaluation.metrics.ranking import Values, evaluate_lists
from recsys.evaluation.segments import MIN_RELIABLE_USERS
from recsys.files import read_json, write_json
from recsys.ids import Rows
from recsys.models.popularity import Popularity, recent_popularity
from recsys.models.trending import Trending
from recsys.ranking.top_k import top_k
from recsys.settings import Settings

ALL_TIME: Final = "all_time"
RECENT_DAYS: Final = {"last_28_days": 28.0, "last_7_days": 7.0}
CANDIDATES: Final = (ALL_TIME, *RECENT_DAYS, TRENDING)
"""Popularity over the whole history, with decay; over the last days alone; and the trend."""
NEW_USERS: Final = "new_users"
RESULT_FILE: Final = "result.json"

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class NewUsersResult:
    """The candidates on one window: the chosen one, and what they are worth for users without history."""

    chosen: str = ALL_TIME
    users: int = 0
    """Users without events before the window who have a relevant item in it."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, dict[str, float]])
    """Candidate -> metric at k -> mean over these users; empty without any."""


def score_items(
    candidate: str,
    interactions: Interactions,
    settings: Settings,
    popularity: Scores | None = None,
    trend: Scores | None = None,
) -> Scores:
    """Score items for users without history, (items,), as a candidate does.

    `popularity` and `trend` are those of the fitted models; they are fitted where they are missing. Items of equal
    score in a candidate are in order of `popularity`.
    """
    model = cast(Popularity, build_configured_model(POPULARITY, settings))
    if popularity is None:
        popularity = model.fit(interactions).item_popularity
    if candidate == ALL_TIME:
        return popularity
    if candidate != TRENDING:
        first = recent_popularity(interactions, RECENT_DAYS[candidate], model.config.saturation)
    elif trend is not None:
        first = trend
    else:
        first = cast(Trending, build_configured_model(TRENDING, settings)).fit(interactions).item_trend
    scores = np.empty(len(popularity), np.float32)
    scores[np.lexsort((-popularity, -first))] = -np.arange(len(popularity))
    return scores


def rank_for_new_users(scores: Scores, settings: Settings) -> Rows:
    """Return the items of the highest scores, as many as the largest cutoff."""
    return top_k(scores[None, :], max(settings.evaluation.cutoffs))[0][0]


def measure_new_users(context: RunContext, window_name: str, window: Callable[[], EvaluationWindow]) -> None:
    """Measure the candidates on a window; on the validation window choose one of them."""
    write = partial(_write, context=context, window_name=window_name, window=window)
    context.write_outputs({window_step(window_name, NEW_USERS): write})


def read_choice(run: Run) -> NewUsersResult:
    """Read the choice of the validation window; popularity over the whole history where nothing was measured."""
    return read_result(run, VALIDATION) or NewUsersResult()


def read_result(run: Run, window_name: str) -> NewUsersResult | None:
    """Read the measurements of a window; None if there are none."""
    file = run.directory / window_step(window_name, NEW_USERS) / RESULT_FILE
    return TypeAdapter(NewUsersResult).validate_python(read_json(file)) if file.exists() else None


def describe_choice(run: Run, settings: Settings) -> dict[str, Any]:
    """Return the choice and the selection metric of each candidate on both windows, for the manifest."""
    metric = settings.evaluation.metric
    results = {name: read_result(run, name) or NewUsersResult() for name in (VALIDATION, TEST)}
    windows = {
        name: {"users": result.users, metric: {each: means[metric] for each, means in result.metrics.items()}}
        for name, result in results.items()
    }
    return {"list": read_choice(run).chosen, **windows}


def choose_list(values: Mapping[str, Values], settings: Settings) -> str:
    """Choose a candidate from the metric of each new user, (users,): the best one, or `ALL_TIME`.

    It is `ALL_TIME` with fewer than `MIN_RELIABLE_USERS` users, and if the best one's gain is less than
    `evaluation.min_gain` of the mean, or than one standard error. No candidate costs more than another or is less
    reliable, so that a weaker rule than that for models suffices.
    """
    incumbent = values[ALL_TIME]
    if len(incumbent) < MIN_RELIABLE_USERS:
        return ALL_TIME
    best = max(values, key=lambda name: float(values[name].mean()))
    gains = values[best] - incumbent
    least = max(settings.evaluation.min_gain * float(incumbent.mean()), float(gains.std()) / len(gains) ** 0.5)
    return best if gains.mean() > 0 and gains.mean() >= least else ALL_TIME


def _write(directory: Path, context: RunContext, window_name: str, window: Callable[[], EvaluationWindow]) -> None:
    settings, measured = context.settings, {}
    relevance = window().ground_truth.new
    users = len(relevance.relevant_counts)
    for name in CANDIDATES if users else ():
        ranked = rank_for_new_users(score_items(name, window().interactions, settings), settings)
        lists = np.broadcast_to(ranked, (users, len(ranked)))
        cutoffs = settings.evaluation.cutoffs
        measured[name] = evaluate_lists(lists, relevance.relevant, relevance.relevant_counts, cutoffs)
    chosen = read_choice(context.run).chosen
    if window_name == VALIDATION and users:
        chosen = choose_list(
            {name: values[settings.evaluation.metric] for name, values in measured.items()}, settings
        )
    means = {
        name: {metric: float(user_values.mean()) for metric, user_values in values.items()}
        for name, values in measured.items()
    }
    write_json(directory / RESULT_FILE, asdict(NewUsersResult(chosen, users, means)))
