"""Orders and segments of users in pandas, for `tests.benchmarks.features_in_pandas`."""

# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportReturnType=false

from typing import Final

import numpy as np
import pandas as pd

from features.events import WINDOW_DAYS
from features.users.orders import PRIOR_ORDERS
from features.users.segments import LAPSED_SHARE, LATE_SHARE, LOYAL_SCORE, PRIOR_GAPS, SCORES
from features.users.shop_purchases import RECENT_SPEND_DAYS, USUAL_SPEND_DAYS

DAY: Final = pd.Timedelta(days=1)
HALF_LIVES: Final = {"recent": RECENT_SPEND_DAYS, "usual": USUAL_SPEND_DAYS}


def number_orders(lines: pd.DataFrame) -> pd.Series:
    """Number the orders; each purchase gets the number of its order."""
    time = lines["timestamp"].where(lines["session_id"].isna())
    keys = [lines["user_id"], lines["session_id"], time]
    return pd.DataFrame(dict(enumerate(keys))).groupby([0, 1, 2], observed=True, dropna=False, sort=False).ngroup()


def user_orders(acts: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Compute a row for each user with a purchase."""
    lines = acts[acts["event"] == "purchase"]
    lines = lines.assign(order=number_orders(lines), units=lines["quantity"].fillna(1))
    lines["amount"] = lines["price"] * lines["units"]
    by_order = lines.groupby("order")
    orders = by_order.agg(user_id=("user_id", "first"), at=("timestamp", "min"), items=("item_id", "nunique"))
    orders["amount"] = by_order["amount"].sum(min_count=1)
    orders = orders.sort_values(["user_id", "at"])
    orders["age_days"] = (moment - orders["at"]) / DAY
    orders["gap"] = orders.groupby("user_id", observed=True)["at"].diff() / DAY
    for name, half_life in HALF_LIVES.items():
        orders[name] = orders["amount"] * 0.5 ** (orders["age_days"] / half_life)
    for days in WINDOW_DAYS:
        orders[f"orders_{days}d"] = orders["age_days"] <= days
    by_user = orders.groupby("user_id", observed=True)
    table = by_user.agg(
        orders=("at", "size"), **{f"orders_{days}d": (f"orders_{days}d", "sum") for days in WINDOW_DAYS},
        first_order_at=("at", "min"), last_order_at=("at", "max"), tenure_days=("age_days", "max"),
        recency_days=("age_days", "min"), items=("items", "sum"), priced=("amount", "count"),
        order_gap_days_mean=("gap", "mean"), order_gap_days_deviation=("gap", "std"), recent=("recent", "sum"),
        usual=("usual", "sum"),
    )  # fmt: skip
    table["last_gap_days"] = by_user["gap"].nth(-1).set_axis(by_user["user_id"].nth(-1))
    table["spent"] = by_user["amount"].sum(min_count=1)
    table["order_value_mean"] = table["spent"] / table.pop("priced").where(table["spent"].notna())
    table["order_items_mean"] = table.pop("items") / table["orders"]
    shop = [(lines["amount"] * 0.5 ** (lines["age_days"] / days)).sum() for days in HALF_LIVES.values()]
    recent, usual = (table.pop(name) / table["order_value_mean"] + 0 for name in HALF_LIVES)
    has_spent = table["spent"] > 0
    growth = np.log((recent + PRIOR_ORDERS) / (usual * shop[0] / shop[1] + PRIOR_ORDERS))
    table["spend_growth"] = growth.where(has_spent)
    table["spend_growth_error"] = (1 / np.sqrt(recent + PRIOR_ORDERS)).where(has_spent)
    units = lines.groupby("user_id", observed=True)["units"].sum()
    table["return_rate"] = (0.0 * units).where(units > 0)
    table["price_median"] = lines.groupby("user_id", observed=True)["price"].median()
    priced = lines[lines["price"].notna()]
    means = priced.groupby("item_id", observed=True)["price"].mean()
    expected = priced["item_id"].map(means[means > 0]).astype(float)
    known = pd.DataFrame({"paid": priced["price"].where(expected.notna()), "expected": expected})
    deals = known.groupby(priced["user_id"], observed=True).sum(min_count=1)
    table["deal_affinity"] = 1 - deals["paid"] / deals["expected"]
    return table


def user_segments(profile: pd.DataFrame) -> pd.DataFrame:
    """Compute the segments of the users of the profile."""
    table = profile[["user_id"]].copy()
    gaps, own = profile["orders"] - 1, profile["order_gap_days_mean"]
    is_customer = profile["orders"] > 0
    values = {
        "recency_score": -profile["recency_days"],
        "frequency_score": profile["orders"].where(is_customer),
        "monetary_score": profile["spent"],
    }
    for name, value in values.items():
        table[name] = 1 + (value.rank(method="min") - 1) * SCORES // value.count()
    usual = ((gaps * own + PRIOR_GAPS * own.mean()) / (gaps + PRIOR_GAPS)).fillna(own.mean()).where(is_customer)
    table["usual_gap_days"] = usual
    table["wait"] = (profile["recency_days"] / usual).where(usual > 0)
    came_back = (profile["last_gap_days"] / usual).where(usual > 0).dropna()
    late, lapsed = (came_back.quantile(share, interpolation="higher") for share in (LATE_SHARE, LAPSED_SHARE))
    conditions = {
        "prospect": ~is_customer,
        "lapsed": table["wait"] > lapsed,
        "at_risk": table["wait"] > late,
        "new": profile["orders"] == 1,
        "loyal": table["frequency_score"] >= LOYAL_SCORE,
    }
    table["lifecycle_stage"] = np.select(list(conditions.values()), list(conditions), "active")
    return table
