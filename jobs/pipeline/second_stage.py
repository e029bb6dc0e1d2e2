"""The second stage of a run: a ranker over the lists of the best models, accepted only if it is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from jobs.pipeline.evaluation_window import EvaluationWindow
from jobs.pipeline.models import build_configured_model
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
NO_WINDOW: Final = "the history before the validation window has no earlier window to learn from"
NO_GAIN: Final = "it is not better than the model without it by the required gain"


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


def choose_members(lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings) -> tuple[str, ...]:
    """Return the models that candidates come from: the best by the metric, without those that train for long."""
    metrics = {name: float(user_metric(rows, window, settings).mean()) for name, rows in lists.items()}
    names = [name for name in metrics if not issubclass(model_type(name), NeuralModel)]
    return tuple(sorted(names, key=lambda name: (-metrics[name], name))[:MAX_MEMBERS])


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
    arrays = (relevance.relevant, relevance.relevant_counts, relevance.candidate_counts)
    return evaluate_lists(lists, *arrays, (evaluation.cutoff,))[evaluation.metric]


def try_ranker(
    ranker: Ranker, lists: Mapping[str, Rows], incumbent: Rows, window: EvaluationWindow, settings: Settings
) -> tuple[RankerTrial, Rows | None]:
    """Train a ranker on the windows before `window`; return the trial with its lists there, None if not trained.

    `lists` are those of its members for the window's users, `incumbent` those of the best model without a ranker.
    """
    members = ranker.config.members
    ranker.train(window.interactions)
    if ranker.trees is None:
        return RankerTrial(members, 0, NO_WINDOW), None
    ranker.assemble(window.interactions)
    ranked = rerank(ranker, lists, window, settings)
    before, after = (user_metric(rows, window, settings) for rows in (incumbent, ranked))
    accepted = is_accepted(after, before, settings.evaluation.min_gain, settings.seed)
    gain = float((after - before).mean())
    return RankerTrial(members, ranker.windows, None if accepted else NO_GAIN, gain, ranker.effects), ranked


def rerank(ranker: Ranker, lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings) -> Rows:
    """Rank the members' lists for the window's users with a ranker that was assembled, (users, largest cutoff)."""
    members = [lists[name] for name in ranker.config.members]
    return ranker.rank_lists(members, window.ground_truth.user_rows, max(settings.evaluation.cutoffs))
