"""The attack range: fake accounts are put into real data, to see who finds them and what they change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags_array, vstack

from features.behavior import behavior
from features.behavior_partials import add_ip_counts, add_item_counts, ip_counts, item_counts
from features.interactions import interactions, sequences
from jobs.experiments.benchmark import read_split
from jobs.lake import Lake
from jobs.pipeline.models import build_configured_model
from jobs.pipeline.steps.screen import count_user_item_events
from jobs.progress import Progress
from recsys.anomaly.attacks import Attack, draw_attack
from recsys.data.interactions import Interactions, build_interactions
from recsys.data.splits import relevant_pairs, sample_users, windows
from recsys.errors import NotEnoughDataError, SettingsError
from recsys.evaluation.comparison.ground_truth import build_ground_truth
from recsys.evaluation.metrics.ranking import evaluate_lists
from recsys.ids import IdMap, Rows
from recsys.ranking.top_k import Exclusion
from recsys.schema import (
    EVENT,
    EVENT_ID,
    FLAGGED,
    IP,
    ITEM_ID,
    PRICE,
    QUANTITY,
    SCORE,
    SESSION_ID,
    TIMESTAMP,
    USER_AGENT,
    USER_ID,
    VALUE,
    Events,
    Labels,
)
from recsys.settings import Settings

HITS_AT: Final = 10
LIST_LENGTH: Final = 20
MEASURED_USERS: Final = 2_000
ACCOUNT: Final = "fake-account"
NO_LABELS: Final = pl.DataFrame(schema=pl.Schema(Labels))


@dataclass(frozen=True)
class AttackDataset:
    """Real data to attack."""

    events: pl.DataFrame
    """What happened before the attack's end, in the columns of `Events`, all of positive weight."""
    test: pl.DataFrame
    """What users wanted after it: user and item."""
    as_of: datetime
    timed: bool
    """Whether times are real; otherwise all are the same, those of the attack too."""

    @cached_property
    def usual_event(self) -> str:
        """The commonest event, which fake accounts make."""
        return self.events[EVENT].mode().sort()[0]


@dataclass(frozen=True)
class AttackResult:
    """What one attack came to."""

    kind: str
    share: float
    seed: int
    accounts: int
    precision: float
    """Of those flagged the share that are fake accounts; 1 where nobody is flagged."""
    recall: float
    auc: float
    """Chance that a fake account has a higher score than a clean user."""
    clean_flagged: float
    """Share of clean users who are flagged."""
    hits_before: float
    """Share of clean users without the target in whose first 10 it is."""
    hits_attacked: float
    hits_defended: float
    ndcg_before: float
    """NDCG@20 of clean users."""
    ndcg_attacked: float
    ndcg_defended: float


@dataclass(frozen=True)
class _Measured:
    """What the model is measured on: clean users, the same in all fits."""

    user_rows: Rows
    relevant: csr_matrix
    relevant_counts: NDArray[np.integer[Any]]
    candidate_counts: NDArray[np.integer[Any]]
    exclude: csr_matrix | None


@dataclass(frozen=True)
class _Served:
    """What a model shows to clean users."""

    lists: Rows
    """(users, `LIST_LENGTH`)."""
    ndcg: float


def read_split_dataset(directory: Path, settings: Settings) -> AttackDataset:
    """The split in a directory, as `recsys benchmark` reads it."""
    split = read_split(directory, "holdout", settings)
    timed = TIMESTAMP in pl.read_parquet_schema(directory / "train.parquet")
    history = split.history
    last = history[TIMESTAMP].max()
    assert isinstance(last, datetime)
    if not timed:
        history = history.with_columns(pl.lit(last).alias(TIMESTAMP))
    return AttackDataset(_whole(history), split.test, last + timedelta(microseconds=1), timed)


def read_lake_dataset(lake: Lake, settings: Settings, as_of: datetime) -> AttackDataset:
    """The lake's events before the test window, and what users wanted in it.

    Raises `NotEnoughDataError` where there are none.
    """
    cuts = windows(as_of, settings.evaluation)
    weights = settings.sources.event_weights
    wanted = pl.col(EVENT).is_in(sorted(name for name, weight in weights.items() if weight > 0))
    events = lake.events().filter(pl.col(TIMESTAMP) < pl.lit(cuts.validation_end)).filter(wanted).collect()
    if events.is_empty():
        raise NotEnoughDataError("no events before the test window: ingest events first")
    pairs = relevant_pairs(lake.events(), cuts.validation_end, as_of, settings.evaluation.relevant_events, weights)
    return AttackDataset(_whole(events), pairs, cuts.validation_end, True)


