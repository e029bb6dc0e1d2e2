"""All feature tables in idiomatic pandas.

Ids are categories, users with items are grouped once, no loop goes over rows. All events are in memory.
"""

# pandas annotates a column as any of a dozen types, which nothing here can satisfy.
# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportReturnType=false

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from features.bought_with import MAX_ORDER_ITEMS, MIN_USERS
from features.events import WINDOW_DAYS
from features.item_features import PRIOR_USERS
from features.users.tastes import MAX_TOP
from recsys.growth import PRIOR_EVENTS, RECENT_DAYS, USUAL_DAYS
from tests.benchmarks.feature_peers.orders_in_pandas import number_orders, user_orders, user_segments
from tests.benchmarks.feature_peers.repurchase_in_pandas import due_items, repurchase_curves
from tests.benchmarks.features_in_duckdb import NAMES

COLUMNS: Final = ["event_id", "user_id", "item_id", "event", "timestamp", "price", "quantity", "session_id"]
DAY: Final = pd.Timedelta(days=1)
REVENUES: Final = ["revenue", *(f"revenue_{days}d" for days in WINDOW_DAYS)]
SALES: Final = ["orders", "lines", "units", *REVENUES]


def write_features(
    events: list[str],
    items: Path,
    directory: Path,
    as_of: datetime,
    half_life_days: float,
    weights: Mapping[str, float],
    n: int = 50,
) -> None:
    """Write every table to `directory` as `<table>.parquet`, from Parquet files of events and the catalogue."""
    moment = pd.Timestamp(as_of)
    known = _read(events, moment, weights)
    catalogue = pd.read_parquet(items, columns=["item_id", "category", "brand", "price", "created_at"])
    catalogue["path"] = [tuple(path) if path is not None and len(path) else None for path in catalogue["category"]]
    pairs = _pairs(known, half_life_days)
    _write(_interactions(pairs), directory / "interactions.parquet")
    _write(_sequences(known), directory / "sequences.parquet")
    _write(_bought_with(known, n), directory / "bought_with.parquet")
    of_items = _item_features(pairs, known, catalogue, moment)
    _write(of_items, directory / "item_features.parquet")
    _write(due_items(pairs, of_items, moment), directory / "due_items.parquet")
    priced = catalogue.drop(columns="price").merge(of_items[["item_id", "price"]], on="item_id")
    profile = _user_profile(known, pairs, priced, moment)
    _write(profile, directory / "user_profile.parquet")
    _write(user_segments(profile), directory / "user_segments.parquet")


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_parquet(path, index=False, compression="zstd")


def _read(files: list[str], moment: pd.Timestamp, weights: Mapping[str, float]) -> pd.DataFrame:
    known = pd.read_parquet(files, columns=COLUMNS, filters=[("timestamp", "<", moment)])
    known = known[~((known["event"] == "purchase") & (known["quantity"] == 0))].reset_index(drop=True)
    for name in ("user_id", "item_id", "event"):
        known[name] = known[name].astype("category")
    known["weight"] = known["event"].map(weights).astype(float).fillna(0)
    known["age_days"] = (moment - known["timestamp"]) / DAY
    known["day"] = (known["timestamp"].dt.floor("D") - pd.Timestamp(0, tz="UTC")).dt.days
    return known


def _pairs(known: pd.DataFrame, half_life_days: float) -> pd.DataFrame:
    """Compute one row per user and item."""
    keys = ["user_id", "item_id"]
    counts = known["weight"] > 0
    long = 0.5 ** (known["age_days"] / half_life_days)
    recent, usual = (0.5 ** (known["age_days"] / days) for days in (RECENT_DAYS, USUAL_DAYS))
    columns = {
        "acts": known["event"] != "impression",
        "weighed": known["weight"] != 0,
        "events": counts,
        **{f"events_{days}d": counts & (known["age_days"] <= days) for days in WINDOW_DAYS},
        **{name: known["event"] == name for name in ("view", "cart", "purchase", "refund")},
        "confidence": known["weight"] * long,
        "recent": counts * recent,
        "usual": counts * usual,
    }
    sums = pd.concat([known[keys], pd.DataFrame(columns)], axis=1).groupby(keys, observed=True).sum()
    sums["first_any_at"] = known.groupby(keys, observed=True)["timestamp"].min()
    weighed = known[known["weight"] != 0].groupby(keys, observed=True)["timestamp"]
    sums["first_at"], sums["last_at"] = weighed.min(), weighed.max()
    days = (
        known.loc[known["event"] == "purchase", [*keys, "day"]]
        .drop_duplicates()
        .groupby(keys, observed=True)["day"]
    )
    sums["purchase_days"] = days.size()
    sums["first_day"], sums["last_day"] = days.min(), days.max()
    return sums.fillna({"purchase_days": 0}).reset_index()


