"""Time windows on which models are measured: fitted on the events before one, compared with the events in it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from jobs.lake.lake import Lake
from jobs.lake.not_recommendable import find_never_shown
from jobs.pipeline.event_rules import weighed_windows
from jobs.pipeline.interactions import compute_interactions
from recsys.data.interactions import Interactions
from recsys.data.splits import relevant_pairs, sample_users
from recsys.evaluation.comparison.blend_search import BlendChoice, choose_blend
from recsys.evaluation.comparison.measurement import ModelMeasurement, measure_model
from recsys.evaluation.ground_truth import GroundTruth, build_ground_truth
from recsys.evaluation.metrics.area_under_curve import mean_area_under_curve
from recsys.evaluation.segments import HEAVY, LIGHT
from recsys.ids import IdMap, Rows
from recsys.models.base import Model
from recsys.models.blend import Blend, BlendConfig, member_weights, merge_lists
from recsys.models.popularity import Popularity
from recsys.models.ranker.ranker import Ranker
from recsys.ranking.exposure import publish_lists
from recsys.ranking.list_limits import ListLimits
from recsys.ranking.top_k import Exclusion
from recsys.schema import ITEM_ID, USER_ID
from recsys.settings import Lists, Settings

BLEND = "blend"
MIN_LIST_DEPTH = 200
MAX_NEW_ITEM_USERS = 1_000
"""Users of a window on whom lists of new items are measured."""
ANY_USER = np.array([0], np.int32)


@dataclass(frozen=True)
class EvaluationWindow:
    """The interactions before a window, and the relevant items of its users."""

    interactions: Interactions
    ground_truth: GroundTruth
    exclude: Exclusion
    fallback: Rows
    """The popular list, which users without history get."""
    limits: ListLimits
    """The limits of published lists."""
    exclude_owned: Exclusion | None = None
    """Excludes what each user has, too, for lists of new items; None where no such lists are made."""

    @classmethod
    def build(
        cls,
        interactions: Interactions,
        ground_truth: GroundTruth,
        settings: Settings,
        never_shown: NDArray[np.bool_] | None = None,
        limits: ListLimits | None = None,
    ) -> "EvaluationWindow":
        """Exclude what each user dislikes, and owns if `settings.repeat` says so, and rank the popular items.

        `never_shown` marks items that are in no list, (items,).
        """
        limits = limits or ListLimits.build_none(len(interactions.items))
        exclude = Exclusion(interactions.excluded(settings.repeat), never_shown)
        k = max(settings.evaluation.cutoffs)
        popular = (
            Popularity().fit(interactions).recommend(ANY_USER, limits.depth(k), Exclusion(items=never_shown))[0]
        )
        return cls(interactions, ground_truth, exclude, limits.apply(popular, k)[0], limits)

    def publish(self, lists: Rows, settings: Settings) -> Rows:
        """Return lists of the window's users as they would be published, (users, largest cutoff)."""
        n, user_rows = max(settings.evaluation.cutoffs), self.ground_truth.user_rows
        return publish_lists(lists, n, user_rows, self.interactions, self.limits, settings.lists.max_exposure)

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
    items, lists = lake.items().collect(), settings.lists
    never_shown = find_never_shown(pairs[ITEM_ID], items, lists.never_show)
    pairs = pairs.filter(~pl.col(ITEM_ID).is_in(never_shown.implode()))
    history = interactions.excluded(settings.repeat)
    ground_truth = build_ground_truth(pairs, interactions, settings.evaluation, history, items.lazy())
    limits = read_list_limits(lake, interactions.items, lists)
    is_hidden = interactions.items.mask(find_never_shown(interactions.items.values, items, lists.never_show))
    window = EvaluationWindow.build(interactions, ground_truth, settings, is_hidden, limits)
    if settings.repeat == "exclude" or not settings.lists.new_items:
        return window
    return replace(window, exclude_owned=Exclusion(interactions.excluded("exclude"), is_hidden))


