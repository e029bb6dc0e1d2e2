"""Due items on Complete Journey: the share bought within days, beside the items that the user bought most often.

`python -m tests.benchmarks due_items` measures at the start of the test window, the last four weeks.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from features.interactions import FIRST_PURCHASE_DAY, LAST_PURCHASE_DAY, interactions
from features.item_features import item_features
from features.repurchase.due_items import DUE_AT, MAX_DUE_ITEMS, due_items
from jobs.demo.complete_journey import demo_directory
from recsys.contract import Items
from recsys.schema import DEFAULT_WEIGHTS, EVENT_DTYPES, ITEM_ID, TIMESTAMP, USER_ID

TEST_START: Final = datetime(2017, 12, 4, tzinfo=UTC)
WINDOWS: Final = (7, 14, 28)
HALF_LIFE: Final = 90.0
NO_GOODS: Final = ("FUEL", "COUPON", "MISCELLANEOUS")

_DAYS: Final = "days"


def due_items_benchmark(_work: Path, as_of: datetime = TEST_START) -> Iterator[tuple[str, dict[str, float]]]:
    """Measure the shares of due and of frequent items bought within the windows, and the errors of the dates."""
    events, items = read_purchases(), read_items()
    known = events.filter(pl.col(TIMESTAMP) < as_of)
    pairs = interactions(known.lazy(), as_of, DEFAULT_WEIGHTS, HALF_LIFE).collect()
    features = item_features(known.lazy(), items.lazy(), as_of, HALF_LIFE).collect()
    listed = features.join(items, on=ITEM_ID, how="semi")
    due = due_items(pairs.lazy(), listed.lazy(), as_of).collect()
    bought = pairs.join(items, on=ITEM_ID, how="semi").sort(
        USER_ID, "purchase_days", LAST_PURCHASE_DAY, ITEM_ID, descending=[False, True, True, False]
    )
    frequent = bought.group_by(USER_ID, maintain_order=True).head(MAX_DUE_ITEMS)
    following = (
        events.filter(pl.col(TIMESTAMP) >= as_of)
        .group_by(USER_ID, ITEM_ID)
        .agg(((pl.col(TIMESTAMP).min() - as_of).dt.total_seconds() / 86_400).alias(_DAYS))
    )
    print("\n| items of each user | listed | " + " | ".join(f"bought in {days} days" for days in WINDOWS) + " |")
    print("| --- " * (2 + len(WINDOWS)) + "|")
    for name, table in (("due items", due), ("most often bought", frequent)):
        days = table.join(following, on=[USER_ID, ITEM_ID], how="left")[_DAYS].fill_null(WINDOWS[-1]).to_numpy()
        shares = {f"bought in {window} days": float(np.mean(days < window)) for window in WINDOWS}
        print(f"| {name} | {len(table):,} | " + " | ".join(f"{share:.3f}" for share in shares.values()) + " |")
        yield name, {"listed": len(table), **shares}
    yield (
        "error of dates",
        date_errors(due.join(pairs, on=[USER_ID, ITEM_ID]).join(following, on=[USER_ID, ITEM_ID]), as_of),
    )


def date_errors(bought: pl.DataFrame, as_of: datetime) -> dict[str, float]:
    """Compare `due_at` with the last purchase plus the mean gap, by the days from the purchase in the window."""
    repeated = bought.filter((pl.col("purchase_days") > 1) & (pl.col(_DAYS) < WINDOWS[-1]))
    last, first = (pl.col(name).cast(pl.Datetime("us", "UTC")) for name in (LAST_PURCHASE_DAY, FIRST_PURCHASE_DAY))
    mean_gap = (last - first) / (pl.col("purchase_days") - 1)
    dates = {
        "due_at": pl.col(DUE_AT),
        "last + mean gap": last + mean_gap,
        "last + mean gap, not before now": pl.max_horizontal(last + mean_gap, pl.lit(as_of)),
    }
    ahead = {name: (date - as_of).dt.total_seconds() / 86_400 for name, date in dates.items()}
    errors = repeated.select(**{name: (days - pl.col(_DAYS)).abs().mean() for name, days in ahead.items()})
    result = errors.row(0, named=True)
    print(f"\n| date, of {len(repeated):,} items bought again | mean error in days |\n| --- | --- |")
    for name, days in result.items():
        print(f"| {name} | {days:.1f} |")
    return {"items": len(repeated), **result}


def read_purchases() -> pl.DataFrame:
    """Return the lines with a quantity as events, in order of time."""
    lines = pl.scan_parquet(demo_directory() / "transactions.parquet").filter(pl.col("quantity") > 0)
    columns = {
        "user_id": pl.col("household_id"),
        "item_id": pl.col("product_id"),
        "event": pl.lit("purchase"),
        "timestamp": pl.col("transaction_timestamp").dt.replace_time_zone("UTC"),
        "quantity": pl.col("quantity"),
        "price": pl.col("sales_value") / pl.col("quantity"),
        "session_id": pl.col("basket_id"),
    }
    known = {name: column.cast(EVENT_DTYPES[name]) for name, column in columns.items()}
    missing = {name: pl.lit(None, dtype) for name, dtype in EVENT_DTYPES.items() if name not in columns}
    ordered = lines.select(**{**missing, **known}).sort(TIMESTAMP, USER_ID, ITEM_ID)
    return ordered.with_columns(pl.int_range(pl.len()).cast(pl.String).alias("event_id")).collect()


def read_items() -> pl.DataFrame:
    """Return the catalogue's goods with their categories."""
    goods = pl.read_parquet(demo_directory() / "products.parquet").filter(
        ~pl.col("department").fill_null("").str.contains_any(list(NO_GOODS))
    )
    path = pl.concat_list("department", "product_category", "product_type").list.drop_nulls()
    known = goods.select(pl.col("product_id").cast(pl.String).alias(ITEM_ID), path.alias("category"))
    return pl.concat([pl.DataFrame(schema=Items.create_empty().schema), known], how="diagonal")
