"""Describe the lake: its events by day, hour and type, how they join with the facts, and where they have holes."""

from dataclasses import dataclass
from datetime import date, time

import polars as pl

from jobs.description.holes import DaySpan, LowDay, empty_spans, low_days
from jobs.ingest.source_records import count_sources
from jobs.ingest.validation import read_quarantine
from jobs.lake.attributes import Attribute, find_attributes
from jobs.lake.lake import Lake
from recsys.data.quality import QuarantineCounts, SourceCounts
from recsys.schema import ATTRIBUTES, EVENT, EVENTS, GROUP_ID, ITEM_ID, PRICE, TIMESTAMP, USER_ID
from recsys.settings import Sources

LATEST_DAYS = 30
FREQUENT_SHARE = 0.01  # of all events, above which one id may stand for many people
MIN_FREQUENT_EVENTS = 1_000
HOURS = 24

DAY = "day"
HOUR = "hour"
AT_MIDNIGHT = "at_midnight"
WITH_PRICE = "with_price"
IN_CATALOGUE = "in_catalogue"


@dataclass(frozen=True)
class EventType:
    """The events of one type."""

    event: str
    events: int
    per_day: float
    """Mean over all days from the first to the last."""
    per_day_lately: float
    """Mean over the last `LATEST_DAYS` days, or over all if there are fewer."""
    with_price: int
    in_catalogue: int
    """Events whose item is in the catalogue."""
    at_midnight: int
    """Events at midnight, in the time zone of the sources or of a table."""


@dataclass(frozen=True)
class FrequentUser:
    """A user with more than `FREQUENT_SHARE` of the events."""

    user_id: str
    events: int
    share: float
    """0 to 1."""


@dataclass(frozen=True)
class JoinCounts:
    """The users and items of the events, and those of the tables of facts."""

    users: int
    users_in_table: int
    """Users with a row in the table of users, with events or without."""
    users_with_attributes: int
    """Users of the events with a row in the table of users."""
    items: int
    items_in_catalogue: int
    """Items of the catalogue, with events or without."""
    items_in_both: int
    items_with_price: int
    """Items of the catalogue with a price."""
    variants: int = 0
    """Items of the catalogue in a group."""
    groups: int = 0


@dataclass(frozen=True)
class LakeDescription:
    """What is in the lake. Days and hours are in `time_zone`, the one of the sources."""

    time_zone: str
    events: int
    first_day: date | None
    """None without events, as the last day."""
    last_day: date | None
    days: int
    """Days from the first to the last, both included."""
    types: tuple[EventType, ...]
    """The most frequent type first."""
    joins: JoinCounts
    events_per_hour: tuple[int, ...]
    """24 numbers."""
    empty_spans: tuple[DaySpan, ...]
    low_days: tuple[LowDay, ...]
    frequent_users: tuple[FrequentUser, ...]
    """The most frequent first."""
    sources: tuple[SourceCounts, ...]
    quarantine: QuarantineCounts
    events_per_day: tuple[tuple[date, int], ...]
    """Days in order; days without events are missing."""
    attributes: tuple[Attribute, ...] = ()
    """Attributes of the items of the catalogue, those of the most items first."""

    def total(self, column: str) -> int:
        """Return a sum over the types: of `with_price`, `in_catalogue` or `at_midnight`."""
        return sum(getattr(kind, column) for kind in self.types)


@dataclass(frozen=True)
class _Counts:
    """Counts of the events of all buckets."""

    times: pl.DataFrame
    """Columns: day, hour, event, events, with_price, at_midnight."""
    items: pl.DataFrame
    """Columns: item_id, event, events."""
    users: int
    users_with_attributes: int
    most_events: pl.DataFrame
    """Columns: user_id, events; of each bucket the users that may be frequent."""


def describe_lake(lake: Lake, sources: Sources) -> LakeDescription:
    """Describe the events and facts of a lake.

    The events are read once, one bucket of users at a time; in memory are the numbers of events of the users of a
    bucket, of each item, and of each hour.
    """
    counts = _count_events(lake, sources)
    catalogue = lake.items().select(ITEM_ID, GROUP_ID, pl.col(PRICE).is_not_null().alias(WITH_PRICE)).collect()
    known = pl.concat([catalogue[ITEM_ID], catalogue[GROUP_ID].drop_nulls().rename(ITEM_ID)])
    items = counts.items.with_columns(pl.col(ITEM_ID).is_in(known.implode()).alias(IN_CATALOGUE))
    per_day = counts.times.group_by(DAY).agg(pl.col(EVENTS).sum()).sort(DAY)
    events_per_day: tuple[tuple[date, int], ...] = tuple(per_day.rows())
    first, last = (events_per_day[0][0], events_per_day[-1][0]) if events_per_day else (None, None)
    return LakeDescription(
        time_zone=sources.time_zone,
        events=int(per_day[EVENTS].sum()),
        first_day=first,
        last_day=last,
        days=(last - first).days + 1 if first and last else 0,
        types=_event_types(counts.times, items),
        joins=_joins(lake, counts, items, catalogue),
        events_per_hour=_events_per_hour(counts.times),
        empty_spans=empty_spans(events_per_day),
        low_days=low_days(events_per_day),
        frequent_users=_frequent_users(counts.most_events, int(per_day[EVENTS].sum())),
        sources=count_sources(lake),
        quarantine=read_quarantine(lake, first, last) if first and last else QuarantineCounts(),
        events_per_day=events_per_day,
        attributes=find_attributes(lake.items().select(ATTRIBUTES).collect()[ATTRIBUTES]),
    )


