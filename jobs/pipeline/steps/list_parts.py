"""The list parts step: choose what the lists of items to buy again, and of new items, are made by."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import TypeAdapter
from scipy.sparse import csr_matrix

from jobs.pipeline.context import RunContext
from jobs.pipeline.evaluation_window import (
    EvaluationWindow,
    blend_config,
    choose_weights,
    list_depth,
    measure_lists,
    new_item_users,
    rank_new_items,
)
from jobs.pipeline.list_parts import AGAIN, NEW, Repeatable, keep_items, list_again, part_lengths
from jobs.pipeline.models import load_fitted_model
from jobs.pipeline.run import Run
from jobs.pipeline.second_stage import user_metric
from jobs.pipeline.step_names import TEST, VALIDATION, window_step
from jobs.pipeline.steps.evaluate import read_lists, read_new_lists
from jobs.pipeline.steps.list_writing import list_blocks, write_list_file
from jobs.pipeline.steps.rank import combine_lists, winning_models
from jobs.pipeline.steps.windows import prepare_screened_window
from jobs.pipeline.variants import Variants
from jobs.progress import Task
from recsys.data.interactions import Interactions
from recsys.data.splits import time_split
from recsys.evaluation.comparison.acceptance import is_accepted
from recsys.evaluation.comparison.blend_search import BlendChoice
from recsys.evaluation.comparison.measurement import ModelMeasurement
from recsys.evaluation.segments import LIGHT, MIN_RELIABLE_USERS, Mask
from recsys.files import read_json, write_json
from recsys.ids import UNKNOWN, Rows
from recsys.models.base import Model
from recsys.models.blend import Blend, member_weights, merge_lists
from recsys.models.popularity import Popularity
from recsys.ranking.exposure import publish_lists
from recsys.ranking.list_limits import NO_LIMITS, ListLimits
from recsys.ranking.top_k import Exclusion
from recsys.schema import USER_ID
from recsys.store.publish.list_files import AGAIN_FILE, NEW_FILE

CHOICE_FILE: Final = "choice.json"
MEASUREMENTS_FILE: Final = "measurements.json"
FILES: Final = {AGAIN: AGAIN_FILE, NEW: NEW_FILE}

Role = Literal["chosen", "winner", "baseline"]
"""Lists of a part: as chosen; in the order of the published lists; the latest purchases, or popular items."""


@dataclass(frozen=True)
class PartChoice:
    """What the lists of a part are made by."""

    own: BlendChoice | None = None
    """Models and weights of its own; None if it has the order of the published lists."""
    users: int = 0
    """Users of the validation window with a relevant item of the part."""
    gain: float = 0.0
    """Metric of the best models of its own minus that of the published order, on the validation window."""


def choose_list_parts(context: RunContext) -> RunContext:
    """Choose models for each part on the validation window, and measure its lists on the test window.

    Relevant are the items of a window that a user had before it, or the others.
    """
    parts = part_lengths(context.settings)
    if not context.is_measured or not parts:
        return context
    split = time_split(context.run.as_of, context.settings.evaluation)

    def window_of(start: datetime, end: datetime) -> Callable[[], EvaluationWindow]:
        return cache(partial(prepare_screened_window, context, start, end))

    windows = {
        VALIDATION: (_write_choice, window_of(split.train_end, split.validation_end)),
        TEST: (_write_test, window_of(split.validation_end, split.as_of)),
    }
    outputs = {
        part_step(name, part): partial(write, context=context, part=part, window=window)
        for name, (write, window) in windows.items()
        for part in parts
    }
    context.write_outputs(outputs, "choose models of items to buy again and of new items")
    return context


def part_step(window_name: str, part: str) -> str:
    """Return the name of the output with the choice for a part, or with its measurements."""
    return window_step(window_name, f"list_{part}")


def read_part_choice(run: Run, part: str) -> PartChoice:
    """Read what a part is made by; the published order where nothing was measured."""
    file = run.directory / part_step(VALIDATION, part) / CHOICE_FILE
    return TypeAdapter(PartChoice).validate_python(read_json(file)) if file.exists() else PartChoice()


def read_part_measurements(run: Run, part: str) -> dict[Role, ModelMeasurement]:
    """Read the measurements of a part on the test window; none if it was not measured."""
    file = run.directory / part_step(TEST, part) / MEASUREMENTS_FILE
    if not file.exists():
        return {}
    return TypeAdapter(dict[Role, ModelMeasurement]).validate_python(read_json(file))


def models_of_parts(context: RunContext) -> set[str]:
    """Return the models that parts are made of beside those of the published lists."""
    choices = (read_part_choice(context.run, part).own for part in part_lengths(context.settings))
    return {name for choice in choices if choice is not None for name in choice.weights}


def write_part_lists(
    directory: Path,
    context: RunContext,
    winner: Model,
    interactions: Interactions,
    unavailable: Mask,
    task: Task,
    variants: Variants | None = None,
    limits: ListLimits = NO_LIMITS,
) -> None:
    """Write for every user the items to buy again, and the best new items, as far as the settings ask for them."""
    items = interactions.items if variants is None else variants.items
    for part, n in part_lengths(context.settings).items():
        rank = _part_ranker(context, part, winner, interactions, unavailable)
        candidates = ((rows, rank(rows, limits.depth(n))) for rows in list_blocks(len(interactions.users)))
        blocks = ((rows, publish_lists(ranked, n, rows, interactions, limits)) for rows, ranked in candidates)
        if variants is not None:
            blocks = ((rows, variants.choose(listed, rows)) for rows, listed in blocks)
        write_list_file(directory / FILES[part], USER_ID, interactions.users, items, blocks, task)


def _part_ranker(
    context: RunContext, part: str, winner: Model, interactions: Interactions, unavailable: Mask
) -> Callable[[Rows, int], Rows]:
    """Return the function that ranks the n best items of a part for users."""
    own, settings = read_part_choice(context.run, part).own, context.settings
    config = None if own is None else blend_config(own, settings)
    members = {name: load_fitted_model(context.run, name) for name in (config.members if config else ())}
    model = winner if config is None else Blend(config, members).assemble(interactions)
    if part == NEW:
        owned = Exclusion(interactions.excluded("exclude"), unavailable)
        return lambda rows, n: model.recommend(rows, n, owned)[0]
    exclude = Exclusion(interactions.excluded("allow"), unavailable)
    repeatable, depth = Repeatable.find(interactions, exclude), list_depth(settings)
    if config is None:
        return lambda rows, n: list_again(
            model.recommend(rows, depth, exclude)[0], rows, n, interactions, repeatable
        )
    is_light = np.bincount(interactions.user_rows, minlength=len(interactions.users)) < config.light_user_events

    def rank_again(rows: Rows, n: int) -> Rows:
        # Each member's list is cut down to what the user has before they are merged, as when they were chosen.
        kept = csr_matrix(repeatable.items[rows])
        lists = [keep_items(each.recommend(rows, depth, exclude)[0], kept) for each in members.values()]
        merged = merge_lists(lists, member_weights(config, is_light[rows]), n)[0]
        return list_again(merged, rows, n, interactions, repeatable)

    return rank_again


@dataclass(frozen=True)
class _Lists:
    """The lists of the models for the users of a window who have a relevant item of a part."""

    context: RunContext
    window: EvaluationWindow
    """With the relevant items of the part, and the users who have any."""
    part: str
    window_name: str
    users: Mask
    """These users among those that the models' lists are for."""
    repeatable: Repeatable

    @classmethod
    def build(cls, context: RunContext, window: EvaluationWindow, part: str, window_name: str) -> "_Lists":
        again, new = window.ground_truth.split_repeats(window.interactions.owned)
        truth = again if part == AGAIN else new
        users = truth.returning.relevant_counts > 0
        if part == NEW:
            users = new_item_users(window, context.settings)
        repeatable = Repeatable.find(window.interactions, window.exclude)
        restricted = replace(window, ground_truth=truth.select(users))
        return cls(context, restricted, part, window_name, users, repeatable)

    @property
    def n(self) -> int:
        """Return the number of items that are measured."""
        return max(self.context.settings.evaluation.cutoffs)

    def of_models(self, names: tuple[str, ...]) -> dict[str, Rows]:
        """Return the models' lists of the part."""
        if self.part == NEW:
            return {name: read_new_lists(self.context.run, self.window_name, name) for name in names}
        kept = csr_matrix(self.repeatable.items[self.window.ground_truth.user_rows])
        return {name: keep_items(lists, kept) for name, lists in self._of_all_items(names).items()}

    def of_winner(self) -> Rows:
        """Return the lists of the part in the order of the published ones."""
        names = winning_models(self.context)
        if self.part == NEW:
            return combine_lists(self.context, self.of_models(names), self.window, self.window_name)
        depth = list_depth(self.context.settings)
        return self._complete(
            combine_lists(self.context, self._of_all_items(names), self.window, self.window_name, depth)
        )

    def merged(self, choice: BlendChoice, lists: Mapping[str, Rows]) -> Rows:
        """Merge the lists of models as a choice weighs them."""
        settings, segments = self.context.settings, self.window.ground_truth.segments
        config = blend_config(choice, settings)
        weights = member_weights(config, segments[LIGHT])
        return self._complete(merge_lists([lists[name] for name in config.members], weights, self.n)[0])

    def of_baseline(self) -> Rows:
        """Return the items bought last, or the popular ones that users do not have."""
        if self.part == AGAIN:
            return self._complete(np.full((int(self.users.sum()), 1), UNKNOWN, np.int32))
        popular = rank_new_items(Popularity().fit(self.window.interactions), self.window, self.context.settings)
        assert popular is not None
        return popular

    def _of_all_items(self, names: tuple[str, ...]) -> dict[str, Rows]:
        return {name: read_lists(self.context.run, self.window_name, name)[self.users] for name in names}

    def _complete(self, lists: Rows) -> Rows:
        if self.part == NEW:
            return lists
        rows = self.window.ground_truth.user_rows
        return list_again(lists, rows, self.n, self.window.interactions, self.repeatable)


