"""The categories step: what is proposed for items without a category, by the vectors of the graph model."""

from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
import structlog
from pydantic import TypeAdapter

from features.item_categories import add_proposed_categories, item_categories
from jobs.lake import Lake
from jobs.pipeline.run import Run
from jobs.pipeline.steps.features import FEATURES
from jobs.pipeline.steps.train import model_step
from jobs.pipeline.windows import known_in_run
from jobs.progress import Progress
from recsys.data.interactions import Interactions
from recsys.errors import NotEnoughDataError
from recsys.evaluation.report.contents import CategoryExample, CategorySummary, ListedItem
from recsys.files import read_json, write_json
from recsys.models.categories.levels import MIN_CONFIDENCE, Classification, Proposals, category_path, classify
from recsys.models.light_gcn import LightGcn
from recsys.schema import (
    CATEGORY,
    CATEGORY_SEPARATOR,
    ITEM_ID,
    PROPOSED_CATEGORY,
    PROPOSED_CATEGORY_CONFIDENCE,
    TITLE,
)
from recsys.settings import Settings

log = structlog.get_logger(__name__)

CATEGORIES: Final = "categories"
PROPOSALS: Final = "item_categories.parquet"
EVALUATION: Final = "evaluation.json"
EXAMPLES: Final = 10


def propose_categories(run: Run, lake: Lake, settings: Settings, progress: Progress) -> None:
    """Propose a category for the items of the run that have none, and measure that on those that have, as one step.

    Where that cannot be done the step holds no proposal, and why.
    """
    if CATEGORIES in run.manifest()["steps"]:
        return
    progress.start("propose categories of items without one")
    run.step(CATEGORIES, partial(_write, run=run, lake=lake, settings=settings))
    progress.done()


def read_item_features(run: Run) -> pl.LazyFrame:
    """The features of items with `proposed_category` and `proposed_category_confidence`, null where none is."""
    features = pl.scan_parquet(run.directory / FEATURES / "item_features.parquet")
    return add_proposed_categories(features, pl.scan_parquet(run.directory / CATEGORIES / PROPOSALS))


def read_categories(run: Run) -> CategorySummary:
    """What the step found."""
    return TypeAdapter(CategorySummary).validate_python(read_json(run.directory / CATEGORIES / EVALUATION))


def _write(directory: Path, run: Run, lake: Lake, settings: Settings) -> None:
    known = known_in_run(run.directory / FEATURES, run.as_of)
    catalogue = lake.items().select(ITEM_ID, TITLE, category_path()).collect()
    categories = _categories(known, catalogue)
    summary = _count(known, catalogue, categories)
    rows: list[tuple[int, list[str], float]] = []
    reason = _reason(run, summary, categories)
    if reason is None:
        vectors = LightGcn.load(run.directory / model_step(LightGcn.name)).item_factors
        try:
            found = classify(vectors, known.positives, categories, settings.seed)
        except NotEnoughDataError as error:
            reason = str(error)
        else:
            rows = found.unlabeled.confident()
            examples = _examples(found, known, catalogue)
            summary = replace(summary, proposed=len(rows), measured=found.measurement, examples=examples)
    if reason is not None:
        log.info("no categories are proposed", run=run.id, reason=reason)
    write_json(directory / EVALUATION, asdict(replace(summary, skipped=reason)))
    proposals = pl.DataFrame(
        {
            ITEM_ID: known.items.ids(np.array([row for row, _, _ in rows], np.int32)),
            PROPOSED_CATEGORY: pl.Series([path for _, path, _ in rows], dtype=pl.List(pl.String)),
            PROPOSED_CATEGORY_CONFIDENCE: pl.Series([confidence for _, _, confidence in rows], dtype=pl.Float64),
        }
    )
    item_categories(proposals.lazy()).collect().write_parquet(directory / PROPOSALS)


def _categories(known: Interactions, catalogue: pl.DataFrame) -> pl.Series:
    """The category of each item row, null where there is none, or the item is not in the catalogue."""
    ids = known.items.values.alias(ITEM_ID).to_frame()
    return ids.join(catalogue, on=ITEM_ID, how="left", maintain_order="left")[CATEGORY]


def _count(known: Interactions, catalogue: pl.DataFrame, categories: pl.Series) -> CategorySummary:
    """How many items have no category."""
    unseen = catalogue.filter(pl.col(CATEGORY).is_null() & ~pl.col(ITEM_ID).is_in(known.items.values.implode()))
    with_events = categories.null_count()
    return CategorySummary(with_events + unseen.height, with_events, 0, MIN_CONFIDENCE)


def _reason(run: Run, summary: CategorySummary, categories: pl.Series) -> str | None:
    """Why there is nothing to do, or nothing to do it with."""
    if summary.items_without == 0:
        return "every item has a category"
    if summary.with_events == 0:
        return "no item without a category has events"
    if summary.with_events == len(categories):
        return "no item with events has a category"
    if model_step(LightGcn.name) not in run.manifest()["steps"]:
        return (
            f"{LightGcn.name}, by whose vectors of items categories are told apart, is not among the run's models"
        )
    if find_spec("torch") is None:
        return "torch is not installed: install recsys-engine[neural]"
    return None


def _examples(found: Classification, known: Interactions, catalogue: pl.DataFrame) -> tuple[CategoryExample, ...]:
    """Proposals evenly from the surest down: for items without a category, then for held-out ones where few are."""
    without = _spread(found.unlabeled, EXAMPLES)
    chosen = [*without, *_spread(found.test, EXAMPLES - len(without))]
    ids = known.items.ids(np.array([row for row, _, _ in chosen], np.int32)).to_list()
    rows = catalogue.filter(pl.col(ITEM_ID).is_in(ids)).with_columns(pl.col(CATEGORY).list.join(CATEGORY_SEPARATOR))
    names = {item_id: (title, path) for item_id, title, path in rows.rows()}
    return tuple(
        CategoryExample(
            ListedItem(item_id, *names.get(item_id, (None, None))), CATEGORY_SEPARATOR.join(path), confidence
        )
        for item_id, (_, path, confidence) in zip(ids, chosen, strict=True)
    )


def _spread(proposals: Proposals, count: int) -> list[tuple[int, list[str], float]]:
    ordered = sorted(proposals.confident(), key=lambda found: (-found[2], found[0]))
    return ordered[:: max(1, len(ordered) // max(1, count))][:count]