def simulate_attacks(
    field: AttackDataset,
    kinds: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    model: str,
    settings: Settings,
    progress: Progress,
) -> Iterator[AttackResult]:
    """Attack with each kind, share of users and seed in turn.

    `model` is fitted on the data without the attack, with it, and without whom the screening flags. Raises
    `SettingsError` for a share that is not above 0 and at most 1.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise SettingsError(f"--share = {share}: expected a number above 0, at most 1")
    known = _known(field.events, field.as_of, settings)
    measured = _measured(field, known, settings)
    clean = _serve(known, measured, model, settings)
    days = float(known.age_days.max()) if field.timed else 0.0
    with progress.task("attack", len(kinds) * len(shares) * len(seeds)) as task:
        for share, kind, seed in product(shares, kinds, seeds):
            accounts = max(1, round(share * len(known.users)))
            attack = draw_attack(kind, known.positives, accounts, days, seed)
            yield _outcome(field, known, measured, clean, attack, share, seed, model, settings)
            task.advance(1)


def _outcome(
    field: AttackDataset,
    known: Interactions,
    measured: _Measured,
    clean: _Served,
    attack: Attack,
    share: float,
    seed: int,
    model: str,
    settings: Settings,
) -> AttackResult:
    found = _screen(pl.concat([field.events, _as_events(attack, field, known)]), field.as_of, settings)
    fake = pl.col(USER_ID).str.starts_with(ACCOUNT)
    flagged = found.filter(FLAGGED)
    caught = flagged.filter(fake).height
    wrongly = flagged.height - caught
    weight = settings.sources.event_weights[field.usual_event]
    attacked = _with_attack(known, attack, weight, settings.sources.half_life_days)
    served = _serve(attacked, measured, model, settings)
    defended = _serve(_without_users(attacked, flagged[USER_ID]), measured, model, settings)
    without = known.user_items[measured.user_rows][:, [attack.target]].toarray().ravel() == 0
    hits = [
        float((one.lists[without, :HITS_AT] == attack.target).any(axis=1).mean())
        for one in (clean, served, defended)
    ]
    return AttackResult(
        kind=attack.kind,
        share=share,
        seed=seed,
        accounts=attack.accounts,
        precision=caught / flagged.height if flagged.height else 1.0,
        recall=caught / attack.accounts,
        auc=_auc(found, fake),
        clean_flagged=wrongly / len(known.users),
        hits_before=hits[0],
        hits_attacked=hits[1],
        hits_defended=hits[2],
        ndcg_before=clean.ndcg,
        ndcg_attacked=served.ndcg,
        ndcg_defended=defended.ndcg,
    )


def screen_dataset(field: AttackDataset, settings: Settings) -> pl.DataFrame:
    """What the screening says of the data as it is."""
    return _screen(field.events, field.as_of, settings)


def _screen(events: pl.DataFrame, as_of: datetime, settings: Settings) -> pl.DataFrame:
    """What the nightly screening says of these events' users."""
    from recsys.anomaly.screening import screen_users  # its detectors take seconds to import

    lazy = events.lazy()
    items = add_item_counts(item_counts(lazy, as_of))
    ips = add_ip_counts(ip_counts(lazy, as_of))
    table = behavior(lazy, as_of, items, ips).collect()
    pairs = count_user_item_events(lazy, settings.sources.event_weights).collect().sort(USER_ID, ITEM_ID)
    return screen_users(pairs, table, NO_LABELS, settings.anomalies, settings.seed)


def _measured(field: AttackDataset, known: Interactions, settings: Settings) -> _Measured:
    """Users with wishes in the test window, at most `MEASURED_USERS`."""
    history = known.user_items if settings.repeat == "exclude" else None
    pairs = sample_users(field.test.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID), MEASURED_USERS, 0)
    ground_truth = build_ground_truth(pairs, known, settings.evaluation, history)
    wanted = ground_truth.returning
    return _Measured(
        ground_truth.user_rows, wanted.relevant, wanted.relevant_counts, wanted.candidate_counts, history
    )


def _serve(known: Interactions, measured: _Measured, model: str, settings: Settings) -> _Served:
    """Fit the model, and rank for the users that are measured."""
    fitted = build_configured_model(model, settings).fit(known)
    exclude = Exclusion(known.user_items if measured.exclude is not None else None)
    lists, _ = fitted.recommend(measured.user_rows, LIST_LENGTH, exclude)
    ground_truth = (measured.relevant, measured.relevant_counts, measured.candidate_counts)
    return _Served(lists, float(evaluate_lists(lists, *ground_truth, (LIST_LENGTH,))[f"ndcg@{LIST_LENGTH}"].mean()))


