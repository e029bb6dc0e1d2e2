"""`recsys benchmark`: train and measure models on a prepared split, each in its own process."""

import multiprocessing
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import polars as pl

from features.interactions import interactions, sequences
from jobs.pipeline.evaluation_window import (
    BLEND,
    EvaluationWindow,
    blend_config,
    choose_weights,
    measure_auc,
    merge_winner_lists,
    winner_name,
)
from jobs.pipeline.models import build_configured_model, check_models
from jobs.pipeline.second_stage import build_ranker, try_second_stage
from jobs.pipeline.steps.search import apply_search, search
from jobs.progress import LogProgress, Progress
from recsys.data.interactions import build_interactions
from recsys.data.splits import sample_users
from recsys.errors import NotEnoughDataError, SourceError
from recsys.evaluation.comparison.blend_search import BlendChoice
from recsys.evaluation.comparison.measurement import check_metric, measure_model
from recsys.evaluation.ground_truth import build_ground_truth
from recsys.models.base import Model
from recsys.models.blend import Blend
from recsys.models.ranker.ranker import Ranker
from recsys.schema import (
    BRAND,
    CATEGORY,
    EVENT,
    EVENT_ID,
    ITEM_ID,
    PRICE,
    PURCHASE,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    USER_ID,
)
from recsys.settings import Settings

AUTO = "auto"
POSITION = "position"
BASKET = "basket"
# Without times, only the order of the rows counts, so events are a microsecond apart.
START = datetime(2000, 1, 1, tzinfo=UTC)
VALIDATION_SHARE = 0.2

Protocol = Literal["holdout", "last-item", "last-basket"]
UnknownItems = Literal["drop", "count"]
"""Whether test rows of items without training rows are dropped, or count as relevant items in no list."""


@dataclass(frozen=True)
class Split:
    """Events and relevant pairs for the test, and the same for the selection of a model."""

    history: pl.DataFrame
    test: pl.DataFrame
    train: pl.DataFrame
    validation: pl.DataFrame

    @property
    def unknown_rows(self) -> pl.DataFrame:
        """Return the test rows of items that the history lacks."""
        return self.test.join(self.history, on=ITEM_ID, how="anti", maintain_order="left")

    def without_unknown_items(self) -> "Split":
        """Return the split without the rows of test and validation whose items have no events before them."""
        return replace(
            self,
            test=self.test.join(self.history, on=ITEM_ID, how="semi", maintain_order="left"),
            validation=self.validation.join(self.train, on=ITEM_ID, how="semi", maintain_order="left"),
        )