def _interactions(pairs: pd.DataFrame) -> pd.DataFrame:
    rows = pairs[pairs["weighed"] > 0].sort_values(["user_id", "item_id"])
    rows = rows.assign(
        first_purchase_day=pd.to_datetime(rows["first_day"], unit="D").dt.date,
        last_purchase_day=pd.to_datetime(rows["last_day"], unit="D").dt.date,
    )
    facts = ["confidence", "weighed", "purchase_days", "first_purchase_day", "last_purchase_day"]
    return _texts(rows[["user_id", "item_id", *facts, "first_at", "last_at"]].rename(columns={"weighed": "events"}))


def _sequences(known: pd.DataFrame) -> pd.DataFrame:
    names = ["user_id", "item_id", "event", "timestamp", "weight"]
    rows = known.loc[known["weight"] != 0, [*names, "event_id"]]
    return _texts(rows.sort_values(["user_id", "timestamp", "event_id"])[names])


def _texts(rows: pd.DataFrame) -> pd.DataFrame:
    categories = rows.select_dtypes("category").columns
    return rows.astype(dict.fromkeys(categories, "str"))


def _bought_with(known: pd.DataFrame, n: int) -> pd.DataFrame:
    lines = known.loc[known["event"] == "purchase"]
    orders = lines.assign(order=number_orders(lines)).sort_values("event_id")[["order", "user_id", "item_id"]]
    orders = orders.drop_duplicates()
    orders = orders[orders.groupby("order").cumcount() < MAX_ORDER_ITEMS]
    others = orders[["order", "item_id"]].rename(columns={"item_id": "other_item_id"})
    together = orders.merge(others, on="order")[["user_id", "item_id", "other_item_id"]].drop_duplicates()
    counts = together.groupby(["item_id", "other_item_id"], observed=True).size().rename("users").reset_index()
    counts = _texts(counts[counts["users"] >= MIN_USERS])
    same = counts["item_id"] == counts["other_item_id"]
    alone = counts[same].set_index("item_id")["users"]
    result = counts[~same].copy()
    product = result["item_id"].map(alone).astype(float) * result["other_item_id"].map(alone)
    result["cosine"] = result["users"] / np.sqrt(product)
    order = ["item_id", "cosine", "users", "other_item_id"]
    result = result.sort_values(order, ascending=[True, False, False, True])
    result["rank"] = result.groupby("item_id").cumcount() + 1
    return result.loc[result["rank"] <= n, ["item_id", "rank", "other_item_id", "users", "cosine"]]


def _price_rank(priced: pd.DataFrame) -> pd.Series:
    prices = priced.groupby("path")["price"]
    return (prices.rank("average") - 0.5) / prices.transform("count")


