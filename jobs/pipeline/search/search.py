"""The search: fit every model that the budget allows, keep the good ones, and tune the best."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
import structlog

from jobs.pipeline.evaluation_window import EvaluationWindow, new_items_name
from jobs.pipeline.models import ITEM_KNN, POPULARITY, TRENDING, build_configured_model
from jobs.pipeline.search.budget import (
    EPOCHS,
    Budget,
    Cost,
    affordable_epochs,
    config_epochs,
    describe_lack_of_memory,
    estimate_cost,
)
from jobs.pipeline.search.memory import ModelMemory
from jobs.pipeline.search.race import MIN_SHARE, RUNGS, Places, Race, Ranking
from jobs.pipeline.search.result import CandidateResult, SearchResult, Trial, with_values
from jobs.pipeline.search.tuning import Values, is_in_space, tunable_fields, tune
from jobs.progress import Progress
from recsys.errors import ModelError
from recsys.evaluation.comparison.acceptance import MIN_USERS, is_accepted
from recsys.evaluation.metrics.ranking import Values as UserValues
from recsys.ids import Rows
from recsys.models.base import Model, NeuralModel, TrainingOptions
from recsys.settings import Settings

log = structlog.get_logger(__name__)

TUNING_SHARE: Final = 0.3
"""Share of the budget that first fits leave to tuning."""
MAX_TUNING_USERS: Final = 2_000
"""Users on whom values are tried; at most half, as the others accept the best values."""
EXPENSIVE_SHARE: Final = 0.1
"""Share of the budget from which a fit is first tried with fewer epochs."""
EPOCH_SHARE: Final = 0.25
"""Share of its epochs that a model has to be fitted with, and that an expensive one is first tried with."""
LISTED: Final = (POPULARITY, TRENDING, ITEM_KNN)
"""Models that each run fits for lists that are the same for all users, so that leaving them out saves nothing."""

Lists = dict[str, Rows]


def search(
    window: EvaluationWindow,
    settings: Settings,
    progress: Progress,
    memory: Mapping[str, ModelMemory] | None = None,
    night: int = 0,
) -> tuple[SearchResult, Lists]:
    """Fit models on the window's interactions and tune the best; return the result and the kept models' lists.

    Lists of items that users do not have, where the window asks for them, are among these by `new_items_name`.
    Work is counted in units that do not depend on the machine (`Model.work`), so that the same input, settings,
    seed and `memory` of earlier nights give the same result. A model is left out if it needs more memory or work
    than there is, if it is far below the best model, or if its fit fails. `night` numbers the run, so that each
    night tries other values. After `search.max_minutes` nothing more is fitted; the result then says so. Raises
    `ModelError` if no model is kept.
    """
    state = _Search(window, settings, memory or {}, night)
    with progress.task("choose models and their settings", len(settings.models)) as task:
        for name in state.order():
            state.try_model(name)
            task.advance(1)
        state.leave_out_weak_models()
        state.tune_best()
    if not state.lists:
        first = state.results[settings.models[0]]
        raise ModelError(f"no candidate could be fitted: {first.name}: {first.left_out}")
    kept = [name for name in settings.models if name in state.lists]
    return state.result(), {name: state.lists[name] for name in kept} | state.new_lists


class _Search:
    """A search in progress."""

    def __init__(
        self, window: EvaluationWindow, settings: Settings, memory: Mapping[str, ModelMemory], night: int
    ) -> None:
        self._window, self._settings = window, settings
        self._memory = {
            name: _valid_memory(name, memory[name], settings) for name in settings.models if name in memory
        }
        self._seed = settings.seed + night
        self._budget = Budget(settings.search.budget, settings.search.max_minutes)
        self._race = Race(window, settings)
        self._spaces = {name: tunable_fields(name, settings) for name in settings.models}
        self._costs: dict[str, Cost] = {}
        self._values: dict[str, Values] = {}
        self._metrics: dict[str, UserValues] = {}  # the metric of each user, by model
        self.results: dict[str, CandidateResult] = {}
        self.lists: Lists = {}
        self.new_lists: Lists = {}

    def order(self) -> list[str]:
        """Return the models in the order in which they are fitted.

        The last night's winners come first, then models that were never fitted, the cheapest first, then the others
        by their metric for each unit of work.
        """
        for name in self._settings.models:
            self._values[name] = dict(self._memory[name].values or {}) if name in self._memory else {}
            self._costs[name] = estimate_cost(name, self._window, self._configured(name))
        total = sum(cost.total for cost in self._costs.values())
        log.info("work of the search", budget=self._budget.work, all_models_with_refits=round(total, 1))

        def place(name: str) -> tuple[float, float, str]:
            known, work = self._memory.get(name), self._costs[name].total
            if known is None:
                return 1, work, name
            if known.weight > 0:
                return 0, -known.weight, name
            return 2, -known.metric / max(work, 1e-9), name

        return sorted(self._settings.models, key=place)

    def try_model(self, name: str) -> None:
        """Fit a model and rank it, if memory, work and time suffice."""
        cost, budget = self._costs[name], self._budget
        problem = describe_lack_of_memory(name, self._window, self._configured(name))
        if problem is None and budget.is_stopped():
            problem = budget.stop_reason
        if problem is None:
            problem = self._fit_epochs_into_budget(name)
        if problem is not None:
            self._leave_out(CandidateResult(name, work=round(cost.total, 3), left_out=problem))
            return
        if self._drops_out_early(name):
            return
        self._fit(name, can_drop_out=name not in LISTED)

    def leave_out_weak_models(self) -> None:
        """Leave out the models that are far below the best one, which earlier ones could not be compared with."""
        for name in [name for name in self.lists if name not in LISTED]:
            if self._race.is_far_below(self._metrics[name], self._race.users):
                self._drop(name, self._race.users)

    def tune_best(self) -> None:
        """Tune the best models in equal shares of the work that is left, and replace their results and lists."""
        metrics = {name: self.results[name].metric or 0.0 for name in self.lists}
        minimum = MIN_SHARE * max(metrics.values(), default=0.0)
        names = [name for name in metrics if self._spaces[name] and metrics[name] >= minimum]
        names = sorted(names, key=lambda name: (-metrics[name], name))
        for place, name in enumerate(names):
            self._tune(name, self._budget.left / (len(names) - place))

    def result(self) -> SearchResult:
        """Return the result of the search so far."""
        budget = self._budget
        return SearchResult(
            tried=tuple(self.results[name] for name in self._settings.models),
            budget=budget.work,
            work=round(budget.spent, 3),
            refit_work=round(budget.reserved, 3),
            seconds=round(budget.seconds, 1),
            stopped=budget.stop_reason,
        )

    def _configured(self, name: str, values: Mapping[str, Any] | None = None) -> Settings:
        """Return the settings with the values of a model, those found so far if none are given."""
        return with_values(self._settings, name, self._values[name] if values is None else values)

    def _fit_epochs_into_budget(self, name: str) -> str | None:
        """Lower the epochs of a model to what its work may be; return why it cannot be fitted, None if it can."""
        cost, settings = self._costs[name], self._settings
        can_tune = settings.search.max_trials > 1 and any(self._spaces.values())
        affordable = self._budget.left - (TUNING_SHARE * self._budget.work if can_tune else 0.0)
        if cost.total <= affordable:
            return None
        epochs = affordable_epochs(name, self._window, self._configured(name), affordable)
        configured = config_epochs(build_configured_model(name, self._configured(name)))
        if not epochs or epochs < EPOCH_SHARE * configured:
            return (
                f"search.budget = {self._budget.work:g}: {max(affordable, 0):,.4g} units of work are left for it, "
                f"and it needs {cost.total:,.4g}"
            )
        self._values[name] = {**self._values[name], EPOCHS: epochs}
        self._costs[name] = estimate_cost(name, self._window, self._configured(name))
        return None

    def _drops_out_early(self, name: str) -> bool:
        """Fit an expensive model with fewer epochs first; return whether it is far below the best model then."""
        if name in LISTED or not self._race.has_begun or self._race.users <= RUNGS[0]:
            return False
        epochs = config_epochs(build_configured_model(name, self._configured(name)))
        fewer = int(EPOCH_SHARE * epochs)
        if not fewer or self._costs[name].fit < EXPENSIVE_SHARE * self._budget.work:
            return False
        settings = self._configured(name, {**self._values[name], EPOCHS: fewer})
        cost = estimate_cost(name, self._window, settings)
        started = self._budget.seconds
        try:
            ranking = self._race.rank(self._fitted(name, settings), can_drop_out=True, last_rung=RUNGS[0])
        except ModelError as error:
            self._fail(name, cost, error, self._budget.seconds - started)
            return True
        self._record(name, ranking, self._spend(cost, ranking.users), self._budget.seconds - started)
        if not self._race.is_far_below(ranking.values, ranking.users):
            return False
        self._drop(name, ranking.users, f", after {fewer} of {epochs} epochs")
        return True

    def _fit(self, name: str, *, can_drop_out: bool) -> None:
        """Fit and rank a model, and keep its lists unless it drops out of the race."""
        started, before = self._budget.seconds, self.results.get(name, CandidateResult(name))
        try:
            model = self._fitted(name, self._configured(name))
            ranking = self._race.rank(model, can_drop_out=can_drop_out)
        except ModelError as error:
            self._fail(name, self._costs[name], error, self._budget.seconds - started)
            return
        work = before.work + self._spend(self._costs[name], ranking.users)
        if isinstance(model, NeuralModel):
            self._budget.is_stopped()  # its training ends early after the hard stop
            self._values[name] = {**self._values[name], EPOCHS: model.epochs}
            self._costs[name] = estimate_cost(name, self._window, self._configured(name))
        self._record(name, ranking, work, before.seconds + self._budget.seconds - started)
        self._keep(name, ranking)
        if ranking.users < self._race.users:
            self._drop(name, ranking.users)

    def _fitted(self, name: str, settings: Settings) -> Model:
        model = build_configured_model(name, settings)
        if isinstance(model, NeuralModel):
            model.training = TrainingOptions(seconds=self._budget.seconds_left)
        try:
            return model.fit(self._window.interactions)
        except MemoryError:
            raise ModelError("its fit ran out of memory") from None

    def _record(self, name: str, ranking: Ranking, work: float, seconds: float) -> None:
        """Record the metric of a model with its values, and what it cost."""
        known = self._memory.get(name)
        self.results[name] = CandidateResult(
            name,
            ranking.mean,
            round(work, 3),
            round(seconds, 1),
            dict(self._values[name]) or None,
            1.0 if known is None else known.score,
        )

    def _fail(self, name: str, cost: Cost, error: ModelError, seconds: float) -> None:
        """Leave out a model whose fit failed, which has cost what a fit costs."""
        self._budget.spent += cost.fit
        before = self.results.get(name, CandidateResult(name))
        work, seconds = round(before.work + cost.fit, 3), round(before.seconds + seconds, 1)
        self._leave_out(CandidateResult(name, work=work, seconds=seconds, left_out=str(error)))

    def _spend(self, cost: Cost, users: int) -> float:
        """Spend the work of a fit and of ranking items for some of the users; return it."""
        work = cost.fit + cost.ranking * users / self._race.users
        self._budget.spent += work
        return work

    def _keep(self, name: str, ranking: Ranking) -> None:
        self._set_lists(name, ranking)
        self._budget.reserved += self._costs[name].refits

    def _set_lists(self, name: str, ranking: Ranking) -> None:
        self.lists[name], self._metrics[name] = ranking.lists, ranking.values
        if ranking.new_lists is not None:
            self.new_lists[new_items_name(name)] = ranking.new_lists

    def _drop(self, name: str, users: int, detail: str = "") -> None:
        """Leave out a model that is far below the best one, and release the work of its refits."""
        reason = f"its metric is below {MIN_SHARE:g} of the best model's, on {users:,} users{detail}"
        if name in self.lists:
            self._budget.reserved -= self._costs[name].refits
            del self.lists[name], self._metrics[name]
        self._leave_out(replace(self.results[name], left_out=reason))

    def _leave_out(self, candidate: CandidateResult) -> None:
        log.warning("model left out of the run", model=candidate.name, reason=candidate.left_out)
        self.results[candidate.name] = candidate

    def _tune(self, name: str, work: float) -> None:
        """Tune a model with `work` units, a last fit included, and use the best values if other users accept them."""
        cost, race = self._costs[name], self._race
        places = np.random.default_rng(self._seed).permutation(race.users)
        size = min(MAX_TUNING_USERS, race.users // 2)
        tuning, accepting = np.sort(places[:size]), np.sort(places[size:])
        if len(accepting) < MIN_USERS:  # who could accept no values
            return
        trial_work = cost.fit + cost.ranking * size / race.users
        trials = min(self._settings.search.max_trials - 1, int((work - cost.first_fit) / max(trial_work, 1e-9)))
        start_metric = float(self._metrics[name][tuning].mean())
        if trials < 1 or start_metric <= 0:
            return
        scale, started, spent = self.results[name].score / start_metric, self._budget.seconds, self._budget.spent

        def measure(values: Values) -> float | None:
            if self._budget.is_stopped():
                return None
            self._budget.spent += trial_work
            try:
                model = self._fitted(name, self._configured(name, {**self._values[name], **values}))
            except ModelError:
                return None
            return scale * race.rank_users(model, tuning)

        history = self._memory[name].trials if name in self._memory else ()
        start = Trial(self._tuned_values(name), self.results[name].score)
        tried = tune(measure, self._spaces[name], start, history, trials, self._seed)
        before = self.results[name]
        self.results[name] = replace(before, trials=tried)
        best = max(tried, key=lambda trial: trial.metric)
        if best.metric > start.metric and not self._budget.is_stopped():
            self._accept(name, best.values, accepting)
        seconds, work = before.seconds + self._budget.seconds - started, before.work + self._budget.spent - spent
        self.results[name] = replace(self.results[name], seconds=round(seconds, 1), work=round(work, 3))

    def _accept(self, name: str, values: Values, users: Places) -> None:
        """Rank a model with new values for all users, and use them if `users` accept them and no metric falls."""
        found = {**self._values[name], **values}
        self._spend(self._costs[name], self._race.users)
        try:
            ranking = self._race.rank(self._fitted(name, self._configured(name, found)), can_drop_out=False)
        except ModelError:  # of a neural model without an epoch before the hard stop
            self._budget.is_stopped()
            return
        before = self._metrics[name]
        candidate, incumbent = ranking.values[users], before[users]
        if ranking.mean < before.mean() or not is_accepted(candidate, incumbent, 0.0, self._seed):
            return
        self._values[name] = found
        self._set_lists(name, ranking)
        result = self.results[name]
        score = result.score * float(candidate.mean() / incumbent.mean()) if incumbent.mean() > 0 else result.score
        self.results[name] = replace(result, metric=ranking.mean, values=dict(found), score=score)

    def _tuned_values(self, name: str) -> dict[str, float]:
        """Return the present values of the fields to tune."""
        config = build_configured_model(name, self._configured(name)).config
        return {field: float(getattr(config, field)) for field in self._spaces[name]}


def _valid_memory(name: str, memory: ModelMemory, settings: Settings) -> ModelMemory:
    """Return a model's memory without values that are no longer tuned, or not within today's limits."""
    space = tunable_fields(name, settings)
    trials = tuple(trial for trial in memory.trials if is_in_space(trial.values, space))
    if not memory.values or not is_in_space(memory.values, space):
        return replace(memory, values=None, score=1.0, trials=trials if memory.values is None else ())
    return replace(memory, trials=trials)
