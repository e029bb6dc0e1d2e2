"""Items that are no goods, such as postage, manual corrections and gift cards: out of models and lists."""

from collections.abc import Sequence

import polars as pl
import structlog

from jobs.lake.lake import Lake, open_lake
from recsys.name_patterns import regular_expression
from recsys.schema import CATEGORIES, ITEM_ID, TITLE
from recsys.settings import Settings

log = structlog.get_logger(__name__)


def open_recommendable_lake(settings: Settings) -> Lake:
    """Return the lake of an installation without the items that `lists.not_recommendable` names.

    Raises `SettingsError` as `open_lake` does.
    """
    lake = open_lake(settings)
    patterns = settings.lists.not_recommendable
    if not patterns:
        return lake
    items = find_items(lake, patterns)
    log.info("items are kept out of models and lists", items=len(items), patterns=list(patterns))
    return lake.excluding_items(items)


def find_items(lake: Lake, patterns: Sequence[str]) -> pl.Series:
    """Return the ids of the items of the events and the catalogue that a pattern matches, sorted.

    A pattern is that of a file name (`*` any text, `?` one character), in upper or lower case. It matches the whole
    id, the whole title, or the whole name of a level of a category.
    """
    pattern = regular_expression(patterns)
    is_id = pl.col(ITEM_ID).str.contains(pattern)
    is_title = pl.col(TITLE).str.contains(pattern).fill_null(value=False)
    is_level = pl.element().list.eval(pl.element().str.contains(pattern)).list.any()
    is_category = pl.col(CATEGORIES).list.eval(is_level).list.any().fill_null(value=False)
    in_events = lake.events().select(ITEM_ID).unique().filter(is_id)
    in_catalogue = lake.items().filter(is_id | is_title | is_category).select(ITEM_ID)
    found = pl.concat([in_events, in_catalogue]).unique().sort(ITEM_ID)
    return found.collect(engine="streaming").to_series()
