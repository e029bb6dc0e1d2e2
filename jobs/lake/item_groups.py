"""Groups of variants: items with one `group_id`, of which the models learn as of one item."""

from typing import Final

import polars as pl

from recsys.availability import is_available
from recsys.schema import (
    ATTRIBUTES,
    AVAILABLE,
    CREATED_AT,
    GROUP_ID,
    ITEM_DTYPES,
    ITEM_ID,
    PRICE,
    STOCK,
    VALID_FROM,
    VALID_UNTIL,
)

GROUP_ITEM_ID: Final = "group_item_id"
"""Column: the item that stands for all variants of its group."""
OFFER: Final = (PRICE, AVAILABLE, STOCK, VALID_FROM, VALID_UNTIL)
GROUP_FACTS: Final = tuple(
    name for name in ITEM_DTYPES if name not in (ITEM_ID, GROUP_ID, *OFFER, CREATED_AT, ATTRIBUTES)
)
"""Facts that variants of a group have in common: a variant without one takes it from the group."""
OF_GROUP: Final = "_of_group"


def fill_from_group(items: pl.LazyFrame) -> pl.LazyFrame:
    """Fill `GROUP_FACTS` that a variant lacks with the first of its group, in order of id, that is not null."""
    is_variant = pl.col(GROUP_ID).is_not_null()
    if not items.select(is_variant.any()).collect().item():
        return items
    facts = (
        items.filter(is_variant)
        .sort(ITEM_ID)
        .group_by(GROUP_ID, maintain_order=True)
        .agg(pl.col(GROUP_FACTS).drop_nulls().first().name.suffix(OF_GROUP))
    )
    filled = [pl.coalesce(name, f"{name}{OF_GROUP}").alias(name) for name in GROUP_FACTS]
    joined = items.join(facts, on=GROUP_ID, how="left", maintain_order="left")
    return joined.with_columns(filled).select(*ITEM_DTYPES)


def find_group_items(items: pl.LazyFrame) -> pl.DataFrame | None:
    """Return for each variant the item that stands for its group: the one with the smallest id.

    Columns: `item_id`, `GROUP_ITEM_ID`. A group's own id is there as an item too, since events may name it, unless
    the catalogue has an item of that id. Returns None if no item is in a group.
    """
    known = items.select(ITEM_ID, GROUP_ID).collect()
    variants = known.drop_nulls()
    if variants.is_empty():
        return None
    groups = variants.group_by(GROUP_ID).agg(pl.col(ITEM_ID).min().alias(GROUP_ITEM_ID))
    own_ids = groups.rename({GROUP_ID: ITEM_ID}).join(known, on=ITEM_ID, how="anti")
    by_item = variants.join(groups, on=GROUP_ID).select(ITEM_ID, GROUP_ITEM_ID)
    return pl.concat([by_item, own_ids]).sort(ITEM_ID)


def replace_variants(events: pl.LazyFrame, group_items: pl.DataFrame | None) -> pl.LazyFrame:
    """Replace each variant in a table with the item that stands for its group."""
    if group_items is None:
        return events
    columns = events.collect_schema().names()
    joined = events.join(group_items.lazy(), on=ITEM_ID, how="left", maintain_order="left")
    return joined.with_columns(pl.coalesce(GROUP_ITEM_ID, ITEM_ID).alias(ITEM_ID)).select(columns)


def merge_variants(items: pl.LazyFrame, group_items: pl.DataFrame | None) -> pl.LazyFrame:
    """Return a row for each group, in the columns of `ITEM_DTYPES`; items without a group stay as they are.

    A group has the facts of the item that stands for it, the lowest price of its variants, and is available if one
    of them is.
    """
    if group_items is None:
        return items
    is_variant = pl.col(GROUP_ID).is_not_null()
    groups = (
        items.filter(is_variant)
        .sort(ITEM_ID)
        .group_by(GROUP_ID, maintain_order=True)
        .agg(
            pl.col(ITEM_ID).first(),
            pl.col(*GROUP_FACTS, CREATED_AT, ATTRIBUTES).drop_nulls().first(),
            pl.col(PRICE).min(),
            is_available().any(),
            pl.lit(None, ITEM_DTYPES[STOCK]).alias(STOCK),
            pl.when(pl.col(VALID_FROM).null_count() == 0).then(pl.col(VALID_FROM).min()),
            pl.when(pl.col(VALID_UNTIL).null_count() == 0).then(pl.col(VALID_UNTIL).max()),
        )
        .select(*ITEM_DTYPES)
    )
    return pl.concat([items.filter(~is_variant).select(*ITEM_DTYPES), groups]).sort(ITEM_ID)
