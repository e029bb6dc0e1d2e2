"""Attack simulation: inject fake accounts into real data, and measure detection and damage."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from features.behavior import behavior
from features.behavior_partials import add_ip_counts, add_item_counts, ip_counts, item_counts
from jobs.experiments.attack_dataset import (
    ACCOUNT,
    AttackDataset,
    attack_account_ids,
    build_attack_events,
    build_dataset_interactions,
)
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.steps.screen import count_user_item_events
from jobs.progress import Progress
from recsys.anomaly.attacks import Attack, draw_attack
from recsys.anomaly.detection_metrics import area_under_roc
from recsys.anomaly.injection import add_attack, remove_events
from recsys.contract import Labels
from recsys.data.interactions import Interactions
from recsys.data.splits import sample_users
from recsys.errors import SettingsError
from recsys.evaluation.ground_truth import build_ground_truth
from recsys.evaluation.metrics.ranking import evaluate_lists
from recsys.ids import Rows
from recsys.ranking.top_k import Exclusion
from recsys.schema import FLAGGED, ITEM_ID, SCORE, USER_ID
from recsys.settings import Settings

HITS_AT: Final = 10
LIST_LENGTH: Final = 20
MAX_TEST_USERS: Final = 2_000
AttackDraw = Callable[[str, csr_matrix, int, float, int], Attack]
"""Draws an attack, as `draw_attack` does."""
NO_LABELS: Final = pl.DataFrame(schema=pl.Schema(Labels))


@dataclass(frozen=True)
class AttackResult:
    """Detection and damage of one attack."""

    kind: str
    share: float
    seed: int
    accounts: int
    precision: float
    """Share of the flagged users that are fake accounts; 1 if nobody is flagged."""
    recall: float
    auc: float
    """Probability that a fake account scores above a clean user."""
    clean_flagged: float
    """Share of clean users who are flagged."""
    hits_before: float
    """Share of clean users without the target whose first `HITS_AT` items include it, without the attack."""
    hits_attacked: float
    """The same share with the attack."""
    hits_defended: float
    """The same share with the attack, after screening."""
    ndcg_before: float
    """NDCG@20 of clean users, without the attack."""
    ndcg_attacked: float
    ndcg_defended: float


@dataclass(frozen=True)
class _TestUsers:
    """Clean users for whom every fit of the model is measured, and their relevant items."""

    user_rows: Rows
    relevant: csr_matrix
    relevant_counts: NDArray[np.integer[Any]]
    excludes_history: bool


@dataclass(frozen=True)
class _Recommendations:
    """The lists of a model for the test users."""

    lists: Rows
    """(users, `LIST_LENGTH`)."""
    ndcg: float


@dataclass(frozen=True)
class _Simulation:
    """The data, test users, model and settings that all attacks of a simulation share."""

    dataset: AttackDataset
    interactions: Interactions
    test_users: _TestUsers
    model: str
    settings: Settings

    def recommend(self, interactions: Interactions) -> _Recommendations:
        """Fit the model on interactions, and recommend to the test users."""
        test = self.test_users
        model = build_configured_model(self.model, self.settings).fit(interactions)
        exclude = Exclusion(interactions.owned if test.excludes_history else None)
        lists, _ = model.recommend(test.user_rows, LIST_LENGTH, exclude)
        metrics = evaluate_lists(lists, test.relevant, test.relevant_counts, (LIST_LENGTH,))
        return _Recommendations(lists, float(metrics[f"ndcg@{LIST_LENGTH}"].mean()))


def simulate_attacks(
    dataset: AttackDataset,
    kinds: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    model: str,
    settings: Settings,
    progress: Progress,
    draw: AttackDraw = draw_attack,
) -> Iterator[AttackResult]:
    """Attack with each share of fake accounts, kind and seed in turn; `draw` makes the attacks.

    `model` is fitted on the data without the attack, with it, and without the users that screening flags. Raises
    `SettingsError` for a share that is not above 0 and at most 1.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise SettingsError(f"--share = {share}: expected a number above 0, at most 1")
    interactions = build_dataset_interactions(dataset, settings)
    test_users = _select_test_users(dataset, interactions, settings)
    simulation = _Simulation(dataset, interactions, test_users, model, settings)
    clean = simulation.recommend(interactions)
    days = float(interactions.age_days.max()) if dataset.has_times else 0.0
    with progress.task("attack", len(kinds) * len(shares) * len(seeds)) as task:
        for share, kind, seed in product(shares, kinds, seeds):
            accounts = max(1, round(share * len(interactions.users)))
            attack = draw(kind, interactions.positives, accounts, days, seed)
            yield _measure_attack(simulation, clean, attack, share, seed)
            task.advance(1)


