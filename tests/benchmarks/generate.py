"""Generate a shop of any size: a year of sessions of users with tastes, over items with Zipf popularity.

The same numbers and seed give the same files. Every day is drawn by itself, so no more than a few days are in
memory, whatever the number of events.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.contract import Items
from recsys.schema import (
    AVAILABLE,
    BRAND,
    CART,
    CATEGORY,
    CREATED_AT,
    EVENT,
    EVENT_ID,
    ITEM_ID,
    PRICE,
    PURCHASE,
    QUANTITY,
    REFUND,
    SESSION_ID,
    TIMESTAMP,
    TIMESTAMP_DTYPE,
    TITLE,
    USER_ID,
    VIEW,
)

START: Final = datetime(2023, 1, 1, tzinfo=UTC)
DAYS: Final = 365
AS_OF: Final = START + timedelta(days=DAYS)
FILE_EVENTS: Final = 1_000_000

ITEMS_SEEN: Final = 3.0  # in a session, on average
CARTED: Final = 0.25  # of the views
BOUGHT: Final = 0.4  # of the carts
REFUNDED: Final = 0.02  # of the purchases
EVENTS_PER_ITEM: Final = 1 + CARTED * (1 + BOUGHT * (1 + REFUNDED))
TASTES: Final = (0.6, 0.85)  # a view is of the user's first taste, up to here of the second, else of any
NEW_ITEMS: Final = 0.2  # of the catalogue, created in the course of the year
MICROSECONDS_PER_DAY: Final = 86_400_000_000
# Of the day's sessions by the hour they begin in, UTC; none so late that it runs into the next day.
HOURS: Final = np.array([2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 8, 8, 9, 8, 7, 7, 8, 9, 11, 13, 13, 10, 5, 0], float)
WEEKDAYS: Final = np.array([1.0, 0.95, 0.95, 1.0, 1.1, 1.25, 1.2])


@dataclass(frozen=True)
class Size:
    """The size and seed of a shop."""

    events: int
    users: int
    items: int
    seed: int = 0

    @classmethod
    def of(cls, events: int) -> "Size":
        """Choose 50 events per user and 200 per item, with at most 100,000 items."""
        return cls(events, max(events // 50, 20), min(max(events // 200, 50), 100_000))


@dataclass(frozen=True)
class Shop:
    """The items, sorted by taste and popularity, and the users' tastes."""

    size: Size
    chance: NDArray[np.float64]  # cumulative, up to and with the item, (items,)
    taste_ends: NDArray[np.float64]  # `chance` where each taste begins, and 1, (tastes + 1,)
    taste: NDArray[np.int64]  # of the item, (items,)
    price: NDArray[np.float64]  # (items,)
    created_day: NDArray[np.int64]  # of the year, 0 for what was always there, (items,)
    elder: NDArray[np.int64]  # shown in the item's place before it is created, (items,)
    activity: NDArray[np.float64]  # cumulative chance that a session is the user's, (users,)
    likes: NDArray[np.int64]  # the two tastes of each user, (users, 2)

    @classmethod
    def of(cls, size: Size) -> "Shop":
        """Draw the shop of a size and seed."""
        random = np.random.default_rng(size.seed)
        tastes = max(size.items // 250, 5)
        taste = np.sort(random.integers(tastes, size=size.items))
        taste[:tastes] = np.arange(tastes)
        taste.sort()
        popularity = 1 / (1 + random.permutation(size.items))
        chance = np.cumsum(popularity / popularity.sum())
        first = np.searchsorted(taste, np.arange(tastes))
        created_day = np.where(random.random(size.items) < NEW_ITEMS, random.integers(DAYS, size=size.items), 0)
        created_day[first] = 0
        old = np.where(created_day == 0, np.arange(size.items), 0)
        activity = random.lognormal(sigma=1.2, size=size.users)
        return cls(
            size=size,
            chance=chance,
            taste_ends=np.append(np.append(0.0, chance)[first], 1.0),
            taste=taste,
            price=np.round(random.lognormal(3, 1, size.items) + 0.5, 2),
            created_day=created_day,
            elder=np.maximum.accumulate(old),
            activity=np.cumsum(activity / activity.sum()),
            likes=random.integers(tastes, size=(size.users, 2)),
        )

    def catalogue(self) -> pl.DataFrame:
        """Return the items, in the columns of `Items`."""
        number = pl.int_range(self.size.items, dtype=pl.Int64)
        taste = pl.col("taste")
        made = pl.lit(START) + pl.duration(days=pl.col("created_day"))
        return pl.DataFrame({"taste": self.taste, "price": self.price, "created_day": self.created_day}).select(
            item_ids(number).alias(ITEM_ID),
            pl.format("Article {}", number).alias(TITLE),
            pl.concat_list(
                pl.format("Department {}", taste % 7),
                pl.format("Aisle {}", taste % 35),
                pl.format("Shelf {}", taste),
            ).alias(CATEGORY),
            pl.format("Brand {}", number * 31 % (self.size.items // 25 + 1)).alias(BRAND),
            PRICE,
            pl.lit(None, pl.String).alias("text"),
            (number % 50 != 0).alias(AVAILABLE),
            pl.when(pl.col("created_day") > 0).then(made).cast(TIMESTAMP_DTYPE).alias(CREATED_AT),
            pl.lit(None, pl.String).alias("attributes"),
        )

    def day(self, number: int, first_event: int, events: int) -> pl.DataFrame:
        """Draw `events` events of a day of the year, in order of time; ids count from `first_event`."""
        random = np.random.default_rng((self.size.seed, number))
        sessions = int(events / (ITEMS_SEEN * EVENTS_PER_ITEM) * 1.2) + 20
        users = np.searchsorted(self.activity, random.random(sessions))
        begin = _times_of_day(random, sessions)
        session = np.repeat(np.arange(sessions), random.geometric(1 / ITEMS_SEEN, sessions))
        user = users[session]
        item = self._items(random, user, number)
        pause = random.exponential(90e6, len(session))
        viewed = begin[session] + _pause_so_far(pause, session)
        carted = random.random(len(item)) < CARTED
        bought = carted & (random.random(len(item)) < BOUGHT)
        refunded = bought & (random.random(len(item)) < REFUNDED)
        returned = random.uniform(1, 10, len(item)) * MICROSECONDS_PER_DAY
        steps = (
            (VIEW, viewed >= 0, 0),
            (CART, carted, 20e6),
            (PURCHASE, bought, 300e6),
            (REFUND, refunded, returned),
        )
        parts = [
            pl.DataFrame({"session": session, "user": user, "item": item, "time": viewed + delay})
            .filter(pl.Series(happened))
            .with_columns(pl.lit(event).alias(EVENT))
            for event, happened, delay in steps
        ]
        # Whole sessions in the order they were drawn, so that the cut to `events` leaves no hole in the day.
        rows = pl.concat(parts).sort("session", "time", maintain_order=True).head(events)
        assert rows.height == events, "the day was drawn too small"
        return self._events(rows, number, first_event)

    def _items(self, random: np.random.Generator, user: NDArray[np.int64], day: int) -> NDArray[np.int64]:
        """Draw the item of each view."""
        draw = random.random(len(user))
        liked = self.likes[user, (draw >= TASTES[0]).astype(int)]
        of_taste = draw < TASTES[1]
        low = np.where(of_taste, self.taste_ends[liked], 0)
        high = np.where(of_taste, self.taste_ends[liked + 1], 1)
        drawn = np.searchsorted(self.chance, low + random.random(len(user)) * (high - low))
        item = np.minimum(drawn, self.size.items - 1)
        return np.where(self.created_day[item] > day, self.elder[item], item)

    def _events(self, rows: pl.DataFrame, day: int, first_event: int) -> pl.DataFrame:
        start = START + timedelta(days=day)
        price = pl.Series(self.price).gather(rows["item"]).alias(PRICE)
        bought = pl.col(EVENT).is_in([PURCHASE, REFUND])
        return (
            rows.with_columns(price)
            .sort("time", "session", maintain_order=True)
            .select(
                pl.format("e{}", pl.int_range(first_event, first_event + pl.len())).alias(EVENT_ID),
                user_ids(pl.col("user")).alias(USER_ID),
                item_ids(pl.col("item")).alias(ITEM_ID),
                EVENT,
                (pl.lit(start) + pl.duration(microseconds=pl.col("time").cast(pl.Int64)))
                .cast(TIMESTAMP_DTYPE)
                .alias(TIMESTAMP),
                PRICE,
                pl.when(bought).then(1.0 + (pl.col("item") + pl.col("user")) % 5 // 4).alias(QUANTITY),
                pl.format("s{}x{}", day, pl.col("session")).alias(SESSION_ID),
            )
        )


def user_ids(number: pl.Expr) -> pl.Expr:
    """Format user ids of seven characters, for up to a million users."""
    return pl.format("u{}", number.cast(pl.String).str.zfill(6))


def item_ids(number: pl.Expr) -> pl.Expr:
    """Format item ids of seven characters."""
    return pl.format("i{}", number.cast(pl.String).str.zfill(6))


def generate_events(shop: Shop) -> Iterator[pl.DataFrame]:
    """Yield exactly `size.events` events in order of time, some days at a time."""
    per_day = _events_per_day(shop.size)
    starts = np.append(0, np.cumsum(per_day))
    pending: list[pl.DataFrame] = []
    for day in range(DAYS):
        pending.append(shop.day(day, int(starts[day]), int(per_day[day])))
        if sum(rows.height for rows in pending) >= FILE_EVENTS or day == DAYS - 1:
            yield pl.concat(pending)
            pending.clear()


def write_shop(directory: Path, size: Size) -> None:
    """Write `items.parquet` and `events-<number>.parquet`, which ingest reads without a mapping."""
    directory.mkdir(parents=True)
    shop = Shop.of(size)
    catalogue = shop.catalogue()
    assert catalogue.columns == Items.column_names()
    catalogue.write_parquet(directory / "items.parquet")
    for number, events in enumerate(generate_events(shop)):
        events.write_parquet(directory / f"events-{number:04d}.parquet")


def _events_per_day(size: Size) -> NDArray[np.int64]:
    """Return the number of events of each day: a weekly pattern with growth by a half over the year."""
    days = np.arange(DAYS)
    weekday = date.weekday(START.date())
    busy = WEEKDAYS[(days + weekday) % 7] * (1 + 0.5 * days / DAYS)
    return np.diff(np.append(0, np.round(np.cumsum(busy / busy.sum()) * size.events))).astype(np.int64)


def _times_of_day(random: np.random.Generator, sessions: int) -> NDArray[np.float64]:
    """Draw the start times of sessions, in microseconds from midnight."""
    hours = random.choice(24, size=sessions, p=HOURS / HOURS.sum())
    return (hours + random.random(sessions)) * (MICROSECONDS_PER_DAY / 24)


def _pause_so_far(pause: NDArray[np.float64], session: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the pauses in the session before each view."""
    total = np.cumsum(pause) - pause
    first = np.searchsorted(session, session)
    return total - total[first]
