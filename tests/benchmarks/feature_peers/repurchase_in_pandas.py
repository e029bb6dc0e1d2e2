"""Repurchase curves of items and due items in pandas, for `tests.benchmarks.features_in_pandas`."""

# pyright: reportArgumentType=false, reportAssignmentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportIndexIssue=false, reportOperatorIssue=false, reportReturnType=false

from typing import Final

import numpy as np
import pandas as pd

from features.repurchase.due_items import HORIZON_DAYS, MAX_DUE_ITEMS, MIN_STILL_BUYS
from features.repurchase.due_items import PRIOR_GAPS as GAPS
from features.repurchase.purchase_gaps import GRID, PRIOR_GAPS, REPURCHASE_DAYS

WIDTHS: Final = np.diff(GRID, prepend=0)
CELLS: Final = range(len(GRID) + 1)


def repurchase_curves(known: pd.DataFrame, categories: pd.Series, moment: pd.Timestamp) -> pd.DataFrame:
    """Compute the rates and cycles of the items that index `categories`, from purchases."""
    last_whole_day = (moment.floor("D") - pd.Timestamp(0, tz="UTC")).days - 1
    keys = ["user_id", "item_id"]
    days = known.loc[known["event"] == "purchase", [*keys, "day"]].drop_duplicates().sort_values([*keys, "day"])
    following = days.groupby(keys, observed=True)["day"].shift(-1)
    days["ended"] = following.notna()
    days["gap"] = following.fillna(last_whole_day) - days["day"]
    days = days[days["gap"] > 0]
    days["cell"] = np.searchsorted(GRID, days["gap"])
    counts = days.assign(item_id=days["item_id"].astype("str")).groupby(["item_id", "ended", "cell"]).size()
    dense = counts.unstack(fill_value=0).reindex(columns=CELLS, fill_value=0)
    ended, still_open = (
        dense.xs(has_ended, level="ended").reindex(categories.index, fill_value=0) for has_ended in (True, False)
    )
    shop = _hazards(ended.sum().to_frame().T, still_open.sum().to_frame().T, 0, 0).iloc[0]
    of_category = _hazards(ended.groupby(categories).sum(), still_open.groupby(categories).sum(), shop, PRIOR_GAPS)
    prior = of_category.reindex(categories)
    prior[categories.isna().to_numpy()] = shop
    return _summary(_hazards(ended, still_open, prior.to_numpy(), PRIOR_GAPS))


def _hazards(ended: pd.DataFrame, still_open: pd.DataFrame, prior: object, strength: float) -> pd.DataFrame:
    total = ended + still_open
    later = total.loc[:, ::-1].cumsum(axis=1).loc[:, ::-1] - total
    at_risk = (later + ended).iloc[:, :-1] + still_open.iloc[:, :-1] * (WIDTHS + 1) / (2 * WIDTHS)
    return ((ended.iloc[:, :-1] + strength * prior) / (at_risk + strength)).fillna(0)


def _summary(hazards: pd.DataFrame) -> pd.DataFrame:
    bought = 1 - (1 - hazards).cumprod(axis=1)
    year = bought[len(GRID) - 1]
    half = year * 0.5 * (1 - 1e-12)
    crossing = bought.ge(half, axis=0).idxmax(axis=1).to_numpy()
    rows = np.arange(len(bought))
    reached, before = (table.to_numpy()[rows, crossing] for table in (bought, bought.shift(axis=1, fill_value=0)))
    share = (half - before) / (reached - before)
    median = np.array(GRID)[crossing] + 0.5 - (1 - share) * WIDTHS[crossing]
    return pd.DataFrame(
        {
            "repurchase_rate": bought[GRID.index(REPURCHASE_DAYS)],
            "repurchase_rate_365d": year,
            "cycle_days": median,
        }
    )


def due_items(pairs: pd.DataFrame, items: pd.DataFrame, moment: pd.Timestamp) -> pd.DataFrame:
    """Rank the due items of every user."""
    epoch = pd.Timestamp(0, tz="UTC")
    rows = pairs.loc[pairs["purchase_days"] > 0, ["user_id", "item_id", "purchase_days", "first_day", "last_day"]]
    rows = rows.assign(**{name: rows[name].astype("str") for name in ("user_id", "item_id")})
    rows = rows.merge(items.loc[items["gaps"] > 0, ["item_id", "cycle_days", "repurchase_rate_365d"]], on="item_id")
    gaps, span = rows["purchase_days"] - 1, rows["last_day"] - rows["first_day"]
    cycle = (span + GAPS * rows["cycle_days"]) / (gaps + GAPS)
    returns = (gaps + GAPS * rows["repurchase_rate_365d"]) / (gaps + GAPS)
    days = ((moment.floor("D") - epoch).days - 1 - rows["last_day"]).clip(lower=0)
    still_open = returns * np.exp(-days / cycle)
    still_buys = still_open / (still_open + 1 - returns)
    rows["probability"] = still_buys * (1 - np.exp(-HORIZON_DAYS / cycle))
    due = epoch + pd.to_timedelta(rows["last_day"] + np.floor(cycle + 0.500001), unit="D")
    rows["due_at"] = due.clip(lower=moment)
    rows = rows[still_buys >= MIN_STILL_BUYS].assign(order=rows["probability"].round(9))
    rows = rows.sort_values(["user_id", "order", "item_id"], ascending=[True, False, True])
    rows["rank"] = rows.groupby("user_id").cumcount() + 1
    return rows.loc[rows["rank"] <= MAX_DUE_ITEMS, ["user_id", "rank", "item_id", "due_at", "probability"]]
