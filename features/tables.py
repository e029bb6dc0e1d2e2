"""Compute all feature tables, one bucket of users at a time, with two buckets in memory."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from features.bought_with import MIN_USERS, order_pairs, rank_order_pairs, sum_order_pairs
from features.event_weights import NAMES_ONLY, EventRules, weigh_events
from features.events import events_before, load_events, without_empty_purchases
from features.interactions import interactions_from_pairs, sequences_from_events
from features.item_features import merge_item_partials
from features.item_partials import item_partials_from_pairs, sum_item_partials
from features.item_sales import LAST_PRICE, last_prices, merge_last_prices
from features.pairs import user_item_pairs
from features.repurchase.purchase_gaps import gap_counts, sum_gap_counts
from features.user_profile import user_profile_from_pairs
from features.users.orders import user_orders
from features.users.segments import order_facts, user_segments
from features.users.shop_purchases import ShopPurchases, merge_purchase_sums, purchase_sums
from recsys.schema import ITEM_ID, PRICE


def feature_tables(
    buckets: Sequence[pl.LazyFrame],
    items: pl.LazyFrame,
    users: pl.LazyFrame,
    as_of: datetime,
    half_life_days: float,
    rules: EventRules = NAMES_ONLY,
    n: int = 50,
    min_users: int = MIN_USERS,
    time_zone: str = "UTC",
) -> Iterator[dict[str, pl.LazyFrame]]:
    """Yield the tables of each bucket by name, then those of all users.

    Each bucket has `user_profile`, `interactions` and `sequences`, named as in `user_profile/bucket=00`. The last
    tables are `bought_with`, with up to `n` items that at least `min_users` users bought with each item,
    `item_features`, and `user_segments`.

    `buckets` has the events of at least one bucket of users, which are read twice: first for the prices and the
    revenue of the shop. Two buckets are in memory: while the caller collects or sinks the tables of one bucket, a
    thread prepares the next. `rules` say what events weigh. Profiles take a price that is missing in the catalogue
    from the events. Hours and days are of `time_zone`.
    """
    shop = _read_shop(items, buckets, as_of)
    pairs: pl.DataFrame | None = None
    partials: pl.DataFrame | None = None
    gaps: pl.DataFrame | None = None
    facts: list[pl.DataFrame] = []
    settings = _Settings(as_of, half_life_days, rules, shop.purchases, time_zone)
    for number, bucket in enumerate(_prepare_buckets(buckets, settings)):
        pairs = _merge(pairs, bucket.order_pairs, sum_order_pairs)
        partials = _merge(partials, bucket.item_partials, sum_item_partials)
        gaps = _merge(gaps, bucket.gap_counts, sum_gap_counts)
        facts.append(bucket.order_facts)
        name = f"bucket={number:02d}"
        orders = bucket.orders.lazy()
        yield {
            f"user_profile/{name}": user_profile_from_pairs(
                bucket.pairs, bucket.events, orders, shop.items, users, as_of, time_zone
            ),
            f"interactions/{name}": bucket.interactions.lazy(),
            f"sequences/{name}": bucket.sequences.lazy(),
        }
    assert pairs is not None
    assert partials is not None
    assert gaps is not None
    yield {
        "bought_with": rank_order_pairs(pairs.lazy(), n, min_users),
        "item_features": merge_item_partials(partials.lazy(), gaps.lazy(), items, as_of),
        "user_segments": user_segments(pl.concat(facts).lazy()),
    }


@dataclass(frozen=True)
class _Shop:
    """What a first pass over all buckets finds."""

    items: pl.LazyFrame
    """The catalogue, with the latest prices of the events where it has none."""
    purchases: ShopPurchases


@dataclass(frozen=True)
class _Settings:
    """What the tables of each bucket are computed with."""

    as_of: datetime
    half_life_days: float
    rules: EventRules
    shop: ShopPurchases
    time_zone: str


@dataclass(frozen=True)
class _Bucket:
    """The in-memory data from which the tables of one bucket are computed."""

    events: pl.LazyFrame
    pairs: pl.LazyFrame
    order_pairs: pl.DataFrame
    item_partials: pl.DataFrame
    gap_counts: pl.DataFrame
    orders: pl.DataFrame
    order_facts: pl.DataFrame
    interactions: pl.DataFrame
    sequences: pl.DataFrame


def _prepare_buckets(buckets: Sequence[pl.LazyFrame], settings: _Settings) -> Iterator[_Bucket]:
    """Yield the buckets in order; each is prepared while the caller works on the previous one."""
    as_of, half_life_days, weights = settings.as_of, settings.half_life_days, settings.rules.weights

    def prepare(bucket: pl.LazyFrame) -> _Bucket:
        events = weigh_events(load_events(bucket, as_of), settings.rules)
        pairs = user_item_pairs(events, as_of, half_life_days, weights, settings.time_zone)
        pairs = pairs.collect(engine="streaming").lazy()
        together, partials, gaps, orders = pl.collect_all(
            [
                order_pairs(events),
                item_partials_from_pairs(pairs, events, as_of),
                gap_counts(pairs, events, as_of, settings.time_zone),
                user_orders(events, as_of, settings.shop),
            ],
            engine="streaming",
        )
        facts = order_facts(pairs, orders.lazy()).collect(engine="streaming")
        # The in-memory engine of Polars sorts twice as fast as the streaming engine, which sinks would use.
        sorted_tables = pl.collect_all([interactions_from_pairs(pairs), sequences_from_events(events, weights)])
        return _Bucket(events, pairs, together, partials, gaps, orders, facts, *sorted_tables)

    # Without `with`: the garbage collector may remove an iterator that is given up while another thread starts, and
    # would wait for this one forever. The thread ends when its executor is gone.
    executor = ThreadPoolExecutor(1)
    following = executor.submit(prepare, buckets[0])
    for bucket in buckets[1:]:
        prepared, following = following.result(), executor.submit(prepare, bucket)
        yield prepared
        del prepared  # frees the bucket before the one after next is loaded
    yield following.result()


def _read_shop(items: pl.LazyFrame, buckets: Sequence[pl.LazyFrame], as_of: datetime) -> _Shop:
    """Read the purchases of all users, and the latest prices of items that have none in the catalogue."""
    unpriced = items.filter(pl.col(PRICE).is_null()).select(ITEM_ID).collect()
    prices: pl.DataFrame | None = None
    sums: pl.DataFrame | None = None
    for bucket in buckets:
        events = without_empty_purchases(events_before(bucket, as_of))
        plans = [purchase_sums(events, as_of)]
        if not unpriced.is_empty():
            plans.append(last_prices(events.join(unpriced.lazy(), on=ITEM_ID, how="semi")))
        found = pl.collect_all(plans, engine="streaming")
        sums = _merge(sums, found[0], merge_purchase_sums)
        if not unpriced.is_empty():
            prices = _merge(prices, found[1], merge_last_prices)
    assert sums is not None
    purchases = ShopPurchases.from_sums(sums)
    if prices is None:
        return _Shop(items, purchases)
    filled = items.join(prices.lazy(), on=ITEM_ID, how="left")
    return _Shop(filled.with_columns(pl.coalesce(PRICE, LAST_PRICE)).collect().lazy(), purchases)


def _merge(
    total: pl.DataFrame | None, part: pl.DataFrame, merge: Callable[[pl.LazyFrame], pl.LazyFrame]
) -> pl.DataFrame:
    """Merge the result of one bucket with that of the buckets before it."""
    return part if total is None else merge(pl.concat([total, part]).lazy()).collect(engine="streaming")
