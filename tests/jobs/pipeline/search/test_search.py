"""The search of models and settings: its budget, its order, models left out, and tuned settings."""

import re
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import optuna
import pytest

from jobs.pipeline.evaluation_window import EvaluationWindow, rank_items
from jobs.pipeline.search.budget import estimate_cost
from jobs.pipeline.search.memory import ModelMemory
from jobs.pipeline.search.race import Race
from jobs.pipeline.search.result import CandidateResult, SearchResult, apply_search
from jobs.pipeline.search.search import search
from jobs.progress import LogProgress
from recsys.data.interactions import Interactions
from recsys.errors import ModelError
from recsys.models.config import Range
from recsys.models.ease import Ease
from recsys.models.ials import Ials
from recsys.models.registry import build_model
from recsys.models.slim import Slim
from recsys.settings import Search, Settings

SLOW = 1_000.0  # units of work


def result_of(result: SearchResult, name: str) -> CandidateResult:
    return next(candidate for candidate in result.tried if candidate.name == name)


def without_seconds(result: SearchResult) -> dict[str, Any]:
    tried = tuple(replace(candidate, seconds=0) for candidate in result.tried)
    return asdict(replace(result, tried=tried, seconds=0))


@pytest.fixture
def slow_slim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Slim, "work", lambda *_: SLOW)


def test_every_candidate_is_measured_and_the_best_are_tuned(window: EvaluationWindow, settings: Settings) -> None:
    result, lists = search(window, settings, LogProgress())
    assert [one.name for one in result.tried] == list(settings.models) == list(lists)
    ease, popularity = result_of(result, "ease"), result_of(result, "popularity")
    assert len(ease.trials) == 6
    assert ease.trials[0].values["regularization"] == 6.0  # its own setting is tried first
    assert ease.trials[0].metric == 1.0
    assert popularity.trials == ()
    assert ease.metric is not None
    assert popularity.metric is not None
    assert ease.metric > popularity.metric
    best = max(ease.trials, key=lambda trial: trial.metric)
    assert ease.values in (None, best.values)
    assert result.stopped is None
    assert 0 < result.work + result.refit_work < result.budget


def test_later_fits_use_the_result_of_the_search(window: EvaluationWindow, settings: Settings) -> None:
    result, lists = search(window, settings, LogProgress())
    later = apply_search(settings, result)
    for name in settings.models:
        model = build_model(name, later.model_settings.get(name, {}), settings.seed)
        np.testing.assert_array_equal(rank_items(model, window, later), lists[name])


@pytest.mark.usefixtures("slow_slim")
def test_a_budget_that_binds_gives_the_same_on_every_machine(window: EvaluationWindow, settings: Settings) -> None:
    limited = replace(settings, models=("slim", *settings.models), search=Search(budget=2.0, max_trials=4))
    one, other = (search(window, limited, LogProgress())[0] for _ in range(2))
    assert without_seconds(one) == without_seconds(other)
    reason = r"search\.budget = 2: 1\.\d+ units of work are left for it, and it needs 3,000"
    assert re.fullmatch(reason, result_of(one, "slim").left_out or "")
    assert (
        result_of(one, "slim").work > 3 * SLOW
    )  # one fit of the search, one of the test window, one of all events
    assert one.work + one.refit_work <= 2.0


@pytest.mark.usefixtures("slow_slim")
@pytest.mark.parametrize("budget", [10.0, 4_500.0])
def test_a_slow_model_at_the_head_of_the_list_costs_no_other_model(
    window: EvaluationWindow, settings: Settings, budget: float
) -> None:
    slow_first = replace(settings, models=("slim", *settings.models), search=Search(budget=budget, max_trials=0))
    result, lists = search(window, slow_first, LogProgress())
    alone, _ = search(window, replace(settings, search=Search(max_trials=0)), LogProgress())
    assert ("slim" in lists) == (budget > 3 * SLOW)
    for name in settings.models:
        assert result_of(result, name).metric == result_of(alone, name).metric


@pytest.mark.usefixtures("slow_slim")
def test_last_nights_winner_comes_before_cheaper_models_and_what_was_never_fitted_comes_next(
    window: EvaluationWindow, settings: Settings
) -> None:
    limited = replace(settings, models=(*settings.models, "slim"), search=Search(budget=4_500.0, max_trials=0))
    others = {name: ModelMemory(0.3) for name in settings.models}
    winner = others | {"slim": ModelMemory(0.3, weight=1.0)}
    barely = replace(limited, search=Search(budget=3 * SLOW + 0.1, max_trials=0))
    assert "slim" in search(window, barely, LogProgress(), winner)[1]
    assert "slim" in search(window, barely, LogProgress(), others)[1]
    loser = others | {"slim": ModelMemory(0.1)}
    assert "slim" not in search(window, replace(barely, search=Search(budget=3 * SLOW)), LogProgress(), loser)[1]


