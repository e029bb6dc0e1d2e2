"""The orders of a lake, as forecasts of customers learn from them."""

from datetime import datetime

import polars as pl

from features.events import ORDER_KEY, days_since, exact_sum, load_events, purchases
from features.item_categories import category_paths
from jobs.lake.lake import Lake
from recsys.models.customer_forecasts.cuts import AGE
from recsys.models.customer_forecasts.forecasts import OrderHistory
from recsys.models.customer_forecasts.order_features import AMOUNT, ITEMS
from recsys.schema import CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, PRICE, QUANTITY, TIMESTAMP, USER_ID

_DAY = "day"


def item_categories(lake: Lake, as_of: datetime, level: int) -> pl.DataFrame:
    """Return each category path of each item, cut at `level` names and joined: `item_id`, `category`."""
    path = pl.col(CATEGORY).list.drop_nulls().list.head(level).list.join(CATEGORY_SEPARATOR)
    paths = category_paths(lake.items(at=as_of)).select(ITEM_ID, path)
    return paths.filter(pl.col(CATEGORY) != "").unique().sort(ITEM_ID, CATEGORY).collect()


def read_bucket(lake: Lake, bucket: int, as_of: datetime, categories: pl.DataFrame) -> OrderHistory:
    """Read the orders of a bucket of users before `as_of`, and the categories in each.

    An order is as in `features.user_orders`, but one that lasts over a day is an order of each day, counted back
    from `as_of`: so no order lies on both sides of a cut.
    """
    events = load_events(lake.events(bucket), as_of).with_columns(pl.col(USER_ID, ITEM_ID).cast(pl.String))
    age = days_since(pl.col(TIMESTAMP), as_of).alias(AGE)
    lines = purchases(events).with_columns(age).with_columns(pl.col(AGE).ceil().alias(_DAY))
    amount = pl.col(PRICE) * pl.col(QUANTITY).fill_null(1)
    key = [*ORDER_KEY, _DAY]
    orders = lines.group_by(key).agg(
        pl.col(AGE).max(),
        pl.when(pl.col(PRICE).count() > 0).then(exact_sum(amount).cast(pl.Float64)).alias(AMOUNT),
        pl.col(ITEM_ID).n_unique().alias(ITEMS),
    )
    parts = lines.join(categories.lazy(), on=ITEM_ID).group_by(*key, CATEGORY).agg(pl.col(AGE).max())
    order_table, line_table = pl.collect_all(
        [
            orders.select(USER_ID, AGE, AMOUNT, ITEMS).sort(USER_ID, AGE, ITEMS, AMOUNT),
            parts.select(USER_ID, AGE, CATEGORY).sort(USER_ID, AGE, CATEGORY),
        ],
        engine="streaming",
    )
    return OrderHistory(order_table, line_table, _oldest(order_table))


def read_sample(lake: Lake, as_of: datetime, categories: pl.DataFrame, max_users: int, seed: int) -> OrderHistory:
    """Read the orders of at most `max_users` users, drawn at random from each bucket alike."""
    share = max(1, max_users // lake.buckets)
    buckets = (read_bucket(lake, bucket, as_of, categories) for bucket in range(lake.buckets))
    sampled = [(bucket.days, bucket.sample(share, seed)) for bucket in buckets]
    return OrderHistory(
        pl.concat([bucket.orders for _, bucket in sampled]),
        pl.concat([bucket.lines for _, bucket in sampled]),
        max(days for days, _ in sampled),
    )


def _oldest(orders: pl.DataFrame) -> float:
    return float(orders.select(pl.col(AGE).max()).item() or 0)
