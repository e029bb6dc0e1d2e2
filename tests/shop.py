"""A small shop whose every day is the same in every run."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 100
AS_OF = "2026-04-11"  # after these days
ITEMS = 60
UNAVAILABLE = "item7"


def write_shop_events(path: Path, first_day: int, last_day: int) -> None:
    """Purchases and views of the days from `first_day` up to, not with, `last_day`; a day's never differ."""
    days = [_shop_day(day) for day in range(first_day, last_day)]
    pl.concat(days).write_parquet(path)


def _shop_day(day: int) -> pl.DataFrame:
    generator = np.random.default_rng(day)
    users = generator.integers(80, size=60)
    taste = (users[:, None] * 7 + generator.integers(12, size=(60, 1))) % 60
    seconds = np.sort(generator.integers(86_400, size=60))
    return pl.DataFrame(
        {
            "user_id": [f"user{user}" for user in users],
            "item_id": [f"item{item}" for item in taste.ravel()],
            "event": np.where(generator.random(60) < 0.6, "purchase", "view"),
            "timestamp": [FIRST_DAY + timedelta(days=day, seconds=int(second)) for second in seconds],
            "price": generator.uniform(1, 20, 60).round(2),
            "quantity": generator.integers(1, 4, 60).astype(float),
        }
    )


def write_shop_catalogue(directory: Path) -> None:
    """Items, one of them not available, and one user's attributes."""
    rows = range(ITEMS)
    pl.DataFrame(
        {
            "item_id": [f"item{row}" for row in rows],
            "title": [f"Thing number {row}" for row in rows],
            "category": [["food" if row % 2 else "tools", f"shelf {row % 5}"] for row in rows],
            "available": [f"item{row}" != UNAVAILABLE for row in rows],
        }
    ).write_parquet(directory / "items.parquet")
    users = {"user_id": ["user1"], "attributes": ['{"club":"gold"}']}
    pl.DataFrame(users).write_parquet(directory / "users.parquet")
