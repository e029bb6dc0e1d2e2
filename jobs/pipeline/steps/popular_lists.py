"""Popular and trending lists: items ranked for all users, and under every category."""

from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.item_categories import category_paths
from jobs.pipeline.variants import Variants
from recsys.availability import may_be_listed
from recsys.data.interactions import Interactions
from recsys.files import atomic_write
from recsys.ids import UNKNOWN, IdMap
from recsys.ranking.list_limits import NO_LIMITS, ListLimits
from recsys.ranking.top_k import top_k
from recsys.schema import CATEGORY, ITEM_ID
from recsys.settings import Lists as ListSettings
from recsys.store.keys import POPULAR, TRENDING, popular_name
from recsys.store.publish.list_files import ITEMS, NAME, POPULAR_FILE


def unlisted_items(item_ids: IdMap, items: pl.DataFrame, as_of: datetime) -> NDArray[np.bool_]:
    """Return True for every item row that the catalogue keeps out of the lists of `as_of`, (items,)."""
    return item_ids.mask(items.filter(~may_be_listed(as_of))[ITEM_ID])


def write_popular_lists(
    directory: Path,
    popularity: NDArray[np.float32],
    trend: NDArray[np.float32],
    interactions: Interactions,
    items: pl.DataFrame,
    unavailable: NDArray[np.bool_],
    lists: ListSettings,
    variants: Variants | None = None,
    limits: ListLimits = NO_LIMITS,
) -> None:
    """Write the popular list, one for every category path and its prefixes, and the trending list.

    `popularity` and `trend` are scores, (items,); only items whose trend is above 0 are trending.
    """
    shown = np.where(unavailable, -np.inf, popularity).astype(np.float32)
    named = {
        POPULAR: _best(shown, interactions.items, lists.popular_items, variants, limits),
        TRENDING: trending_list(trend, interactions.items, unavailable, lists.popular_items, variants, limits),
    }
    everyone = pl.DataFrame(
        {NAME: list(named), ITEMS: list(named.values())}, schema={NAME: pl.String, ITEMS: pl.List(pl.String)}
    )
    ids = interactions.items.values if variants is None else variants.default_ids()
    scores = pl.DataFrame({ITEM_ID: ids, "score": shown}).filter(pl.col("score").is_finite())
    categories = _category_lists(scores, items, lists.popular_items)
    with atomic_write(directory / POPULAR_FILE) as partial_file:
        pl.concat([everyone, categories]).write_parquet(partial_file)


def trending_list(
    trend: NDArray[np.float32],
    items: IdMap,
    unavailable: NDArray[np.bool_],
    n: int,
    variants: Variants | None = None,
    limits: ListLimits = NO_LIMITS,
) -> list[str]:
    """Return the ids of the n available items of the highest trend; only those with a trend above 0."""
    rising = np.where(unavailable | (trend <= 0), -np.inf, trend).astype(np.float32)
    return _best(rising, items, n, variants, limits)


def _best(
    scores: NDArray[np.float32], items: IdMap, n: int, variants: Variants | None, limits: ListLimits
) -> list[str]:
    """Return the ids of the n items of the highest scores; of a group, that of its default variant."""
    rows, _ = top_k(scores[None, :], min(limits.depth(n), len(scores)))
    listed = limits.apply(rows, n)[0]
    best = listed[listed != UNKNOWN]
    return (items.ids(best) if variants is None else variants.default_ids()[best]).to_list()


def _category_lists(scores: pl.DataFrame, items: pl.DataFrame, n: int) -> pl.DataFrame:
    """Rank the n best items under every prefix of a category path; an item is listed under each of its paths."""
    depth = pl.int_ranges(1, pl.col(CATEGORY).list.len() + 1)
    prefix = pl.col(CATEGORY).list.head(pl.col("depth")).list.join(">")
    return (
        category_paths(items.lazy())
        .join(scores.lazy(), on=ITEM_ID)
        .with_columns(depth=depth)
        .explode("depth")
        .with_columns(prefix.alias(NAME))
        .unique([NAME, ITEM_ID])
        .sort("score", ITEM_ID, descending=[True, False])
        .group_by(NAME, maintain_order=True)
        .agg(pl.col(ITEM_ID).head(n).alias(ITEMS))
        .with_columns(pl.format(f"{popular_name('')}{{}}", pl.col(NAME)).alias(NAME))
        .sort(NAME)
        .collect()
    )
