"""One day of the lake's events replayed in the order of time: who would have been flagged online, when and why."""

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from jobs.lake import Lake
from recsys.anomaly.acts import Act
from recsys.anomaly.circuit_breaker import breaker_allows_flag, has_priced_purchases
from recsys.anomaly.networks import is_within, parse_networks
from recsys.anomaly.scoring import (
    HIGH_TRAFFIC_EVENTS,
    RECENT_ACTS,
    UserSignals,
    Verdict,
    has_high_rate,
    has_suspicious_timing,
    score_user,
    select_order_events,
)
from recsys.anomaly.windows import NO_COUNTS, WINDOWS_MS, Counts, sliding_count
from recsys.data.splits import in_window
from recsys.schema import EVENT, EVENT_ID, IP, ITEM_ID, PRICE, SESSION_ID, TIMESTAMP, USER_AGENT, USER_ID
from recsys.settings import Settings

HOUR = 2
COLUMNS = (USER_ID, ITEM_ID, EVENT, TIMESTAMP, EVENT_ID, PRICE, SESSION_ID, IP, USER_AGENT)


@dataclass(frozen=True)
class BacktestFlag:
    """A flag that would have been raised; held back where the breaker would have stopped it."""

    user_id: str
    at: datetime
    score: float
    reasons: tuple[str, ...]
    held_back: bool


@dataclass(frozen=True)
class Backtest:
    """The flags of a day, in their order, of how many users and events."""

    day: date
    users: int
    events: int
    flags: tuple[BacktestFlag, ...]

    @property
    def share(self) -> float:
        """Of the day's users, those flagged."""
        return sum(not flag.held_back for flag in self.flags) / self.users if self.users else 0.0


@dataclass
class _Counters:
    """Events in the current bucket of each window and the one before, by what they are of."""

    buckets: list[int] = field(default_factory=lambda: [0] * len(WINDOWS_MS))
    current: list[dict[str, int]] = field(default_factory=lambda: [defaultdict(int) for _ in WINDOWS_MS])
    previous: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in WINDOWS_MS])

    def add(self, names: Iterable[str | None], at_ms: int) -> None:
        """Count an event; times never fall."""
        self.turn(at_ms)
        for name in names:
            if name is not None:
                for counts in self.current:
                    counts[name] += 1

    def turn(self, at_ms: int) -> None:
        """Begin new buckets where it is time."""
        for window, window_ms in enumerate(WINDOWS_MS):
            bucket = at_ms // window_ms
            if bucket != self.buckets[window]:
                follows = bucket == self.buckets[window] + 1
                self.previous[window] = self.current[window] if follows else {}
                self.current[window] = defaultdict(int)
                self.buckets[window] = bucket

    def now(self, name: str) -> list[int]:
        """Events in the current buckets."""
        return [counts.get(name, 0) for counts in self.current]

    def sliding(self, name: str | None, at_ms: int) -> Counts:
        """Events in the windows that end now."""
        if name is None:
            return NO_COUNTS
        found = [
            sliding_count(self.current[window].get(name, 0), self.previous[window].get(name, 0), at_ms, window_ms)
            for window, window_ms in enumerate(WINDOWS_MS)
        ]
        return found[0], found[1], found[2]


