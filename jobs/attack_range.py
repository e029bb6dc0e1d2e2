"""The attack range: fake accounts are put into real data, to see who finds them and what they change."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.behavior import behavior
from features.behavior_partials import add_ip_counts, add_item_counts, ip_counts, item_counts
from features.interactions import interactions, sequences
from jobs.benchmark import read_split
from jobs.candidates import build_candidate
from jobs.evaluating import Exam
from jobs.lake import Lake
from jobs.progress import Progress
from jobs.screening import wanted_pairs
from recsys.anomaly.attacks import Attack, draw_attack
from recsys.anomaly.screening import screen_users
from recsys.data.interactions import Interactions, build_interactions
from recsys.data.splits import relevant_pairs, sample_users, windows
from recsys.errors import NotEnoughDataError, SettingsError
from recsys.evaluation.comparison import measure
from recsys.evaluation.truth import build_truth
from recsys.ids import Rows
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
NDCG: Final = "ndcg@20"
MEASURED_USERS: Final = 2_000
ACCOUNT: Final = "fake-account"
NO_LABELS: Final = pl.DataFrame(schema=pl.Schema(Labels))


@dataclass(frozen=True)
class Field:
    """Real data to attack."""

    events: pl.DataFrame
    """What happened before the attack's end, in the columns of `Events`, all of positive weight."""
    test: pl.DataFrame
    """What users wanted after it: user and item."""
    as_of: datetime
    timed: bool
    """Whether times are real; otherwise all are the same, those of the attack too."""


@dataclass(frozen=True)
class Outcome:
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
class _Served:
    """What a model shows to clean users."""

    first: NDArray[np.object_]
    """Item ids of the first places, (users, `HITS_AT`)."""
    ndcg: float


def field_of_split(directory: Path, settings: Settings) -> Field:
    """The split in a directory, as `recsys benchmark` reads it."""
    split = read_split(directory, "holdout", settings)
    timed = TIMESTAMP in pl.read_parquet_schema(directory / "train.parquet")
    history = split.history
    last = history[TIMESTAMP].max()
    assert isinstance(last, datetime)
    if not timed:
        history = history.with_columns(pl.lit(last).alias(TIMESTAMP))
    return Field(_whole(history), split.test, last + timedelta(microseconds=1), timed)


def field_of_lake(lake: Lake, settings: Settings, as_of: datetime) -> Field:
    """The lake's events before the test window, and what users wanted in it.

    Raises `NotEnoughDataError` where there are none.
    """
    cuts = windows(as_of, settings.evaluation)
    weights = settings.sources.event_weights
    wanted = pl.col(EVENT).is_in(sorted(name for name, weight in weights.items() if weight > 0))
    events = lake.events().filter(pl.col(TIMESTAMP) < pl.lit(cuts.validation_end)).filter(wanted).collect()
    if events.is_empty():
        raise NotEnoughDataError("no events before the test window: ingest events first")
    pairs = relevant_pairs(
        lake.events(), cuts.validation_end, as_of, settings.evaluation.relevant_events, weights
    )
    return Field(_whole(events), pairs, cuts.validation_end, True)


def attack_range(
    field: Field,
    kinds: Sequence[str],
    shares: Sequence[float],
    seeds: Sequence[int],
    model: str,
    settings: Settings,
    progress: Progress,
) -> Iterator[Outcome]:
    """Attack with each kind, share of users and seed in turn.

    `model` is fitted on the data without the attack, with it, and without whom the screening flags. Raises
    `SettingsError` for a share that is not above 0 and at most 1.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise SettingsError(f"--share = {share}: expected a number above 0, at most 1")
    known = _known(field.events, field.as_of, settings)
    clean = _serve(field.events, field, known, model, settings)
    progress.start("attack", len(kinds) * len(shares) * len(seeds))
    days = float(known.age_days.max()) if field.timed else 0.0
    for share in shares:
        for kind in kinds:
            for seed in seeds:
                accounts = max(1, round(share * len(known.users)))
                attack = draw_attack(kind, known.wanted, accounts, days, seed)
                yield _outcome(field, known, clean, attack, share, seed, model, settings)
                progress.advance(1)
    progress.done()


def _outcome(
    field: Field,
    known: Interactions,
    clean: _Served,
    attack: Attack,
    share: float,
    seed: int,
    model: str,
    settings: Settings,
) -> Outcome:
    attacked = pl.concat([field.events, _as_events(attack, field, known)])
    found = _screen(attacked, field.as_of, settings)
    fake = pl.col(USER_ID).str.starts_with(ACCOUNT)
    flagged = found.filter(FLAGGED)
    caught = flagged.filter(fake).height
    wrongly = flagged.height - caught
    served = _serve(attacked, field, known, model, settings)
    # Where those flagged are the fake accounts and no other, what is left is the data before the attack.
    exact = caught == attack.accounts and not wrongly
    kept = attacked.join(flagged.select(USER_ID), on=USER_ID, how="anti")
    defended = clean if exact else _serve(kept, field, known, model, settings)
    target = known.items.ids(np.array([attack.target], np.int32))[0]
    without = _without(known, attack.target)
    hits = [float((one.first[without] == target).any(axis=1).mean()) for one in (clean, served, defended)]
    return Outcome(
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


def _screen(events: pl.DataFrame, as_of: datetime, settings: Settings) -> pl.DataFrame:
    """What the nightly screening says of these events' users."""
    lazy = events.lazy()
    items = add_item_counts(item_counts(lazy, as_of))
    ips = add_ip_counts(ip_counts(lazy, as_of))
    table = behavior(lazy, as_of, items, ips).collect()
    pairs = wanted_pairs(lazy, settings.sources.event_weights).collect().sort(USER_ID, ITEM_ID)
    return screen_users(pairs, table, NO_LABELS, settings.anomalies, settings.seed)


