"""Features of pairs of users and items at one moment: purchases of the item and its categories, and its price."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.ids import Rows
from recsys.models._purchases.purchase_days import PurchaseDays
from recsys.models._purchases.purchase_features import (
    FEATURE_NAMES,
    NEVER_DAYS,
    PurchaseFeatures,
    Table,
    describe_purchases,
)
from recsys.models.artifacts import Array
from recsys.models.ranker.item_facts import ItemFacts

FIRST_WINDOWS: Final = (14.0, 28.0, 84.0)
"""Windows in which users who buy an item for the first time are counted, in days."""
LEVEL_NAMES: Final = (
    *("purchases", "days since last", "purchases, half-life 45 days", "purchases, half-life 240 days"),
    *("cycle", "share of buyers who repeat", "buyers", "sales in 28 days"),
    *("days since last / gap", "days since last / cycle", "share of user's purchases"),
)
"""Features of `FEATURE_NAMES` that are computed for the item's category at each level too."""
LEVEL_COLUMNS: Final = [FEATURE_NAMES.index(name) for name in LEVEL_NAMES]
ITEM_NAMES: Final = (
    *("days since first sale", "users who have bought it"),
    *(f"new buyers in {days:g} days" for days in FIRST_WINDOWS),
)
USER_NAMES: Final = ("user's items", "user's new items in 28 days", "user's share of repeats")
PRICE_NAMES: Final = ("log price", "log price - user's mean")
SHARE_NAMES: Final = ("item's share of sales", "item's share of user's purchases")


@dataclass(frozen=True)
class ShopFeatures:
    """Features of the pairs, items and users of a shop at one moment; a purchase counts once a day."""

    facts: ItemFacts
    purchases: PurchaseFeatures
    levels: tuple[PurchaseFeatures, ...]  # of categories in place of items, for each level of `facts`
    of_item: Table  # (items, ITEM_NAMES)
    of_user: Table  # (users, USER_NAMES)
    user_log_prices: NDArray[np.float32]  # (users,) mean over purchases, NaN where no price is known

    def join(self, user_rows: Rows, item_rows: Rows) -> Table:
        """Return the features of pairs (N,), in the order of `shop_feature_names`, NaN where unknown."""
        own = self.purchases.join(user_rows, item_rows)
        log_price = self.facts.log_prices[item_rows]
        parts = [own, self.of_item[item_rows], self.of_user[user_rows], log_price[:, None]]
        parts.append((log_price - self.user_log_prices[user_rows])[:, None])
        for place, level in enumerate(self.levels):
            of_level = level.join(user_rows, self.facts.codes[item_rows, place])
            parts += [of_level[:, LEVEL_COLUMNS], _shares(own, of_level)]
        return np.concatenate(parts, axis=1, dtype=np.float32)

    def arrays(self) -> dict[str, Array]:
        """Return every array by name."""
        arrays = self.facts.arrays()
        for name, features in zip(self._part_names(len(self.levels)), (self.purchases, *self.levels), strict=True):
            arrays |= {f"{name}.{key}": array for key, array in features.arrays().items()}
        own = ("of_item", "of_user", "user_log_prices")
        return arrays | {name: getattr(self, name) for name in own}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "ShopFeatures":
        """Rebuild the features from what `arrays` returned."""
        facts = ItemFacts.from_arrays(arrays)
        names = [field.name for field in fields(PurchaseFeatures)]
        purchases, *levels = (
            PurchaseFeatures(**{name: arrays[f"{part}.{name}"] for name in names})
            for part in cls._part_names(len(facts.level_names))
        )
        tables = (arrays[name] for name in ("of_item", "of_user", "user_log_prices"))
        return cls(facts, purchases, tuple(levels), *tables)

    @staticmethod
    def _part_names(levels: int) -> list[str]:
        return ["purchases", *(f"level{number}" for number in range(levels))]


def shop_feature_names(level_names: Sequence[str]) -> list[str]:
    """Return the names of the columns of `ShopFeatures.join`."""
    levels = [f"{level}: {name}" for level in level_names for name in (*LEVEL_NAMES, *SHARE_NAMES)]
    return [*FEATURE_NAMES, *ITEM_NAMES, *USER_NAMES, *PRICE_NAMES, *levels]


def describe_shop(purchases: PurchaseDays, facts: ItemFacts) -> ShopFeatures:
    """Compute the features at the moment of the purchases."""
    users, items = purchases.shape
    user_rows, item_rows = np.divmod(purchases.pairs, items)
    levels = (purchases.by_category(facts.codes[:, place], int(size)) for place, size in enumerate(facts.sizes))
    is_first = np.append(True, purchases.pairs[1:] != purchases.pairs[:-1])[: len(purchases.pairs)]
    return ShopFeatures(
        facts=facts,
        purchases=describe_purchases(purchases),
        levels=tuple(describe_purchases(level) for level in levels),
        of_item=_item_features(item_rows, purchases.ages, is_first, items),
        of_user=_user_features(user_rows, purchases.ages, is_first, users),
        user_log_prices=_mean_log_prices(user_rows, facts.log_prices[item_rows], users),
    )


def _item_features(
    item_rows: NDArray[np.int64], ages: NDArray[np.float64], is_first: NDArray[np.bool_], items: int
) -> Table:
    oldest = np.full(items, -1.0)
    np.maximum.at(oldest, item_rows, ages)
    buyers = np.bincount(item_rows[is_first], minlength=items)
    first = [np.bincount(item_rows[is_first & (ages <= days)], minlength=items) for days in FIRST_WINDOWS]
    return np.column_stack([np.where(oldest < 0, NEVER_DAYS, oldest), buyers, *first]).astype(np.float32)


def _user_features(
    user_rows: NDArray[np.int64], ages: NDArray[np.float64], is_first: NDArray[np.bool_], users: int
) -> Table:
    items = np.bincount(user_rows[is_first], minlength=users)
    new = np.bincount(user_rows[is_first & (ages <= 28)], minlength=users)
    purchases = np.maximum(np.bincount(user_rows, minlength=users), 1)
    return np.column_stack([items, new, 1 - items / purchases]).astype(np.float32)


def _mean_log_prices(user_rows: NDArray[np.int64], log_prices: NDArray[np.float32], users: int) -> Table:
    known = ~np.isnan(log_prices)
    sums = np.bincount(user_rows[known], log_prices[known], users)
    counts = np.bincount(user_rows[known], minlength=users)
    return np.divide(sums, counts, out=np.full(users, np.nan), where=counts > 0).astype(np.float32)


def _shares(own: Table, of_level: Table) -> Table:
    """Return the item's share of its category: of the sales in 84 days, and of the user's purchases, (N, 2)."""
    sales, purchases = FEATURE_NAMES.index("sales in 84 days"), FEATURE_NAMES.index("purchases")
    shares = [own[:, column] / np.maximum(of_level[:, column], 1) for column in (sales, purchases)]
    return np.column_stack(shares).astype(np.float32)