def _write_choice(directory: Path, context: RunContext, part: str, window: Callable[[], EvaluationWindow]) -> None:
    """Choose models of a part's own if they are better than the published order by the required gain."""
    settings = context.settings
    lists = _Lists.build(context, window(), part, VALIDATION)
    users = int(lists.users.sum())
    choice = PartChoice(users=users)
    if users >= MIN_RELIABLE_USERS:
        of_models = lists.of_models(settings.models)
        own = choose_weights(of_models, lists.window, settings)
        before, after = (
            user_metric(rows, lists.window, settings) for rows in (lists.of_winner(), lists.merged(own, of_models))
        )
        is_better = is_accepted(after, before, settings.evaluation.min_gain, settings.seed)
        choice = PartChoice(own if is_better else None, users, float((after - before).mean()))
    write_json(directory / CHOICE_FILE, asdict(choice))


def _write_test(directory: Path, context: RunContext, part: str, window: Callable[[], EvaluationWindow]) -> None:
    """Measure the lists of a part as chosen, in the published order, and by the baseline."""
    lists = _Lists.build(context, window(), part, TEST)
    measurements: dict[str, object] = {}
    if lists.users.any():
        own, settings = read_part_choice(context.run, part).own, context.settings
        of_winner = lists.of_winner()
        chosen = of_winner if own is None else lists.merged(own, lists.of_models(tuple(own.weights)))
        ranked: dict[Role, Rows] = {"chosen": chosen, "winner": of_winner, "baseline": lists.of_baseline()}
        measurements = {
            role: asdict(measure_lists(role, rows, lists.window, settings)) for role, rows in ranked.items()
        }
    write_json(directory / MEASUREMENTS_FILE, measurements)
