"""Times between purchases: the textbook's answer, and no bias where open gaps bias simpler estimates."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.item_features import item_features
from features.repurchase.purchase_gaps import GRID, REPURCHASE_DAYS, YEAR_DAYS, grid_hazards
from recsys.contract import Events, Items

# Weeks of remission under 6-mercaptopurine, and those of patients still in remission (Freireich et al. 1963).
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
IN_REMISSION = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
# Kaplan-Meier estimates as in Kalbfleisch and Prentice, "The Statistical Analysis of Failure Time Data".
SURVIVAL = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690}


def test_hazards_give_the_textbooks_survival_curve():
    times = np.array(RELAPSED + IN_REMISSION)
    ended = np.arange(len(times)) < len(RELAPSED)
    columns = [np.searchsorted(GRID, times), ended.astype(int), (~ended).astype(int)]
    hazards = grid_hazards(np.zeros(len(times), int), columns, 1, np.zeros((1, len(GRID))), prior_gaps=0)
    survival = np.cumprod(1 - hazards[0])
    assert {day: survival[GRID.index(day)] for day in SURVIVAL} == pytest.approx(SURVIVAL, abs=5e-4)
    # Beyond the single days nearly: S(23) = .448.
    assert survival[GRID.index(24)] == pytest.approx(0.448, abs=0.02)


def test_open_gaps_bias_neither_the_rate_nor_the_cycle(as_of: datetime):
    """A quarter never return; the others after a gamma distributed time with a median of 75 days."""
    rng = np.random.default_rng(0)
    history, buyers = 400, 4_000
    start = rng.uniform(0, history, buyers)
    times = [start]
    while (times[-1] < history).any():
        gap = np.where(rng.random(buyers) < 0.75, np.ceil(rng.gamma(2, 45, buyers)), 10 * history)
        times.append(times[-1] + gap)
    bought = np.concatenate(times)
    users = np.tile(np.arange(buyers), len(times))[bought < history]
    rows = [
        {"user_id": f"u{user}", "item_id": "x", "event": "purchase", "event_id": f"e{number}",
         "timestamp": as_of - timedelta(days=history - time)}
        for number, (user, time) in enumerate(zip(users.tolist(), bought[bought < history].tolist(), strict=True))
    ]  # fmt: skip
    events = pl.DataFrame(rows, schema=Events.create_empty().schema)
    row = item_features(events.lazy(), Items.create_empty().lazy(), as_of, 90).collect().row(0, named=True)

    gaps = np.ceil(rng.gamma(2, 45, 200_000))
    returned = gaps[gaps <= YEAR_DAYS]
    rate, cycle = 0.75 * np.mean(gaps <= REPURCHASE_DAYS), np.median(returned)
    assert row["repurchase_rate"] == pytest.approx(rate, abs=0.015)
    assert row["repurchase_rate_365d"] == pytest.approx(0.75 * len(returned) / len(gaps), abs=0.02)
    assert row["cycle_days"] == pytest.approx(cycle, rel=0.04)

    counts = np.bincount(users)
    closed = np.diff(times, axis=0)[np.array(times)[1:] < history]
    assert np.mean(counts[counts > 0] > 1) < 0.75 * len(returned) / len(gaps) - 0.1
    assert np.median(closed) < 0.9 * cycle