def benchmark(
    directory: Path,
    names: list[str],
    protocol: Protocol,
    settings: Settings,
    progress: Progress,
    unknown_items: UnknownItems = "drop",
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and metrics of each model as soon as it is measured.

    `auto` is the default pipeline: the model, blend or second stage that wins on validation data. `unknown_items`
    holds for validation data as for the test.
    """
    check_models(settings.models, settings)
    check_metric(settings.evaluation)
    check_models((name for name in names if name != AUTO), settings)
    for name in names:
        context = multiprocessing.get_context("spawn")  # a new process for each model, to measure its peak memory
        with progress.task(f"train and measure {name}"), ProcessPoolExecutor(1, mp_context=context) as pool:
            figures = pool.submit(_measure_model, directory, name, protocol, settings, unknown_items).result()
        yield name, figures


def read_split(directory: Path, protocol: Protocol, settings: Settings) -> Split:
    """Read the split in a directory; raises `SourceError` if a file or a column is missing.

    The validation data of `auto` is `valid.parquet` if it exists; otherwise each user's last item (last-item) or
    basket (last-basket), the last days (holdout with times), or a random fifth of the rows (holdout without times).
    """
    train, test = _read_history(directory / "train.parquet", protocol), _read_pairs(directory / "test.parquet")
    if protocol == "last-item" and test[USER_ID].is_duplicated().any():
        raise SourceError(f"{directory / 'test.parquet'}: a user has several items; last-item expects one a user")
    file = directory / "valid.parquet"
    if not file.exists():
        kept, validation = _hold_out(train, protocol, settings)
        return Split(_events(train), test, _events(kept), validation)
    if protocol == "holdout":
        return Split(_events(train), test, _events(train), _read_pairs(file))
    validation = _read_history(file, protocol)
    if validation.columns != train.columns:
        raise SourceError(f"{file}: expected the columns of train.parquet, {', '.join(train.columns)}")
    return Split(_events(pl.concat([train, validation])), test, _events(train), validation)


def _measure_model(
    directory: Path, name: str, protocol: Protocol, settings: Settings, unknown_items: UnknownItems
) -> dict[str, Any]:
    split = read_split(directory, protocol, settings)
    unknown = split.unknown_rows
    if unknown_items == "drop":
        split = split.without_unknown_items()
    try:
        window = split_evaluation_window(split.history, split.test, settings)
    except NotEnoughDataError:
        raise SourceError(
            f"{directory / 'test.parquet'}: no user with training rows has an item that counts: one with training "
            "rows, unless --unknown-items is count, and that the user did not have, unless --repeat is allow"
        ) from None
    started = time.perf_counter()
    choice_figures: dict[str, Any] = {}
    if name == AUTO:
        if protocol != "holdout":  # whose windows in time the second stage learns from
            settings = replace(settings, search=replace(settings.search, ranker_windows=0))
        model, choice_figures = _choose(split, settings, read_catalogue(directory))
    else:
        model = build_configured_model(name, settings)
    model.fit(window.interactions)
    fitted = time.perf_counter()
    rows, _ = model.recommend(window.ground_truth.user_rows, max(settings.evaluation.cutoffs), window.exclude)
    recommended = time.perf_counter()
    measurement = measure_model(name, rows, window.ground_truth, settings.evaluation, settings.seed)
    return {
        **measurement.metrics,
        **measurement.catalogue,
        "auc": measure_auc(model, window, settings),
        "users": measurement.users,
        "cold_users": measurement.cold_users,
        "unknown_items": unknown[ITEM_ID].n_unique(),
        "unknown_rows": unknown.height,
        "fit_seconds": round(fitted - started, 3),
        "recommend_seconds": round(recommended - fitted, 3),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        **choice_figures,
    }


def _choose(split: Split, settings: Settings, catalogue: pl.DataFrame | None) -> tuple[Model, dict[str, Any]]:
    """Return the model that wins on the validation data, not yet fitted, and how it was chosen.

    Models are searched, blended, and ranked again by a second stage where that is better.
    """
    relevant = sample_users(split.validation, settings.evaluation.max_users, settings.seed)
    try:
        window = split_evaluation_window(split.train, relevant, settings)
    except NotEnoughDataError:
        raise NotEnoughDataError(
            "auto has no rows to choose by: no user with earlier rows has an item that counts in valid.parquet or, "
            "without it, in the rows that are held out of train.parquet"
        ) from None
    result, lists = search(window, settings, LogProgress())
    evaluation = replace(settings.evaluation, light_user_events=window.ground_truth.light_user_events)
    settings = apply_search(replace(settings, evaluation=evaluation), result)
    choice = choose_weights(lists, window, settings)
    figures = {"chosen": winner_name(choice), "weights": choice.weights, "search": asdict(result)}
    if not settings.search.ranker_windows:
        return _build(choice, settings), figures
    incumbent = merge_winner_lists(choice, lists, window, settings)
    tried = try_second_stage(lists, incumbent, window, settings, catalogue)
    figures["ranker"] = asdict(tried.trial)
    if tried.ranker is None or tried.trial.rejected is not None:
        return _build(choice, settings), figures
    ranker = build_ranker(tried.trial.members, settings, catalogue, tried.ranker.trees)
    return ranker, figures | {"chosen": Ranker.name}


def _build(choice: BlendChoice, settings: Settings) -> Model:
    if winner_name(choice) != BLEND:
        return build_configured_model(winner_name(choice), settings)
    config = blend_config(choice, settings)
    return Blend(config, {name: build_configured_model(name, settings) for name in config.members})


def read_catalogue(directory: Path) -> pl.DataFrame | None:
    """Read the optional `items.parquet` of a split; None without. Raises `SourceError` for a wrong column."""
    path = directory / "items.parquet"
    if not path.exists():
        return None
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if ITEM_ID not in frame.columns:
        raise SourceError(f"{path}: column {ITEM_ID!r} is missing; the file has {', '.join(frame.columns)}")
    expected = {CATEGORY: pl.List(pl.String()), BRAND: pl.String(), PRICE: pl.Float64()}
    for name, dtype in expected.items():
        if name in frame.columns and frame.schema[name] != dtype:
            raise SourceError(f"{path}: column {name!r} is {frame.schema[name]}; expected {dtype}")
    return frame.with_columns(pl.col(ITEM_ID).cast(pl.String))


def split_evaluation_window(
    history: pl.DataFrame, relevant_pairs: pl.DataFrame, settings: Settings
) -> EvaluationWindow:
    """Build the window of the interactions in `history` and the relevant pairs after it."""
    moment = history[TIMESTAMP].max()
    assert isinstance(moment, datetime)
    as_of = moment + timedelta(microseconds=1)
    weights, half_life = {PURCHASE: 1.0}, settings.sources.half_life_days
    pairs = interactions(history.lazy(), as_of, weights, half_life).collect()
    window_interactions = build_interactions(pairs, sequences(history.lazy(), as_of, weights).collect(), as_of)
    seen = window_interactions.owned if settings.repeat == "exclude" else None
    relevant = relevant_pairs.select(USER_ID, ITEM_ID).unique().sort(USER_ID, ITEM_ID)
    return EvaluationWindow.build(
        window_interactions, build_ground_truth(relevant, window_interactions, settings.evaluation, seen), settings
    )


def _read_pairs(path: Path) -> pl.DataFrame:
    """Read the users and items of a file of a split."""
    return _read(path).select(USER_ID, ITEM_ID)


def _read(path: Path) -> pl.DataFrame:
    """Read a file of a split, with ids as text."""
    try:
        frame = pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SourceError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if frame.is_empty():
        raise SourceError(f"{path}: it has no rows")
    for name in (USER_ID, ITEM_ID):
        if name not in frame.columns:
            raise SourceError(f"{path}: column {name!r} is missing; the file has {', '.join(frame.columns)}")
    _check_values(path, frame, (USER_ID, ITEM_ID))
    return frame.with_columns(pl.col(USER_ID, ITEM_ID).cast(pl.String))


def _read_history(path: Path, protocol: Protocol) -> pl.DataFrame:
    """Read a file of a split whose rows come before the test: ids, and the columns of their order."""
    frame = _read(path)
    if protocol == "last-basket" and BASKET not in frame.columns:
        raise SourceError(f"{path}: last-basket expects a column {BASKET!r} of whole numbers")
    if TIMESTAMP in frame.columns and not isinstance(frame.schema[TIMESTAMP], pl.Date | pl.Datetime):
        raise SourceError(f"{path}: column {TIMESTAMP!r} is {frame.schema[TIMESTAMP]}; expected a date and time")
    for name in (POSITION, BASKET):
        if name in frame.columns and not frame.schema[name].is_integer():
            raise SourceError(f"{path}: column {name!r} is {frame.schema[name]}; expected whole numbers")
    order = {TIMESTAMP: pl.Datetime("us"), POSITION: pl.Int64(), BASKET: pl.Int64()}
    order = {name: dtype for name, dtype in order.items() if name in frame.columns}
    _check_values(path, frame, list(order))
    rows = frame.select(USER_ID, ITEM_ID, *(pl.col(name).cast(dtype) for name, dtype in order.items()))
    return rows.with_columns(pl.col(TIMESTAMP).dt.replace_time_zone("UTC")) if TIMESTAMP in order else rows


def _check_values(path: Path, frame: pl.DataFrame, names: Sequence[str]) -> None:
    """Raise `SourceError` if a row lacks a value of one of the columns that exist."""
    for name in names:
        missing = frame[name].null_count()
        if missing:
            raise SourceError(f"{path}: column {name!r} lacks a value in {missing:,} of {frame.height:,} rows")


def _hold_out(train: pl.DataFrame, protocol: Protocol, settings: Settings) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split the rows into training and validation rows."""
    numbered = train.with_row_index("row")
    order = next((name for name in (TIMESTAMP, POSITION) if name in train.columns), None)
    if protocol == "last-basket":
        is_last = pl.col(BASKET) == pl.col(BASKET).max()
        has_earlier = pl.col(BASKET).min() < pl.col(BASKET).max()
        held_out = numbered.filter((is_last & has_earlier).over(USER_ID))
    elif protocol == "last-item":
        ordered = (
            numbered.sort(order, "row") if order else numbered.sample(fraction=1, shuffle=True, seed=settings.seed)
        )
        held_out = ordered.group_by(USER_ID).agg(pl.col("row").last())
        held_out = held_out.join(train.group_by(USER_ID).len().filter(pl.col("len") > 1), on=USER_ID)
    elif order == TIMESTAMP:
        first, last = train[TIMESTAMP].min(), train[TIMESTAMP].max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        window = min(timedelta(days=settings.evaluation.validation_days), (last - first) * VALIDATION_SHARE)
        held_out = numbered.filter(pl.col(TIMESTAMP) > last - window)
    else:
        held_out = numbered.sample(fraction=VALIDATION_SHARE, seed=settings.seed)
    kept = numbered.join(held_out.select("row"), on="row", how="anti", maintain_order="left")
    chosen = numbered.join(held_out.select("row"), on="row", how="semi", maintain_order="left")
    return kept.drop("row"), chosen.drop("row")


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    """Convert the rows of a split to purchase events."""
    if TIMESTAMP in rows.columns:
        timestamp = pl.col(TIMESTAMP)
    elif BASKET in rows.columns:
        # Only the order of a user's baskets counts: they are a day apart, and each user's last one is of today.
        days_before_last = pl.col(BASKET).rank("dense", descending=True).over(USER_ID) - 1
        timestamp = pl.lit(START, TIMESTAMP_DTYPE) - pl.duration(days=days_before_last)
    else:
        order = pl.col(POSITION).rank("dense") if POSITION in rows.columns else pl.int_range(pl.len())
        timestamp = pl.lit(START, TIMESTAMP_DTYPE) + pl.duration(microseconds=order)
    return rows.select(
        pl.int_range(pl.len()).cast(pl.String).alias(EVENT_ID),
        USER_ID,
        ITEM_ID,
        pl.lit(PURCHASE).alias(EVENT),
        timestamp.alias(TIMESTAMP),
    )


def _peak_memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