def _serve(events: pl.DataFrame, field: Field, clean: Interactions, model: str, settings: Settings) -> _Served:
    """Fit the model on events, and rank for a sample of the clean users and for those whose wishes are known."""
    known = _known(events, field.as_of, settings)
    history = known.user_items if settings.repeat == "exclude" else None
    pairs = sample_users(field.test.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID), MEASURED_USERS, 0)
    exam = Exam.of(known, build_truth(pairs, known, settings.evaluation, history), settings)
    fitted = build_candidate(model, settings).fit(known)
    depth = max(settings.evaluation.cutoffs)
    ranked, _ = fitted.recommend(exam.truth.user_rows, depth, exam.exclude)
    measured = measure(model, ranked, exam.truth, settings.evaluation, settings.seed, exam.fallback)
    watched = known.users.rows(clean.users.ids(_watched(clean)))
    shown = np.tile(exam.fallback[:HITS_AT], (len(watched), 1))
    shown[watched >= 0] = fitted.recommend(watched[watched >= 0], HITS_AT, exam.exclude)[0][:, :HITS_AT]
    ids = np.append(known.items.values.to_numpy(), "")  # the last one where a list is shorter
    return _Served(ids[shown], measured.metrics[NDCG])


def _watched(clean: Interactions) -> Rows:
    """Clean users in whose lists the target is looked for, the same ones in all fits."""
    count = len(clean.users)
    drawn = np.random.default_rng(0).permutation(count)[:MEASURED_USERS]
    return np.sort(drawn).astype(np.int32)


def _without(clean: Interactions, target: int) -> NDArray[np.bool_]:
    """Which of the watched users do not have the target."""
    return clean.user_items[_watched(clean)][:, [target]].toarray().ravel() == 0


def _known(events: pl.DataFrame, as_of: datetime, settings: Settings) -> Interactions:
    weights, half_life = settings.sources.event_weights, settings.sources.half_life_days
    pairs = interactions(events.lazy(), as_of, weights, half_life).collect()
    return build_interactions(pairs, sequences(events.lazy(), as_of, weights).collect(), as_of)


def _as_events(attack: Attack, field: Field, known: Interactions) -> pl.DataFrame:
    """The attack's events, with the price and quantity that the item had last: these are no giveaway."""
    moment = pl.lit(field.as_of - timedelta(microseconds=1)) - pl.duration(
        microseconds=(pl.col("age") * 86_400_000_000).cast(pl.Int64)
    )
    usual = field.events[EVENT].mode().sort()[0]
    like = field.events.group_by(ITEM_ID).agg(pl.col(VALUE, PRICE, QUANTITY).last())
    account = pl.format("{}-{}", pl.lit(ACCOUNT), pl.col("account"))
    items = known.items.ids(attack.item_rows)
    return (
        pl.DataFrame({"account": attack.account_rows, ITEM_ID: items, "age": attack.age_days})
        .with_row_index("number")
        .with_columns(
            pl.format("{}-{}", pl.lit("fake"), pl.col("number")).alias(EVENT_ID),
            account.alias(USER_ID),
            pl.lit(usual).alias(EVENT),
            (moment if field.timed else pl.lit(field.as_of - timedelta(microseconds=1))).alias(TIMESTAMP),
            pl.lit(None, pl.String).alias(IP),
            pl.lit(None, pl.String).alias(USER_AGENT),
        )
        .join(like, on=ITEM_ID, how="left", maintain_order="left")
        .with_columns(pl.format("{}-{}", pl.col(USER_ID), pl.col(TIMESTAMP).dt.date()).alias(SESSION_ID))
        .select(field.events.columns)
        .cast(dict(field.events.schema))
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
