"""The second stage of a run: a ranker over the lists of the best models, accepted only if it is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from jobs.pipeline.evaluation_window import EvaluationWindow, list_depth
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.search.budget import estimate_cost
from recsys.errors import ModelError
from recsys.evaluation.comparison.acceptance import is_accepted
from recsys.evaluation.metrics.ranking import Values, evaluate_lists
from recsys.ids import Rows
from recsys.models.base import NeuralModel
from recsys.models.ranker.explanation import FeatureEffect
from recsys.models.ranker.ranker import Ranker, RankerConfig
from recsys.models.ranker.trees import RankingTrees
from recsys.models.registry import model_type
from recsys.settings import Settings

MAX_MEMBERS: Final = 6
"""Models that candidates come from: each is fitted once more for every training window."""
WORK_SHARE: Final = 0.25
"""Work of these fits as a share of the search's budget, above which models are left out."""
NO_MEMBER: Final = "no model but neural ones can be fitted for each training window with a quarter of search.budget"
NO_WINDOW: Final = "no window before the validation window has purchases to learn from"
NO_GAIN: Final = "a gain has to be at least evaluation.min_gain, with a confidence interval above 0"


@dataclass(frozen=True)
class RankerTrial:
    """The result of training a ranker on the windows before the validation window, and measuring it there."""

    members: tuple[str, ...]
    windows: int
    """Number of training windows."""
    rejected: str | None
    """Why the ranker is not published; None if it is."""
    gain: float = 0.0
    """Mean metric minus that of the incumbent."""
    effects: tuple[FeatureEffect, ...] = ()
    """The features, the most important first."""


@dataclass(frozen=True)
class RankedTrial:
    """A trial with the ranker and its lists for the window's users; None if it was not trained."""

    trial: RankerTrial
    ranker: Ranker | None = None
    lists: Rows | None = None


def choose_members(lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings) -> tuple[str, ...]:
    """Return the models that candidates come from: the best by the metric that are affordable together.

    Neural models are left out, because their lists vary from fit to fit more than those of others.
    """
    metrics = {name: float(user_metric(rows, window, settings).mean()) for name, rows in lists.items()}
    names = sorted(metrics, key=lambda name: (-metrics[name], name))
    left = WORK_SHARE * settings.search.budget / settings.search.ranker_windows
    members: list[str] = []
    for name in names:
        cost = estimate_cost(name, window, settings).first_fit
        if cost <= left and len(members) < MAX_MEMBERS and not issubclass(model_type(name), NeuralModel):
            members.append(name)
            left -= cost
    return tuple(members)


def build_ranker(
    members: Sequence[str], settings: Settings, catalogue: pl.DataFrame | None, trees: RankingTrees | None = None
) -> Ranker:
    """Build a ranker of members that are not yet fitted."""
    config = RankerConfig(
        tuple(members),
        settings.repeat,
        window_days=settings.evaluation.validation_days,
        windows=settings.search.ranker_windows,
        half_life_days=settings.sources.half_life_days,
        seed=settings.seed,
    )
    return Ranker(config, {name: build_configured_model(name, settings) for name in members}, catalogue, trees)


def user_metric(lists: Rows, window: EvaluationWindow, settings: Settings) -> Values:
    """Return the metric that models are chosen by, for each user of the window, (users,)."""
    relevance, evaluation = window.ground_truth.returning, settings.evaluation
    metrics = evaluate_lists(lists, relevance.relevant, relevance.relevant_counts, (evaluation.cutoff,))
    return metrics[evaluation.metric]


def try_second_stage(
    lists: Mapping[str, Rows],
    incumbent: Rows,
    window: EvaluationWindow,
    settings: Settings,
    catalogue: pl.DataFrame | None,
) -> RankedTrial:
    """Train a ranker on the windows before `window`, and compare it with the lists of the best model without it.

    `lists` are those of the models for the window's users, `incumbent` those of the best of them or of their blend.
    """
    members = choose_members(lists, window, settings)
    if not members:
        return RankedTrial(RankerTrial(members, 0, NO_MEMBER))
    ranker = build_ranker(members, settings, catalogue)
    try:
        ranker.train(window.interactions)
    except ModelError as error:
        return RankedTrial(RankerTrial(members, 0, str(error)))
    if ranker.trees is None:
        return RankedTrial(RankerTrial(members, 0, NO_WINDOW))
    ranker.assemble(window.interactions)
    ranked = rerank(ranker, lists, window, settings)
    before, after = (user_metric(rows, window, settings) for rows in (incumbent, ranked))
    accepted = is_accepted(after, before, settings.evaluation.min_gain, settings.seed)
    gain = float((after - before).mean())
    trial = RankerTrial(members, ranker.windows, None if accepted else NO_GAIN, gain, ranker.effects)
    return RankedTrial(trial, ranker, ranked)


def rerank(
    ranker: Ranker, lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings, n: int | None = None
) -> Rows:
    """Rank the members' lists for the window's users with a ranker that was assembled, (users, n).

    Without `n` it is `list_depth`, from which the published lists are made.
    """
    members = [lists[name] for name in ranker.config.members]
    return ranker.rank_lists(members, window.ground_truth.user_rows, n or list_depth(settings))
