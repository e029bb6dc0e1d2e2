"""Crowds of honest newcomers, simulated on the baskets of Online Retail: nobody of them is flagged."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from recsys.anomaly.attacks import MIXED, draw_attack
from recsys.anomaly.first_events import measure_first_events
from recsys.anomaly.pushed_items import find_pushed_items

USER, ITEM, DAY = "user", "item", "day"
WEEKS = pl.col(DAY).is_between(280, 294)
"""Two weeks of a crowd, two months before the end."""


@pytest.fixture(scope="module")
def shop(repository: Path) -> pl.DataFrame:
    """Read the lines of orders: number of user and item, and days since the first order."""
    file = repository.parent / "shared" / "data" / "online_retail" / "online_retail.parquet"
    if not file.is_file():
        pytest.skip(f"the Online Retail file is not at {file}")
    lines = pl.scan_parquet(file).filter(
        pl.col("CustomerID").is_not_null() & (pl.col("Quantity") > 0),
        ~pl.col("StockCode").is_in(["POST", "M", "D"]),
    )
    moment = pl.col("InvoiceDate")
    seconds = (moment - moment.min()).dt.total_seconds()
    return lines.select(
        pl.col("CustomerID").cast(pl.Int64).rank("dense").cast(pl.Int32).alias(USER) - 1,
        pl.col("StockCode").str.to_uppercase().rank("dense").cast(pl.Int32).alias(ITEM) - 1,
        (seconds / 86_400).alias(DAY),
    ).collect()


def pushing_users(lines: pl.DataFrame) -> set[int]:
    """Return the users whom the search for pushed items finds."""
    pairs = (
        lines.group_by(USER, ITEM)
        .agg(pl.len(), pl.col(DAY).min().alias("first"), pl.col(DAY).max().alias("last"))
        .sort(USER, ITEM)
    )
    days = lines.group_by(USER).agg(pl.col(DAY).floor().n_unique()).sort(USER)[DAY].to_numpy().astype(float)
    assert len(days) == int(lines[USER].n_unique()) == int(str(lines[USER].max())) + 1
    entries = (np.ones(pairs.height, np.float32), (pairs[USER].to_numpy(), pairs[ITEM].to_numpy()))
    user_items = csr_matrix(entries)
    events, first, last = (pairs[name].to_numpy().astype(float) for name in ("len", "first", "last"))
    groups = find_pushed_items(user_items, measure_first_events(user_items, events, first, last, days))
    return {user for group in groups for user in group.users.tolist()}


def first_orders(shop: pl.DataFrame) -> pl.DataFrame:
    """Select the lines of each user's first order."""
    return shop.filter(pl.col(DAY) == pl.col(DAY).min().over(USER))


def add_crowd(
    shop: pl.DataFrame, item: int, baskets: pl.DataFrame, newcomers: int, customers: float, seed: int
) -> pl.DataFrame:
    """Add newcomers with others' first `baskets` and the item, and the item to a share of the weeks' customers."""
    random = np.random.default_rng(seed)
    copied = random.permutation(baskets[USER].unique().sort().to_numpy())[:newcomers]
    first_number = int(str(shop[USER].max())) + 1
    crowd = pl.DataFrame(
        {
            USER: copied,
            "number": np.arange(first_number, first_number + len(copied)),
            "when": random.uniform(280, 294, len(copied)),
        }
    ).with_columns(pl.col(USER).cast(pl.Int32), pl.col("number").cast(pl.Int32))
    lines = baskets.join(crowd, on=USER).select(pl.col("number").alias(USER), ITEM, pl.col("when").alias(DAY))
    wanted = crowd.select(
        pl.col("number").alias(USER), pl.lit(item, pl.Int32).alias(ITEM), pl.col("when").alias(DAY)
    )
    active = shop.filter(WEEKS).group_by(USER).agg(pl.col(DAY).max()).sort(USER)
    taken = active.sample(fraction=customers, seed=seed).select(USER, pl.lit(item, pl.Int32).alias(ITEM), DAY)
    return pl.concat([shop, lines, wanted, taken])


def middling_item(shop: pl.DataFrame, seed: int) -> int:
    """Draw an item of 10 to 60 users."""
    users = shop.group_by(ITEM).agg(pl.col(USER).n_unique()).filter(pl.col(USER).is_between(10, 60))
    return int(np.random.default_rng(seed).choice(users[ITEM].sort().to_numpy()))


def test_in_a_real_shop_nobody_pushes_an_item(shop: pl.DataFrame) -> None:
    assert pushing_users(shop) == set()


@pytest.mark.parametrize(("newcomers", "customers"), [(0, 0.3), (100, 0.15), (100, 0.0)], ids=str)
def test_a_promotion_and_a_viral_item_flag_nobody(shop: pl.DataFrame, newcomers: int, customers: float) -> None:
    crowd = add_crowd(shop, middling_item(shop, 1), first_orders(shop), newcomers, customers, 1)
    assert pushing_users(crowd) == set()


def test_the_launch_of_an_item_for_new_customers_flags_nobody(shop: pl.DataFrame) -> None:
    new = int(str(shop[ITEM].max())) + 1
    assert pushing_users(add_crowd(shop, new, first_orders(shop), 80, 0.1, 2)) == set()


def test_newcomers_who_want_a_theme_in_vogue_are_not_flagged(shop: pl.DataFrame) -> None:
    item = middling_item(shop, 3)
    theme = shop.filter(pl.col(USER).is_in(shop.filter(pl.col(ITEM) == item)[USER].implode()))
    common = theme.group_by(ITEM).agg(pl.col(USER).n_unique()).sort(USER, ITEM, descending=True).head(20)[ITEM]
    baskets = first_orders(shop).filter(pl.col(ITEM).is_in(common.implode()).any().over(USER))
    assert pushing_users(add_crowd(shop, item, baskets, 80, 0.1, 3)) == set()


def test_accounts_that_copy_real_customers_days_apart_are_found(shop: pl.DataFrame) -> None:
    pairs = shop.select(USER, ITEM).unique().sort(USER, ITEM)
    user_items = csr_matrix((np.ones(pairs.height, np.float32), (pairs[USER].to_numpy(), pairs[ITEM].to_numpy())))
    last = float(str(shop[DAY].max()))
    attack = draw_attack(MIXED, user_items, 60, last, 1)
    users = user_items.shape[0]
    fake = pl.DataFrame({USER: attack.account_rows + users, ITEM: attack.item_rows, DAY: last - attack.age_days})
    found = pushing_users(pl.concat([shop, fake.cast(shop.schema)]))
    assert len({user for user in found if user >= users}) >= 0.8 * 60
    assert len({user for user in found if user < users}) <= 0.005 * users