def _relevant_pairs(lake: Lake, settings: Settings, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the `relevant_pairs` of all users, bucket by bucket; what `end` knows decides what an event says."""
    relevant, weights = settings.evaluation.relevant_events, settings.sources.event_weights
    buckets = weighed_windows(lake, settings.sources, start, end)
    ids = pl.col(USER_ID, ITEM_ID).cast(pl.String)
    parts = [relevant_pairs(events, start, end, relevant, weights).with_columns(ids) for events in buckets]
    return pl.concat(parts).sort(USER_ID, ITEM_ID)


def list_depth(settings: Settings) -> int:
    """Return the number of items of each model's list that a blend merges, measured and served alike."""
    return max(MIN_LIST_DEPTH, settings.lists.user_items, *settings.evaluation.cutoffs)


def read_list_limits(lake: Lake, item_ids: IdMap, lists: Lists) -> ListLimits:
    """Read the catalogue of a lake, and return the limits of lists of the models' items."""
    items = lake.by_item().items().collect()
    return ListLimits.build(item_ids, items, lists.max_per_type, lists.max_per_title)


def rank_items(model: Model, window: EvaluationWindow, settings: Settings) -> Rows:
    """Fit a model on the interactions and rank items for the window's users, (users, `list_depth`)."""
    fitted = model.fit(window.interactions)
    return fitted.recommend(window.ground_truth.user_rows, list_depth(settings), window.exclude)[0]


def rank_new_items(model: Model, window: EvaluationWindow, settings: Settings) -> Rows | None:
    """Rank items that users do not have, for `new_item_users`, (users, `list_depth`), by a fitted model.

    None where no lists of new items are made.
    """
    if window.exclude_owned is None:
        return None
    user_rows = window.ground_truth.user_rows[new_item_users(window, settings)]
    if not len(user_rows):
        return np.empty((0, list_depth(settings)), np.int32)
    return model.recommend(user_rows, list_depth(settings), window.exclude_owned)[0]


def new_item_users(window: EvaluationWindow, settings: Settings) -> NDArray[np.bool_]:
    """Draw at most `MAX_NEW_ITEM_USERS` of the window's users who have a relevant item that is new, (users,).

    New items are ranked by every model once more, so that fewer users are measured.
    """
    _, new = window.ground_truth.split_repeats(window.interactions.owned)
    places = np.flatnonzero(new.returning.relevant_counts > 0)
    drawn = np.random.default_rng(settings.seed).permutation(len(places))[:MAX_NEW_ITEM_USERS]
    chosen = np.zeros(len(window.ground_truth.user_rows), np.bool_)
    chosen[places[drawn]] = True
    return chosen


def new_items_name(name: str) -> str:
    """Return the name of a model's lists of items that users do not have, beside that of its other lists."""
    return f"{name}.new"


def measure_lists(
    name: str, lists: Rows, window: EvaluationWindow, settings: Settings, model: Model | None = None
) -> ModelMeasurement:
    """Measure the lists of the model called `name`, and the AUC of the scores of `model`, which is fitted.

    The lists are measured as they would be published, after the limits of `lists`.
    """
    lists = window.publish(lists, settings)
    measured = measure_model(name, lists, window.ground_truth, settings.evaluation, settings.seed, window.fallback)
    return measured if model is None else replace(measured, auc=measure_auc(model, window, settings))


def measure_auc(model: Model, window: EvaluationWindow, settings: Settings) -> float | None:
    """Measure the AUC of a fitted model over the items that may be recommended to each user.

    None for a blend or a ranker, which rank no items but those of their members' lists.
    """
    if isinstance(model, Blend | Ranker):
        return None
    ground_truth = window.ground_truth
    return mean_area_under_curve(
        model.scores, ground_truth.user_rows, ground_truth.returning.relevant, window.exclude, settings.seed
    )


def choose_weights(lists: Mapping[str, Rows], window: EvaluationWindow, settings: Settings) -> BlendChoice:
    """Choose the weights of a blend of models' lists; a single model has a weight if no blend is accepted."""
    evaluation = settings.evaluation
    return choose_blend(lists, window.ground_truth, evaluation.cutoff, evaluation.min_gain, settings.seed)


def winner_name(choice: BlendChoice) -> str:
    """Return the name of what is published: `BLEND`, or the only model with a weight."""
    return BLEND if len(choice.weights) > 1 else next(iter(choice.weights))


def blend_config(choice: BlendChoice, settings: Settings) -> BlendConfig:
    """Return the configuration of the blend with the chosen weights."""
    members = tuple(choice.weights)
    light, heavy = (tuple(choice.weights[name][segment] for name in members) for segment in (LIGHT, HEAVY))
    light_user_events = settings.evaluation.light_user_events
    assert light_user_events is not None  # found on the validation window
    return BlendConfig(members, light, heavy, light_user_events, list_depth(settings))


def merge_winner_lists(
    choice: BlendChoice,
    lists: Mapping[str, Rows],
    window: EvaluationWindow,
    settings: Settings,
    n: int | None = None,
) -> Rows:
    """Merge the lists of the blend's members as `choice` weighs them; a single model's lists stay as they are.

    Merged lists have `n` items, `list_depth` if it is not given, from which the published lists are made.
    """
    if winner_name(choice) != BLEND:
        return lists[winner_name(choice)]
    config = blend_config(choice, settings)
    weights = member_weights(config, window.ground_truth.segments[LIGHT])
    members = [lists[name] for name in config.members]
    return merge_lists(members, weights, n or list_depth(settings))[0]
