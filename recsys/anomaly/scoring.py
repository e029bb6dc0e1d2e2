"""One score of a user, 0 to 100, and its reasons in words, from all that is seen of the user online."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple

from recsys.anomaly.acts import Act, merged
from recsys.anomaly.limits import HUMAN_LOG_DEVIATION, HUMAN_LOG_MEAN, LIMITS, Limits
from recsys.anomaly.timing import automation_statistic, log_gaps, regularity_statistic, summarize_gaps
from recsys.anomaly.windows import NO_COUNTS, WINDOW_NAMES, WINDOWS_MS, Counts
from recsys.schema import DEFAULT_WEIGHTS, PURCHASE

DOUBT_AT_LIMIT: Final = 0.2
"""Of the doubt in a detector's evidence at its limit: it alone makes a score of 80."""
SUSPICIOUS_SHARE: Final = 0.25
"""Share of a limit from which a user is looked at closely."""
RECENT_ACTS: Final = 16
"""Acts that are looked at each time."""
FAST_ACTS: Final = 9
FAST_MS: Final = 36_000
REGULAR_ACTS: Final = 12
REGULAR_RATIO: Final = 3.0
"""A user is looked at closely whose last so many acts came within so long, or at gaps so much alike."""
MIN_ITEMS: Final = 5
"""Regular gaps between acts on fewer different items may be a page that reloads itself."""
MIN_SPAN_MS: Final = 10_000
"""What came within less is not taken to go on as fast."""
MINUTE_MS: Final = 60_000
HIGH_TRAFFIC_EVENTS: Final = 20
"""Events of an address or a device in an hour from which its items and users are counted."""


@dataclass(frozen=True)
class UserSignals:
    """What is seen of a user at `at_ms`, Unix milliseconds; counts are of windows that end then."""

    at_ms: int
    acts: Sequence[Act]
    """The latest, in any order."""
    user: Counts = NO_COUNTS
    """Events that are no lines of orders, at least."""
    session: Counts = NO_COUNTS
    address: Counts = NO_COUNTS
    device: Counts = NO_COUNTS
    items_of_address: int = 0
    users_of_device: int = 0
    unpriced: bool = False
    """Whether there was a purchase without a price, in a shop whose purchases have prices."""
    complete: bool = False
    """Whether the user has no acts but these."""


@dataclass(frozen=True)
class Verdict:
    """0 to 100, more is less like a shopper; `reasons` in words, the weightiest first."""

    score: float
    reasons: tuple[str, ...]


class Evidence(NamedTuple):
    """What one detector says: 0 nothing, towards 1 that it is no shopper, and why."""

    weight: float
    reason: str


def has_high_rate(counts: Sequence[float], limits: Limits = LIMITS) -> bool:
    """Whether a user's events in the windows ask for a close look."""
    return any(
        count >= SUSPICIOUS_SHARE * limit for count, limit in zip(counts, limits.events, strict=True) if count
    )


def has_suspicious_timing(times_ms: Sequence[float]) -> bool:
    """Whether the times of the last acts, up to `RECENT_ACTS` and the latest first, ask for a close look."""
    if len(times_ms) < FAST_ACTS:
        return False
    if times_ms[0] - times_ms[FAST_ACTS - 1] <= FAST_MS:
        return True
    gaps = [gap for gap in map(float.__sub__, times_ms, times_ms[1:]) if gap > 0]
    return len(gaps) >= REGULAR_ACTS and max(gaps) <= REGULAR_RATIO * min(gaps)


def score_user(seen: UserSignals, order_events: Collection[str], limits: Limits = LIMITS) -> Verdict:
    """The score of a user.

    Detectors that see the same thing, speed, count by the strongest of them, and so do those of the network. What
    is left is independent and goes together by a noisy-or, 1 - (1 - p)(1 - q)…: two halves of evidence weigh more
    than one, and none less for what others do not see. `order_events` are as `merged` has them.
    """
    acts = merged(seen.acts, order_events)
    gaps = log_gaps([act.at_ms for act in acts])
    speed = [*_rates(seen, acts, limits), _items(acts, limits), _automation(gaps, limits)]
    families = [
        _strongest(speed),
        _regularity(acts, gaps, limits),
        _strongest(_network(seen, limits)),
        Evidence(limits.unpriced_share * seen.unpriced, "a purchase without a price, where purchases have prices"),
    ]
    doubt = 1.0
    for family in families:
        doubt *= 1 - family.weight
    told = sorted((family for family in families if family.weight >= 0.01), key=lambda each: -each.weight)
    return Verdict(round(100 * (1 - doubt), 1), tuple(each.reason for each in told))


