"""Items out of models and lists: no goods, such as postage and gift cards, and items in no catalogue."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import polars as pl
import structlog

from features.events import events_before, is_empty_purchase
from jobs.lake.lake import Lake, open_lake
from recsys.name_patterns import regular_expression
from recsys.schema import AVAILABLE, CATEGORIES, GROUP_ID, ITEM_ID, TITLE
from recsys.settings import Settings

log = structlog.get_logger(__name__)

MIN_CATALOGUE_SHARE: Final = 0.5
"""Share of the events that must be on items of the catalogue; with less, it is no catalogue of the shop."""


@dataclass(frozen=True)
class LeftOut:
    """What the lake holds before a moment, and models and lists leave out."""

    not_recommendable_items: int
    """Items with events that `lists.not_recommendable` names."""
    not_recommendable_events: int
    uncatalogued_items: int
    """Items with events that are in no catalogue."""
    uncatalogued_events: int
    empty_purchases: int
    """Purchases of quantity 0, those of items that are left out included."""


def open_recommendable_lake(settings: Settings, as_of: datetime) -> Lake:
    """Return the lake of an installation without the items of `lists.not_recommendable` and of no catalogue.

    Events from `as_of` on do not matter. Raises `SettingsError` as `open_lake` does.
    """
    lake = open_lake(settings)
    patterns = settings.lists.not_recommendable
    excluded = find_uncatalogued_items(lake, as_of)
    if len(excluded):
        log.info("items of no catalogue are kept out of models and lists", items=len(excluded))
    if patterns:
        items = find_items(lake, patterns)
        log.info("items are kept out of models and lists", items=len(items), patterns=list(patterns))
        excluded = pl.concat([excluded, items]).unique().sort()
    return lake.excluding_items(excluded) if len(excluded) else lake


def find_items(lake: Lake, patterns: Sequence[str]) -> pl.Series:
    """Return the ids of the items of the events and the catalogue that a pattern matches, sorted.

    A pattern is that of a file name (`*` any text, `?` one character), in upper or lower case. It matches the whole
    id, the whole title, or the whole name of a level of a category.
    """
    is_id = pl.col(ITEM_ID).str.contains(regular_expression(patterns))
    in_events = lake.events().select(ITEM_ID).unique().filter(is_id)
    in_catalogue = lake.items().filter(_is_named(patterns)).select(ITEM_ID)
    found = pl.concat([in_events, in_catalogue]).unique().sort(ITEM_ID)
    return found.collect(engine="streaming").to_series()


def mark_never_shown(items: pl.DataFrame, item_ids: pl.Series, patterns: Sequence[str]) -> pl.DataFrame:
    """Return the catalogue with the items that a pattern of `lists.never_show` matches as not available.

    Those of `item_ids` that match and are not in it are added.
    """
    if not patterns:
        return items
    is_id = pl.col(ITEM_ID).str.contains(regular_expression(patterns))
    others = item_ids.alias(ITEM_ID).to_frame().filter(is_id).join(items, on=ITEM_ID, how="anti")
    hidden = pl.when(_is_named(patterns)).then(pl.lit(value=False)).otherwise(AVAILABLE).alias(AVAILABLE)
    return pl.concat([items, others], how="diagonal").with_columns(hidden)


def find_never_shown(item_ids: pl.Series, items: pl.DataFrame, patterns: Sequence[str]) -> pl.Series:
    """Return those of some items that a pattern of `lists.never_show` matches; `items` is the catalogue."""
    if not patterns:
        return item_ids.clear()
    marked = mark_never_shown(items.with_columns(pl.lit(value=True).alias(AVAILABLE)), item_ids, patterns)
    hidden = marked.filter(~pl.col(AVAILABLE))[ITEM_ID]
    return item_ids.filter(item_ids.is_in(hidden.implode()))


def _is_named(patterns: Sequence[str]) -> pl.Expr:
    """Return whether a pattern matches the id, the title or a level of a category of an item."""
    pattern = regular_expression(patterns)
    is_id = pl.col(ITEM_ID).str.contains(pattern)
    is_title = pl.col(TITLE).str.contains(pattern).fill_null(value=False)
    is_level = pl.element().list.eval(pl.element().str.contains(pattern)).list.any()
    is_category = pl.col(CATEGORIES).list.eval(is_level).list.any().fill_null(value=False)
    return is_id | is_title | is_category


def find_uncatalogued_items(lake: Lake, as_of: datetime) -> pl.Series:
    """Return the ids of the items of the events before `as_of` that are in no catalogue, sorted.

    There are none in a shop without a catalogue: one of whose items no source was ingested, or one whose items have
    fewer than `MIN_CATALOGUE_SHARE` of the events, such as a file of the few items on sale.
    """
    nothing = pl.Series(ITEM_ID, [], pl.String)
    if not lake.last_changes("items"):
        return nothing
    before = events_before(lake.events(), as_of)
    events = before.group_by(ITEM_ID).agg(pl.len().alias("events")).collect(engine="streaming")
    missing = events.join(_catalogue_ids(lake), on=ITEM_ID, how="anti").sort(ITEM_ID)
    total, without = int(events["events"].sum()), int(missing["events"].sum())
    if total - without < MIN_CATALOGUE_SHARE * total:
        log.warning("the catalogue lacks the items of most events, and limits no list", items=missing.height)
        return nothing
    return missing[ITEM_ID]


def count_left_out(lake: Lake, as_of: datetime) -> LeftOut:
    """Count what the lake of `open_recommendable_lake` leaves out of the events before `as_of`."""
    opened = replace(lake.by_item(), excluded_items=None)
    excluded = pl.Series(ITEM_ID, [], pl.String) if lake.excluded_items is None else lake.excluded_items
    events = events_before(opened.events(), as_of)
    empty = int(events.select(is_empty_purchase().sum()).collect(engine="streaming").item())
    items = (
        events.join(excluded.to_frame(ITEM_ID).lazy(), on=ITEM_ID, how="semi")
        .group_by(ITEM_ID)
        .agg(pl.len().alias("events"))
        .collect(engine="streaming")
    )
    uncatalogued = items.join(_catalogue_ids(opened), on=ITEM_ID, how="anti")
    if not lake.last_changes("items"):
        uncatalogued = uncatalogued.clear()
    events_of_items, events_of_uncatalogued = int(items["events"].sum()), int(uncatalogued["events"].sum())
    return LeftOut(
        not_recommendable_items=items.height - uncatalogued.height,
        not_recommendable_events=events_of_items - events_of_uncatalogued,
        uncatalogued_items=uncatalogued.height,
        uncatalogued_events=events_of_uncatalogued,
        empty_purchases=empty,
    )


def _catalogue_ids(lake: Lake) -> pl.DataFrame:
    """Return the ids of the catalogue's items, and of their groups, which events may name too."""
    items = lake.by_item().items().select(ITEM_ID, GROUP_ID).collect()
    return pl.concat([items.select(ITEM_ID), items.select(pl.col(GROUP_ID).drop_nulls().alias(ITEM_ID))]).unique()