class _Replay:
    """What the server would have known, in memory."""

    def __init__(self, settings: Settings, allowed: frozenset[str]) -> None:
        self._weights = settings.sources.event_weights
        self._orders = select_order_events(self._weights)
        self._anomalies = settings.anomalies
        self._allowed = allowed
        self._networks = parse_networks(settings.anomalies.allowed_networks)
        self._session_events = settings.serving.session_events
        self._acts: dict[str, deque[Act]] = defaultdict(lambda: deque(maxlen=self._session_events))
        self._counters = _Counters()
        self._moment = ("", 0)
        self._judged: set[tuple[str, bool]] = set()
        """At that moment of that user: by which events of orders, and whether they had no price."""
        self._items: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._users: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._free_from: dict[str, datetime] = {}
        self._active: set[str] = set()
        self._flagged = 0
        self._purchases = self._priced = 0

    def take(
        self, user: str, item: str, event: str, at: datetime, *more: str | float | None
    ) -> BacktestFlag | None:
        """Take an event in; the flag that it raises."""
        _, price, session, ip, agent = more
        if not self._weights.get(event):
            return None
        at_ms = round(at.timestamp() * 1e6) // 1000
        is_line = self._remember(user, Act(at_ms, item, event))
        if user in self._allowed or at < self._free_from.get(user, at):
            return None
        self._active.add(user)
        address = None if ip is None or is_within(str(ip), self._networks) else f"address\0{ip}"
        device = None if address is None else f"device\0{ip}\0{agent or ''}"
        names = [f"user\0{user}", None if session is None else f"session\0{session}", address, device]
        self._counters.turn(at_ms)
        ordered = event in self._orders
        unpriced = ordered and self._weights[event] > 0 and price is None
        if ordered and self._weights[event] > 0:
            self._purchases, self._priced = self._purchases + 1, self._priced + (price is not None)
        if not ordered:
            self._counters.add(names, at_ms)
            self._spread(user, item, address, device, at_ms)
        if is_line and (event, unpriced) in self._judged:
            return None
        glanced = [float(act.at_ms) for act in sorted(self._acts[user], reverse=True)[:RECENT_ACTS]]
        seen_now = not ordered and has_high_rate(self._counters.now(names[0] or ""))
        if not (seen_now or has_suspicious_timing(glanced)):
            return None
        if ordered:
            self._judged.add((event, unpriced))
        verdict = score_user(self._seen(user, names, at_ms, unpriced), self._orders)
        return self._raised(user, at, verdict) if verdict.score >= self._anomalies.flag_threshold else None

    def _remember(self, user: str, act: Act) -> bool:
        """Add to a user's acts; whether it can only be one more line of an order at its moment, which tells nothing
        new: a big order has hundreds, and is scored once.
        """
        if self._moment != (user, act.at_ms):
            self._moment, self._judged = (user, act.at_ms), set()
        acts = self._acts[user]
        oldest = acts[0] if len(acts) == acts.maxlen else None
        ordered = act.event in self._orders
        comes_again = ordered and any((act.item_id, act.event) == other[1:] for other in acts)
        acts.append(act)
        # What is forgotten for it may be a line too, of an order that others are left of.
        forgets = oldest is not None and (
            oldest.event not in self._orders or (oldest.at_ms, oldest.event) != (acts[0].at_ms, acts[0].event)
        )
        return ordered and not comes_again and not forgets

    def _spread(self, user: str, item: str, address: str | None, device: str | None, at_ms: int) -> None:
        hour = at_ms // WINDOWS_MS[HOUR]
        if address is not None and self._counters.now(address)[HOUR] >= HIGH_TRAFFIC_EVENTS:
            self._items[address, hour].add(item)
        if device is not None and self._counters.now(device)[HOUR] >= HIGH_TRAFFIC_EVENTS:
            self._users[device, hour].add(user)

    def _seen(self, user: str, names: list[str | None], at_ms: int, unpriced: bool) -> UserSignals:
        hour = at_ms // WINDOWS_MS[HOUR]
        own, session, address, device = (self._counters.sliding(name, at_ms) for name in names)
        return UserSignals(
            at_ms,
            list(self._acts[user]),
            own,
            session,
            address,
            device,
            len(self._items.get((names[2] or "", hour), ())),
            len(self._users.get((names[3] or "", hour), ())),
            unpriced and has_priced_purchases(self._purchases, self._priced),
            len(self._acts[user]) < self._session_events,
        )

    def _raised(self, user: str, at: datetime, verdict: Verdict) -> BacktestFlag:
        held_back = not breaker_allows_flag(self._flagged, len(self._active), self._anomalies.max_flagged_share)
        self._flagged += not held_back
        hours = timedelta(days=1) if held_back else timedelta(hours=self._anomalies.flag_hours)
        self._free_from[user] = at + hours
        return BacktestFlag(user, at, verdict.score, verdict.reasons, held_back)


def backtest(lake: Lake, settings: Settings, day: date) -> Backtest:
    """Replay the events of a UTC day, each as if it had come alone and at its own time."""
    start = datetime.combine(day, time(), UTC)
    events = (
        in_window(lake.events(since=start), start, start + timedelta(days=1))
        .select(COLUMNS)
        .sort(TIMESTAMP, USER_ID, EVENT_ID)
        .collect()
    )
    allowed = frozenset(map(lake.stored_id, settings.anomalies.allowed_users))
    replay = _Replay(settings, allowed)
    flags = [flag for row in events.iter_rows() if (flag := replay.take(*row)) is not None]
    return Backtest(day, events[USER_ID].n_unique(), events.height, tuple(flags))


def days(lake: Lake) -> list[date]:
    """The days that have events, the latest last."""
    moments = lake.events().select(pl.col(TIMESTAMP).dt.date().unique().sort()).collect()
    return moments[TIMESTAMP].to_list()
