"""All feature tables of a shop, one after the other, in the memory of one bucket of users."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from features.bought_with import add_order_pairs, order_pairs, rank_order_pairs
from features.events import before, in_memory
from features.interactions import interactions_of, sequences
from features.item_features import merge_item_partials
from features.item_partials import (
    LAST_PRICE,
    add_item_partials,
    add_last_prices,
    item_partials_of,
    last_prices,
)
from features.pairs import user_item_pairs
from features.user_profile import user_profile_of
from recsys.schema import DEFAULT_WEIGHTS, ITEM_ID, PRICE


def feature_tables(
    buckets: Sequence[pl.LazyFrame],
    items: pl.LazyFrame,
    users: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float] = DEFAULT_WEIGHTS,
    n: int = 50,
) -> Iterator[tuple[str, pl.LazyFrame]]:
    """Name and rows of every table: `bought_with` and `item_features` of the shop, with up to `n` items
    bought with each, last; before them `interactions`, `user_profile` and `sequences` of each bucket, named as
    `user_profile/bucket=00`.

    `buckets` has the events of each bucket of users, at least one, and one after the other is in memory. The tables
    are left for the caller to collect or sink, each before it asks for the next. Profiles take the price of an item
    that has none in the catalogue from the events.
    """
    priced = _with_last_prices(items, buckets, as_of)
    order_pairs_so_far: list[pl.LazyFrame] = []
    partials_so_far: list[pl.LazyFrame] = []
    for number, bucket in enumerate(buckets):
        events = in_memory(bucket, as_of)
        pairs = user_item_pairs(events, as_of, half_life_days, weights).collect(engine="streaming").lazy()
        _add(order_pairs_so_far, order_pairs(events, as_of), add_order_pairs)
        _add(partials_so_far, item_partials_of(pairs, events), add_item_partials)
        name = f"bucket={number:02d}"
        yield f"interactions/{name}", interactions_of(pairs)
        yield f"user_profile/{name}", user_profile_of(pairs, events, priced, users, as_of)
        del pairs
        yield f"sequences/{name}", sequences(events, as_of, weights)
    yield "bought_with", rank_order_pairs(order_pairs_so_far[0], n)
    yield "item_features", merge_item_partials(partials_so_far[0], items, as_of)


def _with_last_prices(items: pl.LazyFrame, buckets: Sequence[pl.LazyFrame], as_of: datetime) -> pl.LazyFrame:
    """The catalogue, its missing prices filled with the last ones in the events."""
    unpriced = items.filter(pl.col(PRICE).is_null()).select(ITEM_ID).collect()
    if unpriced.is_empty():
        return items
    so_far: list[pl.LazyFrame] = []
    for bucket in buckets:
        _add(
            so_far,
            last_prices(before(bucket, as_of).join(unpriced.lazy(), on=ITEM_ID, how="semi")),
            add_last_prices,
        )
    filled = items.join(so_far[0], on=ITEM_ID, how="left")
    return filled.with_columns(pl.coalesce(PRICE, LAST_PRICE)).collect().lazy()


def _add(so_far: list[pl.LazyFrame], part: pl.LazyFrame, add: Callable[[pl.LazyFrame], pl.LazyFrame]) -> None:
    """Collect what a bucket adds, and keep the one frame that it makes with those before it."""
    total = part.collect(engine="streaming").lazy()
    if so_far:
        total = add(pl.concat([so_far.pop(), total])).collect(engine="streaming").lazy()
    so_far.append(total)
