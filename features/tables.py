"""All feature tables of a shop, one after the other, in the memory of one bucket of users."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from features.bought_with import add_order_pairs, order_pairs, rank_order_pairs
from features.interactions import interactions, sequences
from features.item_features import merge_item_partials
from features.item_partials import add_item_partials, item_partials
from features.user_profile import user_profile
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
    """Name and rows of every table: `bought_with` and `item_features` of the shop, with up to `n` items bought with
    each, then `user_profile`, `interactions` and `sequences` of each bucket, named as `user_profile/bucket=00`.

    `buckets` has the events of each bucket of users, at least one. What they say of items is collected here, bucket
    by bucket; the tables are left for the caller to collect or sink, each before it asks for the next. Profiles
    take the price of an item that has none in the catalogue from `item_features`.
    """
    pairs = _added((order_pairs(events, as_of) for events in buckets), add_order_pairs)
    yield "bought_with", rank_order_pairs(pairs, n)
    del pairs
    partials = _added(
        (item_partials(events, as_of, half_life_days, weights) for events in buckets), add_item_partials
    )
    of_items = merge_item_partials(partials, items, as_of).collect(engine="streaming").lazy()
    yield "item_features", of_items
    priced = items.drop(PRICE).join(of_items.select(ITEM_ID, PRICE), on=ITEM_ID, how="left")
    for number, events in enumerate(buckets):
        bucket = f"bucket={number:02d}"
        yield f"user_profile/{bucket}", user_profile(events, priced, users, as_of, half_life_days, weights)
        yield f"interactions/{bucket}", interactions(events, as_of, weights, half_life_days)
        yield f"sequences/{bucket}", sequences(events, as_of, weights)


def _added(parts: Iterable[pl.LazyFrame], add: Callable[[pl.LazyFrame], pl.LazyFrame]) -> pl.LazyFrame:
    """The parts collected one by one, each added to the sum of those before it."""
    collected = (part.collect(engine="streaming").lazy() for part in parts)
    total = next(collected)
    for part in collected:
        total = add(pl.concat([total, part])).collect(engine="streaming").lazy()
    return total
