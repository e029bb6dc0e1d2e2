"""Examples of lists for people: the latest items of some users, and the items recommended to each."""

from collections.abc import Mapping

import polars as pl

from jobs.lake.lake import Lake
from jobs.pipeline.run import Run
from jobs.pipeline.step_names import FEATURES, LISTS
from recsys.evaluation.report.contents import Example, ListedItem
from recsys.evaluation.segments import HEAVY, LIGHT, NEW, find_light_user_events
from recsys.schema import CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, TIMESTAMP, TITLE, USER_ID
from recsys.settings import Settings
from recsys.store.keys import POPULAR
from recsys.store.publish.list_files import ITEMS, NAME, POPULAR_FILE, USER_ITEMS_FILE

EXAMPLE_ITEMS = 10
POPULARITY = "popularity"
SEGMENT = "segment"

Names = Mapping[str, tuple[str | None, str | None]]
"""Item id -> title and category."""


def find_examples(run: Run, lake: Lake, settings: Settings, count: int) -> tuple[Example, ...]:
    """Pick up to `count` users with a list, half of them light users if there are enough, evenly by id."""
    sequences = pl.scan_parquet(run.directory / FEATURES / "sequences" / "*.parquet", hive_partitioning=False)
    chosen = _choose_users(run, sequences, settings, count)
    recent = (
        sequences.filter(pl.col(USER_ID).is_in(chosen[USER_ID].implode()))
        .sort(TIMESTAMP, ITEM_ID, descending=[True, False])
        .unique([USER_ID, ITEM_ID], keep="first", maintain_order=True)
        .group_by(USER_ID)
        .agg(pl.col(ITEM_ID).head(EXAMPLE_ITEMS))
        .collect()
    )
    latest = dict(recent.rows())
    names = _names(lake)
    source = run.manifest()["winner"]
    return tuple(
        Example(user, segment, source, _listed(latest.get(user, []), names), _listed(items, names))
        for user, segment, items in chosen.select(USER_ID, SEGMENT, ITEMS).rows()
    )


def find_new_example(run: Run, lake: Lake) -> Example:
    """Return the example of a user without history, who gets the popular list."""
    lists = pl.scan_parquet(run.directory / LISTS / POPULAR_FILE).filter(pl.col(NAME) == POPULAR)
    items = lists.select(ITEMS).collect().item().to_list()
    return Example("", NEW, POPULARITY, (), _listed(items, _names(lake)))


def _choose_users(run: Run, sequences: pl.LazyFrame, settings: Settings, count: int) -> pl.DataFrame:
    lists = pl.scan_parquet(run.directory / LISTS / USER_ITEMS_FILE)
    evaluation = settings.evaluation
    counts = sequences.group_by(USER_ID).len().collect()
    light_user_events = evaluation.light_user_events or find_light_user_events(
        counts["len"].to_numpy(), evaluation.light_user_share
    )
    is_light = pl.col("len") < light_user_events
    segment = pl.when(is_light).then(pl.lit(LIGHT)).otherwise(pl.lit(HEAVY)).alias(SEGMENT)
    segments = counts.lazy().select(USER_ID, segment)
    users = lists.select(USER_ID).join(segments, on=USER_ID).sort(USER_ID).collect()
    light, heavy = (users.filter(pl.col(SEGMENT) == name) for name in (LIGHT, HEAVY))
    light_count = min(light.height, max(count // 2, count - heavy.height))
    spread = pl.concat([_spread(light, light_count), _spread(heavy, count - light_count)])
    chosen = lists.filter(pl.col(USER_ID).is_in(spread[USER_ID].implode())).collect()
    return spread.join(chosen, on=USER_ID, maintain_order="left")


def _spread(users: pl.DataFrame, count: int) -> pl.DataFrame:
    """Pick `count` of the users, evenly over their order."""
    return users.gather_every(max(1, users.height // max(1, count))).head(count)


def _names(lake: Lake) -> Names:
    category = pl.col(CATEGORY).list.join(CATEGORY_SEPARATOR)
    rows = lake.by_item().items().select(ITEM_ID, TITLE, category).collect().rows()
    return {item_id: (title, path) for item_id, title, path in rows}


def _listed(item_ids: list[str], names: Names) -> tuple[ListedItem, ...]:
    unnamed = (None, None)
    return tuple(ListedItem(item_id, *names.get(item_id, unnamed)) for item_id in item_ids[:EXAMPLE_ITEMS])
