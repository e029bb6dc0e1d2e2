"""Probability that a customer orders from a category in a number of days, for the categories bought most."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.models.customer_forecasts.cuts import AGE, after, before
from recsys.models.customer_forecasts.order_features import (
    GAP_MEAN,
    ORDERS,
    RECENCY,
    TENURE,
    Table,
    order_features,
    orders_in,
)
from recsys.models.customer_forecasts.survival import Values
from recsys.models.customer_forecasts.trees import Trees, TreeSettings, train_trees
from recsys.schema import CATEGORY, USER_ID

WINDOWS: Final = (28, 90)
BLOCK_PAIRS: Final = 200_000
PAST_SHARE: Final = "past_share"

_KEY: Final = [USER_ID, CATEGORY]
_USER_FEATURES: Final = (RECENCY, TENURE, ORDERS, orders_in(28), orders_in(90), GAP_MEAN, "order_items")
_RATE: Final = "category_rate"
_SHARE: Final = "category_share"


@dataclass(frozen=True)
class CategoryModel:
    """The probability of an order from each of `categories` in the days after a cut."""

    trees: Trees
    categories: tuple[str, ...]
    """In order of name."""

    def predict(self, orders: pl.DataFrame, lines: pl.DataFrame, rates: pl.DataFrame) -> Values:
        """Return the probability for each user with an order, in order of id, and category, (users, categories).

        `orders` and `lines` are those before the cut, `rates` the `category_rates` of all users.
        """
        features = order_features(orders)
        size = max(1, BLOCK_PAIRS // len(self.categories))
        blocks = [np.zeros((0, len(self.categories)))]
        for start in range(0, len(features), size):
            block = features.slice(start, size)
            pairs = pair_features(block, lines, rates)
            blocks.append(self.trees.predict(_as_table(pairs)).reshape(len(block), -1))
        return np.concatenate(blocks)


def train_categories(
    orders: pl.DataFrame,
    lines: pl.DataFrame,
    categories: tuple[str, ...],
    cuts: tuple[int, ...],
    horizon_days: float,
    settings: TreeSettings,
) -> CategoryModel | None:
    """Learn from the orders and their `lines` which categories users ordered from after the cuts.

    `lines` has a row for each order and category in it: `user_id`, `AGE` and `category`. None if nothing or
    everything was ordered.
    """
    tables: list[Table] = []
    ordered = [np.zeros(0, bool)]
    for cut in cuts:
        features, past = order_features(before(orders, cut)), before(lines, cut)
        rates = category_rates(past, len(features), categories)
        pairs = pair_features(features, past, rates)
        tables.append(_as_table(pairs))
        ordered.append(ordered_after(pairs, lines, cut, horizon_days))
    target = np.concatenate(ordered)
    if target.all() or not target.any():
        return None
    return CategoryModel(train_trees(np.concatenate(tables), target, settings), categories)


def top_categories(lines: pl.DataFrame, count: int) -> tuple[str, ...]:
    """Return the `count` categories that most users bought, in order of name."""
    users = lines.group_by(CATEGORY).agg(pl.col(USER_ID).n_unique())
    return tuple(users.sort([USER_ID, CATEGORY], descending=[True, False])[CATEGORY].head(count).sort())


def category_rates(lines: pl.DataFrame, users: int, categories: tuple[str, ...]) -> pl.DataFrame:
    """Return for each category the share of `users` users who bought it, ever and in the last 28 days."""
    recent = pl.col(USER_ID).filter(pl.col(AGE) <= WINDOWS[0])
    counts = lines.group_by(CATEGORY).agg(
        (pl.col(USER_ID).n_unique() / users).alias(_SHARE), (recent.n_unique() / users).alias(_RATE)
    )
    names = pl.DataFrame({CATEGORY: list(categories)}, schema={CATEGORY: pl.String})
    return names.join(counts, on=CATEGORY, how="left", maintain_order="left").fill_null(0.0)


def pair_features(features: pl.DataFrame, lines: pl.DataFrame, rates: pl.DataFrame) -> pl.DataFrame:
    """Compute one row per user and category, in their order, from lines before the cut and `order_features`."""
    age, count = pl.col(AGE), pl.col("category_orders")
    lines = lines.join(features.select(USER_ID), on=USER_ID, how="semi")
    pairs = lines.group_by(_KEY).agg(
        pl.len().alias("category_orders"),
        *((age <= days).sum().alias(f"category_orders_{days}d") for days in WINDOWS),
        age.min().alias("category_recency"),
        pl.when(pl.len() > 1).then((age.max() - age.min()) / (pl.len() - 1)).alias("category_gap"),
        (0.5 ** (age / WINDOWS[0])).sort().sum().alias("category_orders_decayed"),
    )
    counts = [name for name in pairs.columns if name.startswith("category_orders")]
    joined = (
        features.select(USER_ID, *_USER_FEATURES)
        .join(rates, how="cross")
        .join(pairs, on=_KEY, how="left", maintain_order="left")
        .with_columns(pl.col(counts).fill_null(0))
    )
    return joined.with_columns(
        (count / pl.col(ORDERS)).alias(PAST_SHARE),
        (pl.col("category_orders_90d") / pl.col(orders_in(90)).clip(lower_bound=1)).alias("share_90d"),
        (pl.col("category_recency") / pl.col("category_gap").clip(lower_bound=1)).alias("recency_by_gap"),
        (count / pl.col(TENURE).clip(lower_bound=WINDOWS[0])).alias("category_orders_per_day"),
    )


def ordered_after(pairs: pl.DataFrame, lines: pl.DataFrame, cut: float, days: float) -> NDArray[np.bool_]:
    """Return for each row of `pair_features` whether the user ordered from the category in the days after a cut."""
    later = after(lines, cut, days).select(_KEY).unique().with_columns(ordered=True)
    joined = pairs.select(_KEY).join(later, on=_KEY, how="left", maintain_order="left")
    return joined["ordered"].fill_null(value=False).to_numpy()


def _as_table(pairs: pl.DataFrame) -> Table:
    numbers = pairs.drop(_KEY).with_columns(pl.all().cast(pl.Float32).fill_null(float("nan")))
    return numbers.to_numpy(order="c")