def screen_dataset(dataset: AttackDataset, settings: Settings) -> pl.DataFrame:
    """Screen the dataset without an attack; return the result of `screen_users`."""
    return _screen(dataset.events, dataset.as_of, settings)


def _measure_attack(
    simulation: _Simulation, clean: _Recommendations, attack: Attack, share: float, seed: int
) -> AttackResult:
    dataset, interactions, settings = simulation.dataset, simulation.interactions, simulation.settings
    events = pl.concat([dataset.events, build_attack_events(attack, dataset, interactions)])
    screened = _screen(events, dataset.as_of, settings)
    is_fake = screened[USER_ID].str.starts_with(ACCOUNT)
    flagged = screened.filter(FLAGGED)
    detected = screened.filter(pl.col(FLAGGED) & is_fake).height
    weight = settings.sources.event_weights[dataset.most_common_event]
    account_ids = attack_account_ids(attack)
    attacked = add_attack(interactions, attack, account_ids, weight, settings.sources.half_life_days)
    undefended = simulation.recommend(attacked)
    defended = simulation.recommend(remove_events(attacked, flagged[USER_ID]))
    user_items = interactions.user_items[simulation.test_users.user_rows]
    without_target = user_items[:, [attack.target]].toarray().ravel() == 0
    hits = [
        float((recommended.lists[without_target, :HITS_AT] == attack.target).any(axis=1).mean())
        for recommended in (clean, undefended, defended)
    ]
    return AttackResult(
        kind=attack.kind,
        share=share,
        seed=seed,
        accounts=attack.accounts,
        precision=detected / flagged.height if flagged.height else 1.0,
        recall=detected / attack.accounts,
        auc=area_under_roc(screened[SCORE].to_numpy(), is_fake.to_numpy()),
        clean_flagged=(flagged.height - detected) / len(interactions.users),
        hits_before=hits[0],
        hits_attacked=hits[1],
        hits_defended=hits[2],
        ndcg_before=clean.ndcg,
        ndcg_attacked=undefended.ndcg,
        ndcg_defended=defended.ndcg,
    )


def _screen(events: pl.DataFrame, as_of: datetime, settings: Settings) -> pl.DataFrame:
    from recsys.anomaly.screening import screen_users  # its detectors take seconds to import

    lazy = events.lazy()
    items = add_item_counts(item_counts(lazy, as_of))
    ips = add_ip_counts(ip_counts(lazy, as_of))
    table = behavior(lazy, as_of, items, ips).collect()
    pairs = count_user_item_events(lazy, settings.sources.event_weights).collect().sort(USER_ID, ITEM_ID)
    return screen_users(pairs, table, NO_LABELS, settings.anomalies, settings.seed)


def _select_test_users(dataset: AttackDataset, interactions: Interactions, settings: Settings) -> _TestUsers:
    """Select at most `MAX_TEST_USERS` users with relevant items in the test data."""
    history = interactions.owned if settings.repeat == "exclude" else None
    pairs = dataset.test.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID)
    sample = sample_users(pairs, MAX_TEST_USERS, 0)
    ground_truth = build_ground_truth(sample, interactions, settings.evaluation, history)
    users = ground_truth.returning
    return _TestUsers(
        ground_truth.user_rows,
        users.relevant,
        users.relevant_counts,
        settings.repeat == "exclude",
    )