def _item_features(
    pairs: pd.DataFrame, known: pd.DataFrame, catalogue: pd.DataFrame, moment: pd.Timestamp
) -> pd.DataFrame:
    viewed, carted, bought, refunded = (pairs[name] > 0 for name in ("view", "cart", "purchase", "refund"))
    added = {
        **{name: pairs[name] for name in ("events", *(f"events_{days}d" for days in WINDOW_DAYS))},
        "users": pairs["events"] > 0,
        **{f"users_{days}d": pairs[f"events_{days}d"] > 0 for days in WINDOW_DAYS},
        **{name: pairs[name] for name in ("recent", "usual")},
        "popularity": pairs["confidence"],
        "viewers": viewed,
        "carters": carted,
        "buyers": bought,
        "viewers_who_carted": viewed & carted,
        "carters_who_bought": carted & bought,
        "viewers_who_bought": viewed & bought,
        "buyers_who_refunded": bought & refunded,
        "gaps": (pairs["purchase_days"] - 1).clip(lower=0),
    }
    by_item = pd.DataFrame(added).groupby(pairs["item_id"], observed=True)
    table = by_item.sum()
    first = pairs.groupby("item_id", observed=True)["first_any_at"].min()
    priced = known.dropna(subset="price")
    prices = priced.groupby("item_id", observed=True)["price"]
    last = priced.loc[priced.groupby("item_id", observed=True)["timestamp"].idxmax()].set_index("item_id")["price"]
    table = table.assign(first_at=first, last_price=last, price_mean=prices.mean())
    table.index = table.index.astype("str")
    every = catalogue.set_index("item_id").join(table, how="outer")
    every[list(added)] = every[list(added)].fillna(0)
    created = every["created_at"].where(every["created_at"] < moment)
    every["age_days"] = (moment - created.fillna(every["first_at"])) / DAY
    every["price"] = every["price"].fillna(every["last_price"])
    every["price_rank"] = _price_rank(every)
    _add_trend(every)
    _add_rates(every)
    every = every.join(repurchase_curves(known, every["path"], moment)).join(_sales(known))
    every[SALES] = every[SALES].fillna(0)
    every.loc[every["priced"].fillna(0) == 0, REVENUES] = np.nan
    shown = [
        "events", "users", *(f"{name}_{days}d" for name in ("events", "users") for days in WINDOW_DAYS),
        "popularity", "growth", "growth_error", "trend", "view_to_cart", "cart_to_purchase", "view_to_purchase",
        *SALES, "price", "last_price", "price_mean", "price_rank", "age_days", "buyers", "repurchase_rate",
        "repurchase_rate_365d", "gaps", "cycle_days", "refund_rate",
    ]  # fmt: skip
    return every.sort_index()[shown].reset_index()


def _sales(known: pd.DataFrame) -> pd.DataFrame:
    """Compute orders, lines, units and revenue of each item."""
    lines = known.loc[known["event"] == "purchase"]
    units = lines["quantity"].fillna(1)
    amounts = {"revenue": lines["price"] * units}
    amounts |= {f"revenue_{days}d": amounts["revenue"].where(lines["age_days"] <= days) for days in WINDOW_DAYS}
    facts = pd.DataFrame({"lines": 1, "priced": lines["price"].notna(), "units": units, **amounts})
    by_item = lines["item_id"].astype("str")
    table = facts.groupby(by_item).sum()
    table["orders"] = number_orders(lines).groupby(by_item).nunique()
    return table


def _add_trend(every: pd.DataFrame) -> None:
    share = every["recent"].sum() / every["usual"].sum()
    newer = every["recent"] + PRIOR_EVENTS
    every["growth"] = np.log(newer / (share * every["usual"] + PRIOR_EVENTS))
    every["growth_error"] = 1 / np.sqrt(newer)
    every["trend"] = every["growth"] - every["growth_error"]


def _add_rates(every: pd.DataFrame) -> None:
    rates = {
        "view_to_cart": ("viewers_who_carted", "viewers"),
        "cart_to_purchase": ("carters_who_bought", "carters"),
        "view_to_purchase": ("viewers_who_bought", "viewers"),
        "refund_rate": ("buyers_who_refunded", "buyers"),
    }
    for name, (successes, trials) in rates.items():
        shop = every[successes].sum() / every[trials].sum()
        every[name] = (every[successes] + PRIOR_USERS * shop) / (every[trials] + PRIOR_USERS)


def _user_profile(
    known: pd.DataFrame, pairs: pd.DataFrame, priced: pd.DataFrame, moment: pd.Timestamp
) -> pd.DataFrame:
    acts = known[known["event"] != "impression"]
    table = pd.concat([_activity(acts), user_orders(acts, moment), _tastes(pairs, priced)], axis=1)
    counts = ["orders", *(f"orders_{days}d" for days in WINDOW_DAYS)]
    table[counts] = table[counts].fillna(0)
    table["attributes"] = None
    table.index = pd.Index(table.index.astype("str"), name="user_id")
    return table.sort_index().reset_index()