def _count_events(lake: Lake, sources: Sources) -> _Counts:
    zones = {sources.time_zone, *(table.time_zone for table in sources.tables if table.time_zone)}
    with_facts = lake.users().select(USER_ID).collect()[USER_ID]
    times, items, most_events = list[pl.DataFrame](), list[pl.DataFrame](), list[pl.DataFrame]()
    users = users_with_attributes = 0
    for bucket in range(lake.buckets):
        by_time, by_item, by_user = _count_bucket(lake.events(bucket), sources.time_zone, zones)
        times = [_sum([*times, by_time], DAY, HOUR, EVENT)]
        items = [_sum([*items, by_item], ITEM_ID, EVENT)]
        users += by_user.height
        users_with_attributes += int(by_user[USER_ID].is_in(with_facts.implode()).sum())
        most_events.append(by_user.top_k(int(1 / FREQUENT_SHARE), by=EVENTS))
    return _Counts(times[0], items[0], users, users_with_attributes, pl.concat(most_events))


def _count_bucket(events: pl.LazyFrame, zone: str, zones: set[str]) -> list[pl.DataFrame]:
    """Count the events of a bucket by time and type, by item and type, and by user, in one pass."""
    midnights = [pl.col(TIMESTAMP).dt.convert_time_zone(each).dt.time() == time() for each in sorted(zones)]
    local = pl.col(TIMESTAMP).dt.convert_time_zone(zone)
    keyed = events.select(
        USER_ID,
        ITEM_ID,
        EVENT,
        local.dt.date().alias(DAY),
        local.dt.hour().alias(HOUR),
        pl.any_horizontal(midnights).alias(AT_MIDNIGHT),
        pl.col(PRICE).is_not_null().alias(WITH_PRICE),
    )
    rows = pl.len().cast(pl.Int64).alias(EVENTS)
    sums = (pl.col(name).sum().cast(pl.Int64) for name in (AT_MIDNIGHT, WITH_PRICE))
    counted = (
        keyed.group_by(DAY, HOUR, EVENT).agg(rows, *sums),
        keyed.group_by(ITEM_ID, EVENT).agg(rows),
        keyed.group_by(USER_ID).agg(rows),
    )
    return pl.collect_all(counted, engine="streaming")


def _sum(parts: list[pl.DataFrame], *keys: str) -> pl.DataFrame:
    return parts[0] if len(parts) == 1 else pl.concat(parts).group_by(keys).agg(pl.all().sum())


def _event_types(times: pl.DataFrame, items: pl.DataFrame) -> tuple[EventType, ...]:
    if times.is_empty():
        return ()
    days = times.select(days=(pl.col(DAY).max() - pl.col(DAY).min()).dt.total_days() + 1).item()
    is_late = pl.col(DAY) > pl.col(DAY).max() - pl.duration(days=LATEST_DAYS)
    joined = items.filter(IN_CATALOGUE).group_by(EVENT).agg(pl.col(EVENTS).sum().alias(IN_CATALOGUE))
    by_type = (
        times.with_columns(late=pl.when(is_late).then(EVENTS).otherwise(0))
        .group_by(EVENT)
        .agg(pl.col(EVENTS, "late", WITH_PRICE, AT_MIDNIGHT).sum())
        .join(joined, on=EVENT, how="left")
        .sort(EVENTS, EVENT, descending=[True, False])
    )
    return tuple(
        EventType(
            event=row[EVENT],
            events=row[EVENTS],
            per_day=row[EVENTS] / days,
            per_day_lately=row["late"] / min(days, LATEST_DAYS),
            with_price=row[WITH_PRICE],
            in_catalogue=row[IN_CATALOGUE] or 0,
            at_midnight=row[AT_MIDNIGHT],
        )
        for row in by_type.iter_rows(named=True)
    )


def _joins(lake: Lake, counts: _Counts, items: pl.DataFrame, catalogue: pl.DataFrame) -> JoinCounts:
    return JoinCounts(
        users=counts.users,
        users_in_table=int(lake.users().select(pl.len()).collect().item()),
        users_with_attributes=counts.users_with_attributes,
        items=items[ITEM_ID].n_unique(),
        items_in_catalogue=catalogue.height,
        items_in_both=items.filter(IN_CATALOGUE)[ITEM_ID].n_unique(),
        items_with_price=int(catalogue[WITH_PRICE].sum()),
        variants=catalogue[GROUP_ID].count(),
        groups=catalogue[GROUP_ID].drop_nulls().n_unique(),
    )


def _events_per_hour(times: pl.DataFrame) -> tuple[int, ...]:
    by_hour: dict[int, int] = dict(times.group_by(HOUR).agg(pl.col(EVENTS).sum()).rows())
    return tuple(by_hour.get(hour, 0) for hour in range(HOURS))


def _frequent_users(most_events: pl.DataFrame, total: int) -> tuple[FrequentUser, ...]:
    frequent = most_events.filter(pl.col(EVENTS) >= MIN_FREQUENT_EVENTS, pl.col(EVENTS) > FREQUENT_SHARE * total)
    ordered = frequent.sort(EVENTS, USER_ID, descending=[True, False])
    return tuple(FrequentUser(user, events, events / total) for user, events in ordered.iter_rows())