def test_a_model_far_below_the_best_drops_out_of_the_race(window: EvaluationWindow, settings: Settings) -> None:
    three = replace(settings, models=("repurchase", "ease"), search=Search(max_trials=0))
    result, lists = search(window, three, LogProgress(), {"ease": ModelMemory(0.3, weight=1.0)})
    assert list(lists) == ["ease"]
    left_out = result_of(result, "repurchase").left_out
    assert left_out == "its metric is below 0.5 of the best model's, on 300 users"
    # In the other order it is compared at the end, with the same result.
    result, lists = search(window, three, LogProgress(), {"repurchase": ModelMemory(0.3, weight=1.0)})
    assert list(lists) == ["ease"]
    assert result_of(result, "repurchase").left_out == "its metric is below 0.5 of the best model's, on 584 users"


def test_a_race_compares_the_same_users(window: EvaluationWindow, settings: Settings) -> None:
    race = Race(window, settings)
    best = race.rank(build_model("ease", {}, 0).fit(window.interactions), can_drop_out=True)
    assert best.users == 584
    assert not race.is_far_below(0.55 * best.values, 300)
    assert race.is_far_below(0.45 * best.values, 300)
    noisy = np.where(np.arange(584) % 50 == 0, 20.0, 0.0) * best.values  # 0.4 of the best, from a few users
    assert not race.is_far_below(noisy, 584)
    assert not race.is_far_below(0.45 * best.values, 99)


def test_five_nights_of_tuning_do_not_fall_and_rise(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"regularization": Range(1e-3, 1e3, logarithmic=True), "unobserved_weight": Range(2.0, 2e4)}
    monkeypatch.setattr(Ials, "search_space", wide)  # most of it is poor
    tuned = replace(
        settings,
        models=("ials",),
        model_settings={"ials": {"factors": 8, "epochs": 4}},
        search=Search(budget=5.0, max_trials=3),
    )
    poor = {"regularization": 1.0, "unobserved_weight": 2.0}
    memory = {"ials": ModelMemory(0.1, 1.0, poor)}
    metrics: list[float] = []
    for night in range(5):
        ials = search(window, tuned, LogProgress(), memory, night)[0].tried[0]
        assert ials.metric is not None
        metrics.append(ials.metric)
        trials = (*memory["ials"].trials, *ials.trials[1:])
        memory = {"ials": ModelMemory(ials.metric, 1.0, ials.values, ials.score, trials)}
    untuned = replace(tuned, search=Search(max_trials=0))
    start = search(window, untuned, LogProgress(), {"ials": ModelMemory(0.1, 1.0, poor)})[0].tried[0].metric
    assert start is not None
    assert [start, *metrics] == sorted([start, *metrics])
    assert metrics[0] < metrics[4]
    assert metrics[4] > 1.5 * start
    assert len(memory["ials"].trials) == 10


def test_values_that_are_no_longer_tuned_are_forgotten(window: EvaluationWindow, settings: Settings) -> None:
    untuned = replace(settings, models=("ease",), search=Search(max_trials=0))
    for values in ({"regularization": 1.0}, {"regularization": 1e9, "item_exponent": 0.5, "user_exponent": 0.2}):
        result, _ = search(window, untuned, LogProgress(), {"ease": ModelMemory(0.3, 1.0, values, 1.2)})
        assert result.tried[0].values is None
        assert result.tried[0].score == 1.0


def test_models_of_another_version_are_forgotten(window: EvaluationWindow, settings: Settings) -> None:
    untuned = replace(settings, models=("ease",), search=Search(max_trials=0))
    memory = {"a_model_of_another_version": ModelMemory(0.3, 1.0, {"depth": 3.0}, 1.2)}
    assert without_seconds(search(window, untuned, LogProgress(), memory)[0]) == without_seconds(
        search(window, untuned, LogProgress())[0]
    )


def test_a_model_that_drops_out_tonight_keeps_its_tuned_values(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ials, "work", lambda *_: SLOW)  # so that it is first tried with a quarter of its epochs
    monkeypatch.setattr(Race, "is_far_below", lambda race, _, ranked: race.has_begun and ranked == 300)
    values = {"regularization": 1.0, "unobserved_weight": 2.0}
    memory = {"ease": ModelMemory(0.3, weight=1.0), "ials": ModelMemory(0.2, 0.0, values, 1.3)}
    both = replace(settings, models=("ials", "ease"), search=Search(budget=5 * SLOW, max_trials=0))
    ials = result_of(search(window, both, LogProgress(), memory)[0], "ials")
    assert ials.left_out == "its metric is below 0.5 of the best model's, on 300 users, after 3 of 12 epochs"
    assert (ials.values, ials.score) == (values, 1.3)