def _activity(acts: pd.DataFrame) -> pd.DataFrame:
    by_user = acts.groupby("user_id", observed=True)
    table = by_user.agg(
        events=("timestamp", "size"), first_at=("timestamp", "min"), last_at=("timestamp", "max"),
        sessions=("session_id", "nunique"), in_sessions=("session_id", "count"),
    )  # fmt: skip
    table["sessions"] = table["sessions"].where(table["in_sessions"] > 0)
    table["events_per_session"] = table.pop("in_sessions") / table["sessions"]
    for days in WINDOW_DAYS:
        recent = acts[acts["age_days"] <= days]
        counts = recent.groupby(["user_id", "event"], observed=True).size().unstack(fill_value=0)
        for event, plural in NAMES.items():
            table[f"{plural}_{days}d"] = counts.get(event, pd.Series(0, counts.index))
            table[f"{plural}_{days}d"] = table[f"{plural}_{days}d"].fillna(0)
    for name, values, key in (
        ("hour_shares", range(24), acts["timestamp"].dt.hour),
        ("weekday_shares", range(7), acts["timestamp"].dt.day_of_week),
    ):
        counts = acts.groupby(["user_id", key], observed=True).size().unstack(fill_value=0)
        shares = counts.reindex(columns=values, fill_value=0).div(table["events"], axis=0)
        table[name] = pd.Series(shares.to_numpy().tolist(), index=shares.index)
    table["night_share"] = (acts["timestamp"].dt.hour < 6).groupby(acts["user_id"], observed=True).mean()
    return table


def _tastes(pairs: pd.DataFrame, priced: pd.DataFrame) -> pd.DataFrame:
    facts = priced[["item_id", "brand"]].assign(rank=_price_rank(priced), shelf=pd.factorize(priced["path"])[0])
    done = pairs.loc[pairs["acts"] > 0, ["user_id", "item_id", "events", "confidence", "purchase", "purchase_days"]]
    done = done.assign(item_id=done["item_id"].astype("str")).merge(facts, on="item_id", how="left")
    by_user = done.groupby("user_id", observed=True)
    table = pd.DataFrame({"item_variety": _variety(done)})
    days = by_user["purchase_days"].sum()
    bought = (done["purchase_days"] > 0).groupby(done["user_id"], observed=True).sum()
    table["repeat_share"] = (1 - bought / days).where(days > 0)
    ranked = done[done["rank"].notna()]
    purchases = ranked.groupby("user_id", observed=True)["purchase"].sum()
    ranks = (ranked["purchase"] * ranked["rank"]).groupby(ranked["user_id"], observed=True).sum()
    table["price_rank_mean"] = (ranks / purchases).where(purchases > 0)
    shelves = done[done["shelf"] >= 0].groupby(["user_id", "shelf"], observed=True)[["confidence", "events"]].sum()
    shelves = shelves.reset_index()
    table["category_variety"] = _variety(shelves)
    paths = pd.factorize(priced["path"])[1]
    nodes = pd.DataFrame(
        [(shelf, level, path[:level]) for shelf, path in enumerate(paths) for level in range(1, len(path) + 1)],
        columns=["shelf", "level", "path"],
    )
    levels = (
        shelves.merge(nodes, on="shelf").groupby(["user_id", "level", "path"], observed=True)["confidence"].sum()
    )
    table["category_affinity"] = _tops(levels.reset_index(), ["user_id", "level"], "path", "path")
    brands = done.groupby(["user_id", "brand"], observed=True)["confidence"].sum().reset_index()
    table["brand_affinity"] = _tops(brands, ["user_id"], "brand", "name")
    return table


def _variety(counted: pd.DataFrame) -> pd.Series:
    counts = counted["events"].where(counted["events"] > 0).astype(float)
    user = counted["user_id"]
    total = counts.groupby(user, observed=True).sum()
    spread = (counts * np.log(counts)).groupby(user, observed=True).sum() / (total * np.log(total.where(total > 1)))
    return (1 - spread).clip(0, 1)


def _tops(liked: pd.DataFrame, group: list[str], key: str, name: str) -> pd.Series:
    """Return for each user a list of the best entries of each group, as dicts."""
    liked = liked[liked["confidence"] > 0]
    share = liked["confidence"] / liked.groupby(group, observed=True)["confidence"].transform("sum")
    rows = liked.assign(share=share).sort_values(
        [*group, "share", key], ascending=[True] * len(group) + [False, True]
    )
    best = rows[rows.groupby(group, observed=True).cumcount() < MAX_TOP]
    shown: list[dict[str, Any]] = [
        {name: value, "share": part} for value, part in zip(best[key], best["share"], strict=True)
    ]
    return pd.Series(shown, index=best.index).groupby(best["user_id"], observed=True).agg(list)
