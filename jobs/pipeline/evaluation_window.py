"""Time windows on which models are measured: fitted on the events before one, compared with the events in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl

from jobs.lake.lake import Lake
from jobs.pipeline.event_rules import weighed_windows
from jobs.pipeline.interactions import compute_interactions
from recsys.data.interactions import Interactions
from recsys.data.splits import relevant_pairs, sample_users
from recsys.evaluation.comparison.blend_search import BlendChoice, choose_blend
from recsys.evaluation.comparison.measurement import ModelMeasurement, measure_model
from recsys.evaluation.ground_truth import GroundTruth, build_ground_truth
from recsys.evaluation.segments import HEAVY, LIGHT
from recsys.ids import Rows
from recsys.models.base import Model
from recsys.models.blend import BlendConfig, member_weights, merge_lists
from recsys.models.popularity import Popularity
from recsys.ranking.top_k import Exclusion
from recsys.schema import ITEM_ID, USER_ID
from recsys.settings import Evaluation, Settings

BLEND = "blend"
LIST_DEPTH = 200
"""Items of each list that are kept, and that a blend merges."""
ANY_USER = np.array([0], np.int32)


@dataclass(frozen=True)
class EvaluationWindow:
    """The interactions before a window, and the relevant items of its users."""

    interactions: Interactions
    ground_truth: GroundTruth
    exclude: Exclusion
    fallback: Rows
    """The popular list, which users without history get."""

    @classmethod
    def build(cls, interactions: Interactions, ground_truth: GroundTruth, settings: Settings) -> "EvaluationWindow":
        """Exclude what each user dislikes, and owns if `settings.repeat` says so, and rank the popular items."""
        exclude = Exclusion(interactions.excluded(settings.repeat))
        popular = Popularity().fit(interactions).recommend(ANY_USER, max(settings.evaluation.cutoffs))[0][0]
        return cls(interactions, ground_truth, exclude, popular)

    def sample(self, maximum: int, seed: int) -> "EvaluationWindow":
        """Keep at most `maximum` of the users, drawn at random."""
        return replace(self, ground_truth=self.ground_truth.sample(maximum, seed))


def prepare_evaluation_window(
    lake: Lake, settings: Settings, start: datetime, end: datetime, relevance_lake: Lake | None = None
) -> EvaluationWindow:
    """Read the interactions before `start`, and the relevant items of users from then to `end`.

    At most `evaluation.max_users` users are measured, drawn at random. The relevant items are read from
    `relevance_lake` if it is given, such as a lake with fewer users.
    """
    interactions = compute_interactions(lake, settings.sources, start)
    pairs = _relevant_pairs(relevance_lake or lake, settings, start, end)
    pairs = sample_users(pairs, settings.evaluation.max_users, settings.seed)
    history = interactions.excluded(settings.repeat)
    ground_truth = build_ground_truth(pairs, interactions, settings.evaluation, history, lake.items())
    return EvaluationWindow.build(interactions, ground_truth, settings)


def _relevant_pairs(lake: Lake, settings: Settings, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the `relevant_pairs` of all users, bucket by bucket; what `end` knows decides what an event says."""
    relevant, weights = settings.evaluation.relevant_events, settings.sources.event_weights
    buckets = weighed_windows(lake, settings.sources, start, end)
    ids = pl.col(USER_ID, ITEM_ID).cast(pl.String)
    parts = [relevant_pairs(events, start, end, relevant, weights).with_columns(ids) for events in buckets]
    return pl.concat(parts).sort(USER_ID, ITEM_ID)


def rank_items(model: Model, window: EvaluationWindow, settings: Settings) -> Rows:
    """Fit a model on the interactions and rank items for the window's users, (users, at least `LIST_DEPTH`)."""
    depth = max(LIST_DEPTH, *settings.evaluation.cutoffs)
    return model.fit(window.interactions).recommend(window.ground_truth.user_rows, depth, window.exclude)[0]


def measure_lists(name: str, lists: Rows, window: EvaluationWindow, settings: Settings) -> ModelMeasurement:
    """Measure the lists of the model called `name`."""
    return measure_model(name, lists, window.ground_truth, settings.evaluation, settings.seed, window.fallback)


def choose_weights(lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings) -> BlendChoice:
    """Choose the weights of a blend of models' lists; a single model has a weight if no blend is better."""
    return choose_blend(lists, window.ground_truth, settings.evaluation.cutoff, settings.seed)


def winner_name(choice: BlendChoice) -> str:
    """Return the name of what is published: `BLEND`, or the only model with a weight."""
    return BLEND if len(choice.weights) > 1 else next(iter(choice.weights))


def blend_config(choice: BlendChoice, evaluation: Evaluation) -> BlendConfig:
    """Return the configuration of the blend with the chosen weights."""
    members = tuple(choice.weights)
    light, heavy = (tuple(choice.weights[name][segment] for name in members) for segment in (LIGHT, HEAVY))
    assert evaluation.light_user_events is not None  # found on the validation window
    return BlendConfig(members, light, heavy, evaluation.light_user_events, LIST_DEPTH)


def merge_winner_lists(
    choice: BlendChoice, lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings
) -> Rows:
    """Merge the lists of the blend's members as `choice` weighs them; a single model's lists stay as they are."""
    if winner_name(choice) != BLEND:
        return lists[winner_name(choice)]
    config = blend_config(choice, settings.evaluation)
    weights = member_weights(config, window.ground_truth.segments[LIGHT])
    members = [lists[name] for name in config.members]
    return merge_lists(members, weights, max(settings.evaluation.cutoffs))[0]