def test_an_interrupt_ends_the_search_without_a_traceback_in_the_log(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(Race, "rank_users", interrupt)
    optuna.logging.enable_propagation()
    try:
        with pytest.raises(KeyboardInterrupt):
            search(window, settings, LogProgress())
    finally:
        optuna.logging.disable_propagation()
    assert [record for record in caplog.records if record.name.startswith("optuna")] == []


def test_nothing_is_tuned_where_too_few_users_could_accept_it(window: EvaluationWindow, settings: Settings) -> None:
    for users, trials in ((1, 0), (18, 0), (20, 6)):
        result, _ = search(window.sample(users, 0), replace(settings, models=("ease",)), LogProgress())
        assert len(result.tried[0].trials) == trials


def test_what_the_settings_fix_is_not_tuned(window: EvaluationWindow, settings: Settings) -> None:
    fixed = {"ease": {"regularization": 2.0, "item_exponent": 0.0, "user_exponent": 0.0}}
    result, _ = search(window, replace(settings, model_settings=fixed), LogProgress())
    assert result_of(result, "ease").trials == ()
    assert apply_search(replace(settings, model_settings=fixed), result).model_settings["ease"] == fixed["ease"]


def test_a_candidate_that_needs_too_much_memory_is_left_out(window: EvaluationWindow, settings: Settings) -> None:
    result, lists = search(window, replace(settings, search=Search(max_memory=30_000, max_trials=0)), LogProgress())
    left_out = result_of(result, "ease").left_out
    assert left_out is not None
    assert "MB may be taken" in left_out
    assert "ease" not in lists
    assert apply_search(settings, result).models == ("popularity", "item_knn")


def test_a_search_without_time_or_budget_says_so(window: EvaluationWindow, settings: Settings) -> None:
    with pytest.raises(ModelError, match=r"no candidate could be fitted: popularity: search\.max_minutes = 1e-09"):
        search(window, replace(settings, search=Search(max_minutes=1e-9)), LogProgress())
    with pytest.raises(ModelError, match=r"no candidate could be fitted: popularity: search\.budget = 1e-09"):
        search(window, replace(settings, search=Search(budget=1e-9)), LogProgress())


def test_the_hard_stop_keeps_what_was_found_and_is_told(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = replace(settings, search=Search(max_minutes=10, max_trials=6))
    monkeypatch.setattr("jobs.pipeline.search.budget.time.monotonic", iter(range(0, 100_000, 70)).__next__)
    result, lists = search(window, stopped, LogProgress())
    assert result.stopped == "search.max_minutes = 10: the search was stopped before its work was done"
    assert 0 < len(lists) < 3 or all(len(candidate.trials) < 6 for candidate in result.tried)


def test_a_fit_that_fails_leaves_the_others(window: EvaluationWindow, settings: Settings) -> None:
    failing = replace(
        settings,
        models=("popularity", "light_gcn"),
        model_settings={"light_gcn": {"learning_rate": 1e30, "epochs": 2}},
        search=Search(max_trials=0),
    )
    result, lists = search(window, failing, LogProgress())
    assert list(lists) == ["popularity"]
    assert result_of(result, "light_gcn").left_out is not None


def test_a_fit_without_memory_leaves_the_others_and_what_is_spent_is_told(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: object) -> Slim:
        raise MemoryError

    monkeypatch.setattr(Slim, "fit", exhaust)
    result, lists = search(window, replace(settings, models=("slim", *settings.models)), LogProgress())
    assert list(lists) == list(settings.models)
    assert result_of(result, "slim").left_out == "its fit ran out of memory"
    assert result.work == pytest.approx(sum(one.work for one in result.tried), abs=0.01)


def test_a_last_fit_that_fails_keeps_the_values_before(
    window: EvaluationWindow, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A neural model has no epoch when the hard stop comes just before that fit."""
    fits: list[int] = []
    fit = Ease.fit

    def fail_at_last(model: Ease, interactions: Interactions) -> Ease:
        fits.append(1)
        if len(fits) == 7:  # one before tuning, five trials, and the best of them for all users
            raise ModelError("training took longer than its time limit")
        return fit(model, interactions)

    monkeypatch.setattr(Ease, "fit", fail_at_last)
    result, lists = search(window, replace(settings, models=("ease",)), LogProgress())
    assert len(fits) == 7
    assert list(lists) == ["ease"]
    assert result.tried[0].values is None


def test_light_gcn_keeps_the_epochs_it_came_to_within_the_budget(
    window: EvaluationWindow, settings: Settings
) -> None:
    config = {"embedding_size": 4, "epochs": 8, "negatives": 8, "learning_rate": 0.05}
    neural = replace(settings, models=("popularity", "light_gcn"), model_settings={"light_gcn": config})
    result, _ = search(window, neural, LogProgress())
    assert 1 <= apply_search(neural, result).model_settings["light_gcn"]["epochs"] <= 8
    shorter = replace(neural, model_settings={"light_gcn": {**config, "epochs": 4}})
    work = estimate_cost("light_gcn", window, shorter).total
    half = replace(neural, models=("light_gcn",), search=Search(budget=1.01 * work, max_trials=0))
    result, _ = search(window, half, LogProgress())
    assert 1 <= apply_search(half, result).model_settings["light_gcn"]["epochs"] <= 4
