"""The categories step: propose a category for items without one, from the graph model's item vectors."""

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
from jobs.pipeline.context import RunContext
from jobs.pipeline.interactions import read_interactions
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import CATEGORIES, FEATURES, model_step
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

log = structlog.get_logger(__name__)

PROPOSALS_FILE: Final = "item_categories.parquet"
EVALUATION_FILE: Final = "evaluation.json"
EXAMPLES: Final = 10


def propose_categories(context: RunContext) -> RunContext:
    """Propose a category for the run's items without one, and measure the proposals on the items that have one.

    If that is not possible, the output has no proposals, and the reason.
    """
    context.write_outputs(
        {CATEGORIES: partial(_write, context=context)}, "propose categories for items without one"
    )
    return context


def read_item_features(run: Run) -> pl.LazyFrame:
    """Read the item features with `proposed_category` and its confidence, null without a proposal."""
    features = pl.scan_parquet(run.directory / FEATURES / "item_features.parquet")
    return add_proposed_categories(features, pl.scan_parquet(run.directory / CATEGORIES / PROPOSALS_FILE))


def read_categories(run: Run) -> CategorySummary:
    """Read the number of proposed categories, their quality, and examples."""
    return TypeAdapter(CategorySummary).validate_python(read_json(run.directory / CATEGORIES / EVALUATION_FILE))


def _write(directory: Path, context: RunContext) -> None:
    run, settings = context.run, context.settings
    interactions = read_interactions(run, context.settings.sources)
    catalogue = context.lake.items().select(ITEM_ID, TITLE, category_path()).collect()
    categories = _categories(interactions, catalogue)
    summary = _count(interactions, catalogue, categories)
    rows: list[tuple[int, list[str], float]] = []
    reason = _reason_to_skip(run, summary, categories)
    if reason is None:
        vectors = LightGcn.load(run.directory / model_step(LightGcn.name)).item_factors
        try:
            classified = classify(vectors, interactions.positives, categories, settings.seed)
        except NotEnoughDataError as error:
            reason = str(error)
        else:
            rows = classified.unlabeled.confident()
            examples = _examples(classified, interactions, catalogue)
            summary = replace(summary, proposed=len(rows), measured=classified.measurement, examples=examples)
    if reason is not None:
        log.info("no categories proposed", run=run.id, reason=reason)
    write_json(directory / EVALUATION_FILE, asdict(replace(summary, skipped=reason)))
    proposals = pl.DataFrame(
        {
            ITEM_ID: interactions.items.ids(np.array([row for row, _, _ in rows], np.int32)),
            PROPOSED_CATEGORY: pl.Series([path for _, path, _ in rows], dtype=pl.List(pl.String)),
            PROPOSED_CATEGORY_CONFIDENCE: pl.Series([confidence for _, _, confidence in rows], dtype=pl.Float64),
        }
    )
    item_categories(proposals.lazy()).collect().write_parquet(directory / PROPOSALS_FILE)


def _categories(interactions: Interactions, catalogue: pl.DataFrame) -> pl.Series:
    """Return the category of each item row, null for items without one and items outside the catalogue."""
    ids = interactions.items.values.alias(ITEM_ID).to_frame()
    return ids.join(catalogue, on=ITEM_ID, how="left", maintain_order="left")[CATEGORY]


def _count(interactions: Interactions, catalogue: pl.DataFrame, categories: pl.Series) -> CategorySummary:
    """Count the items without a category."""
    unseen = catalogue.filter(
        pl.col(CATEGORY).is_null() & ~pl.col(ITEM_ID).is_in(interactions.items.values.implode())
    )
    with_events = categories.null_count()
    return CategorySummary(with_events + unseen.height, with_events, 0, MIN_CONFIDENCE)


def _reason_to_skip(run: Run, summary: CategorySummary, categories: pl.Series) -> str | None:
    """Return the reason why no category can be proposed; None if one can."""
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


def _examples(
    classified: Classification, interactions: Interactions, catalogue: pl.DataFrame
) -> tuple[CategoryExample, ...]:
    """Pick proposals evenly from the most confident down, for items without a category, then for held-out items."""
    without = _spread(classified.unlabeled, EXAMPLES)
    chosen = [*without, *_spread(classified.test, EXAMPLES - len(without))]
    ids = interactions.items.ids(np.array([row for row, _, _ in chosen], np.int32)).to_list()
    rows = catalogue.filter(pl.col(ITEM_ID).is_in(ids)).with_columns(pl.col(CATEGORY).list.join(CATEGORY_SEPARATOR))
    names = {item_id: (title, path) for item_id, title, path in rows.rows()}
    return tuple(
        CategoryExample(
            ListedItem(item_id, *names.get(item_id, (None, None))), CATEGORY_SEPARATOR.join(path), confidence
        )
        for item_id, (_, path, confidence) in zip(ids, chosen, strict=True)
    )


def _spread(proposals: Proposals, count: int) -> list[tuple[int, list[str], float]]:
    ordered = sorted(proposals.confident(), key=lambda proposal: (-proposal[2], proposal[0]))
    return ordered[:: max(1, len(ordered) // max(1, count))][:count]
