"""Backtest of online flagging: replay one day of the lake's events, and report who would have been flagged."""

from collections import defaultdict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from jobs.lake.lake import Lake
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
from recsys.anomaly.windows import WINDOWS_MS, WindowCounters
from recsys.data.splits import in_window
from recsys.schema import EVENT, EVENT_ID, IP, ITEM_ID, PRICE, SESSION_ID, TIMESTAMP, USER_AGENT, USER_ID
from recsys.settings import Settings

HOUR = 2
COLUMNS = (USER_ID, ITEM_ID, EVENT, TIMESTAMP, PRICE, SESSION_ID, IP, USER_AGENT)


@dataclass(frozen=True)
class BacktestFlag:
    """A flag that the server would have raised."""

    user_id: str
    at: datetime
    score: float
    reasons: tuple[str, ...]
    held_back: bool
    """Whether the circuit breaker would have suppressed the flag."""


@dataclass(frozen=True)
class Backtest:
    """The flags of a day in order of time, and the day's numbers of users and events."""

    day: date
    users: int
    events: int
    flags: tuple[BacktestFlag, ...]

    @property
    def share(self) -> float:
        """Return the share of the day's users who are flagged."""
        return sum(not flag.held_back for flag in self.flags) / self.users if self.users else 0.0


class _Replay:
    """The state that the server would have had in Redis, kept in memory."""

    def __init__(self, settings: Settings, allowed: frozenset[str]) -> None:
        """Start without events; the users in `allowed` are never flagged."""
        self._weights = settings.sources.event_weights
        self._order_events = select_order_events(self._weights)
        self._anomalies = settings.anomalies
        self._allowed = allowed
        self._networks = parse_networks(settings.anomalies.allowed_networks)
        self._session_events = settings.serving.session_events
        self._acts: dict[str, deque[Act]] = defaultdict(lambda: deque(maxlen=self._session_events))
        self._counters = WindowCounters()
        self._moment = ("", 0)
        self._scored: set[tuple[str, bool]] = set()
        """Order events after which the user was scored at the current moment, and whether they had no price."""
        self._items: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._users: dict[tuple[str, int], set[str]] = defaultdict(set)
        self._flagged_until: dict[str, datetime] = {}
        self._active: set[str] = set()
        self._flagged = 0
        self._purchases = self._priced = 0

    def process(
        self,
        user: str,
        item: str,
        event: str,
        at: datetime,
        price: float | None,
        session: str | None,
        ip: str | None,
        agent: str | None,
    ) -> BacktestFlag | None:
        """Process an event, and return the flag that it raises."""
        if not self._weights.get(event):
            return None
        at_ms = round(at.timestamp() * 1e6) // 1000
        is_order_line = self._remember(user, Act(at_ms, item, event))
        if user in self._allowed or at < self._flagged_until.get(user, at):
            return None
        self._active.add(user)
        address = None if ip is None or is_within(ip, self._networks) else f"address\0{ip}"
        device = None if address is None else f"device\0{ip}\0{agent or ''}"
        names = [f"user\0{user}", None if session is None else f"session\0{session}", address, device]
        self._counters.advance(at_ms)
        is_order = event in self._order_events
        unpriced = is_order and self._weights[event] > 0 and price is None
        if is_order and self._weights[event] > 0:
            self._purchases, self._priced = self._purchases + 1, self._priced + (price is not None)
        if not is_order:
            self._counters.add(names, at_ms)
            self._count_origin(user, item, address, device, at_ms)
        if is_order_line and (event, unpriced) in self._scored:
            return None
        latest_times = [float(act.at_ms) for act in sorted(self._acts[user], reverse=True)[:RECENT_ACTS]]
        has_rate = not is_order and has_high_rate(self._counters.current_counts(names[0] or ""))
        if not (has_rate or has_suspicious_timing(latest_times)):
            return None
        if is_order:
            self._scored.add((event, unpriced))
        verdict = score_user(self._signals(user, names, at_ms, unpriced), self._order_events)
        return self._flag(user, at, verdict) if verdict.score >= self._anomalies.flag_threshold else None

    def _remember(self, user: str, act: Act) -> bool:
        """Add an act to a user's acts; return whether it can only be one more line of an order at the same moment.

        Such a line changes no score: an order with hundreds of lines is scored once.
        """
        if self._moment != (user, act.at_ms):
            self._moment, self._scored = (user, act.at_ms), set()
        acts = self._acts[user]
        oldest = acts[0] if len(acts) == acts.maxlen else None
        is_order = act.event in self._order_events
        repeats_item = is_order and any((act.item_id, act.event) == other[1:3] for other in acts)
        acts.append(act)
        # The dropped act may also be a line of an order whose other lines remain.
        drops_act = oldest is not None and (
            oldest.event not in self._order_events or (oldest.at_ms, oldest.event) != (acts[0].at_ms, acts[0].event)
        )
        return is_order and not repeats_item and not drops_act

    def _count_origin(self, user: str, item: str, address: str | None, device: str | None, at_ms: int) -> None:
        hour = at_ms // WINDOWS_MS[HOUR]
        if address is not None and self._counters.current_counts(address)[HOUR] >= HIGH_TRAFFIC_EVENTS:
            self._items[address, hour].add(item)
        if device is not None and self._counters.current_counts(device)[HOUR] >= HIGH_TRAFFIC_EVENTS:
            self._users[device, hour].add(user)

    def _signals(self, user: str, names: list[str | None], at_ms: int, unpriced: bool) -> UserSignals:
        hour = at_ms // WINDOWS_MS[HOUR]
        user_counts, session, address, device = (self._counters.sliding_counts(name, at_ms) for name in names)
        return UserSignals(
            at_ms,
            list(self._acts[user]),
            user_counts,
            session,
            address,
            device,
            len(self._items.get((names[2] or "", hour), ())),
            len(self._users.get((names[3] or "", hour), ())),
            unpriced and has_priced_purchases(self._purchases, self._priced),
            len(self._acts[user]) < self._session_events,
        )

    def _flag(self, user: str, at: datetime, verdict: Verdict) -> BacktestFlag:
        is_suppressed = not breaker_allows_flag(self._flagged, len(self._active), self._anomalies.max_flagged_share)
        self._flagged += not is_suppressed
        duration = timedelta(days=1) if is_suppressed else timedelta(hours=self._anomalies.flag_hours)
        self._flagged_until[user] = at + duration
        return BacktestFlag(user, at, verdict.score, verdict.reasons, is_suppressed)


def backtest(lake: Lake, settings: Settings, day: date) -> Backtest:
    """Replay the events of a UTC day, each as if it had arrived in a batch of its own and at its own time."""
    start = datetime.combine(day, time(), UTC)
    events = (
        in_window(lake.events(since=start), start, start + timedelta(days=1))
        .sort(TIMESTAMP, USER_ID, EVENT_ID)
        .select(COLUMNS)
        .collect()
    )
    allowed = frozenset(map(lake.stored_id, settings.anomalies.allowed_users))
    replay = _Replay(settings, allowed)
    flags = [flag for row in events.iter_rows() if (flag := replay.process(*row)) is not None]
    return Backtest(day, events[USER_ID].n_unique(), events.height, tuple(flags))


def event_days(lake: Lake) -> list[date]:
    """Return the days with events, in order."""
    moments = lake.events().select(pl.col(TIMESTAMP).dt.date().unique().sort()).collect()
    return moments[TIMESTAMP].to_list()