def _with_attack(known: Interactions, attack: Attack, weight: float, half_life_days: float) -> Interactions:
    """What is known once the attack is part of it: its accounts come after all users."""
    weights = np.full(len(attack.item_rows), weight, np.float32)
    shape = (attack.accounts, len(known.items))
    decayed = weights * 0.5 ** (attack.age_days / half_life_days).astype(np.float32)
    accounts = csr_matrix((decayed, (attack.account_rows, attack.item_rows)), shape=shape)
    order = np.lexsort((-attack.age_days, attack.account_rows))
    names = pl.Series([f"{ACCOUNT}-{number}" for number in range(attack.accounts)])
    return Interactions(
        users=IdMap(pl.concat([known.users.values, names.alias(known.users.values.name)])),
        items=known.items,
        user_items=csr_matrix(vstack([known.user_items, accounts])),
        user_rows=np.concatenate([known.user_rows, attack.account_rows[order] + len(known.users)]).astype(np.int32),
        item_rows=np.concatenate([known.item_rows, attack.item_rows[order]]),
        age_days=np.concatenate([known.age_days, attack.age_days[order]]),
        weights=np.concatenate([known.weights, weights]),
    )


def _without_users(known: Interactions, users: pl.Series) -> Interactions:
    """What is known without the events of some users, who keep their rows."""
    stays = np.ones(len(known.users), np.bool_)
    stays[known.users.rows(users)] = False
    events = stays[known.user_rows]
    return replace(
        known,
        user_items=csr_matrix(diags_array(stays.astype(np.float32)) @ known.user_items),
        user_rows=known.user_rows[events],
        item_rows=known.item_rows[events],
        age_days=known.age_days[events],
        weights=known.weights[events],
    )


def _known(events: pl.DataFrame, as_of: datetime, settings: Settings) -> Interactions:
    weights, half_life = settings.sources.event_weights, settings.sources.half_life_days
    pairs = interactions(events.lazy(), as_of, weights, half_life).collect()
    return build_interactions(pairs, sequences(events.lazy(), as_of, weights).collect(), as_of)


def _as_events(attack: Attack, field: AttackDataset, known: Interactions) -> pl.DataFrame:
    """The attack's events, with the price and quantity that the item had last: these are no giveaway."""
    moment = pl.lit(field.as_of - timedelta(microseconds=1)) - pl.duration(
        microseconds=(pl.col("age") * 86_400_000_000).cast(pl.Int64)
    )
    like = field.events.group_by(ITEM_ID).agg(pl.col(VALUE, PRICE, QUANTITY).last())
    account = pl.format("{}-{}", pl.lit(ACCOUNT), pl.col("account"))
    items = known.items.ids(attack.item_rows)
    return (
        pl.DataFrame({"account": attack.account_rows, ITEM_ID: items, "age": attack.age_days})
        .with_row_index("number")
        .with_columns(
            pl.format("{}-{}", pl.lit("fake"), pl.col("number")).alias(EVENT_ID),
            account.alias(USER_ID),
            pl.lit(field.usual_event).alias(EVENT),
            (moment if field.timed else pl.lit(field.as_of - timedelta(microseconds=1))).alias(TIMESTAMP),
            pl.lit(None, pl.String).alias(IP),
            pl.lit(None, pl.String).alias(USER_AGENT),
        )
        .join(like, on=ITEM_ID, how="left", maintain_order="left")
        .with_columns(pl.format("{}-{}", pl.col(USER_ID), pl.col(TIMESTAMP).dt.date()).alias(SESSION_ID))
        .select(field.events.columns)
        .cast(field.events.schema)
    )


def _whole(events: pl.DataFrame) -> pl.DataFrame:
    """The columns of `Events`, null where the data has none."""
    schema = pl.Schema(Events)
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in events.columns]
    return events.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())


def _auc(found: pl.DataFrame, fake: pl.Expr) -> float:
    ranked = found.select(pl.col(SCORE).rank().alias("rank"), fake.alias("fake"))
    fakes = ranked.filter("fake").height
    clean = ranked.height - fakes
    above = float(ranked.filter("fake")["rank"].sum()) - fakes * (fakes + 1) / 2
    return above / (fakes * clean)