def evidence_weight(share: float) -> float:
    """Evidence of a detector at a share of its limit: 0 at 0, .33 at half, .8 at the limit, near 1 at twice.

    >>> [round(evidence_weight(share), 2) for share in (0, 0.5, 1, 2)]
    [0.0, 0.33, 0.8, 1.0]
    """
    return 1 - DOUBT_AT_LIMIT ** (share * share) if share < 10 else 1.0


def select_order_events(weights: Mapping[str, float]) -> frozenset[str]:
    """The events that are lines of orders, or of what comes back of them: as weighty as a purchase."""
    return frozenset(name for name, weight in weights.items() if abs(weight) >= DEFAULT_WEIGHTS[PURCHASE])


def _strongest(found: Iterable[Evidence]) -> Evidence:
    return max(found, key=lambda each: each.weight)


def _rates(seen: UserSignals, acts: Sequence[Act], limits: Limits) -> list[Evidence]:
    """Events in the windows: 0 and up, more is more; no warm-up.

    No more count than there are acts, where these reach back so far and none is later: so what a counter has of
    somebody else does no harm. Of the shortest no fewer count: its acts are all there, an order as one.
    """
    acted = [sum(seen.at_ms - window < act.at_ms <= seen.at_ms for act in acts) for window in WINDOWS_MS]
    counts = [
        min(count, most) if _are_all_of(acts, seen, window) else count
        for count, most, window in zip(seen.user, acted, WINDOWS_MS, strict=True)
    ]
    counts[0] = max(counts[0], acted[0])
    return [
        Evidence(
            evidence_weight(count / limit), f"{count:,.0f} events in {name}, a shopper makes at most {limit:,}"
        )
        for count, limit, name in zip(counts, limits.events, WINDOW_NAMES, strict=True)
    ]


def _are_all_of(acts: Sequence[Act], seen: UserSignals, window_ms: int) -> bool:
    """Whether there is no other act in the window than these, the earliest first."""
    if not acts or acts[-1].at_ms > seen.at_ms:
        return False
    return seen.complete or acts[0].at_ms <= seen.at_ms - window_ms


def _items(acts: Sequence[Act], limits: Limits) -> Evidence:
    """Rate the different items a minute among the latest acts; `RECENT_ACTS` acts are the warm-up."""
    latest = acts[-1].at_ms if acts else 0
    recent = [act for act in acts if act.at_ms > latest - MINUTE_MS]
    if len(recent) < RECENT_ACTS:
        return Evidence(0.0, "")
    span = max(latest - recent[0].at_ms, MIN_SPAN_MS)
    items = len({act.item_id for act in recent})
    # Only so many acts are known: where all came in less than a minute, as many more would have gone on so.
    rate = items * MINUTE_MS / span if len(recent) == len(acts) else items
    return Evidence(
        evidence_weight(rate / limits.items_a_minute),
        f"{rate:,.0f} different items a minute, a shopper opens at most {limits.items_a_minute:,}",
    )


def _automation(gaps: Sequence[float], limits: Limits) -> Evidence:
    found = automation_statistic(gaps)
    typical = summarize_gaps(gaps[-RECENT_ACTS:]).typical_seconds
    human = summarize_gaps([HUMAN_LOG_MEAN]).typical_seconds
    return Evidence(
        evidence_weight(found / limits.likelihood),
        f"{typical:,.2g} s between events, again and again, a shopper takes {human:,.0f} s",
    )


def _regularity(acts: Sequence[Act], gaps: Sequence[float], limits: Limits) -> Evidence:
    if len({act.item_id for act in acts}) < MIN_ITEMS:
        return Evidence(0.0, "")
    spread = sqrt(summarize_gaps(gaps[-RECENT_ACTS:]).variance)
    return Evidence(
        evidence_weight(regularity_statistic(gaps) / limits.regularity),
        f"gaps between events vary by {spread:.0%}, a shopper's by {HUMAN_LOG_DEVIATION:.0%}",
    )


def _network(seen: UserSignals, limits: Limits) -> Iterable[Evidence]:
    """Events of the session, address and device, items of the address, users of the device: 0 up to
    `Limits.network_share`, more is more; items and users are counted from the twentieth event of an hour on.
    """
    share = limits.network_share
    for what, counts in (("session", seen.session), ("address", seen.address), ("device", seen.device)):
        for count, limit, name in zip(counts, limits.network_events, WINDOW_NAMES, strict=True):
            yield Evidence(share * evidence_weight(count / limit), f"{count:,.0f} events of its {what} in {name}")
    items, users = seen.items_of_address, seen.users_of_device
    yield Evidence(
        share * evidence_weight(items / limits.items_of_address), f"{items:,} items of its address in an hour"
    )
    yield Evidence(
        share * evidence_weight(users / limits.users_of_device), f"{users:,} users of its device in an hour"
    )
