"""Online bot score of a user, 0 to 100, with reasons in words."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, NamedTuple

from recsys.anomaly.acts import Act, merge_order_lines
from recsys.anomaly.limits import HUMAN_LOG_DEVIATION, HUMAN_LOG_MEAN, LIMITS, Limits
from recsys.anomaly.timing import automation_statistic, log_gaps, regularity_statistic, summarize_gaps
from recsys.anomaly.windows import NO_COUNTS, WINDOW_NAMES, WINDOWS_MS, Counts
from recsys.schema import DEFAULT_WEIGHTS, PURCHASE

DOUBT_AT_LIMIT: Final = 0.2
"""The doubt that remains when one detector is at its limit: its evidence alone scores 80."""
SUSPICIOUS_SHARE: Final = 0.25
"""Share of a limit from which a user is scored."""
RECENT_ACTS: Final = 16
"""Latest acts of a user that are read with every batch."""
FAST_ACTS: Final = 9
FAST_MS: Final = 36_000
REGULAR_ACTS: Final = 12
REGULAR_RATIO: Final = 3.0
"""A user is scored if the last `FAST_ACTS` acts came within `FAST_MS`, or if the longest of the last `REGULAR_ACTS`
gaps is at most this multiple of the shortest."""
MIN_ITEMS: Final = 5
"""Regular gaps between acts on fewer distinct items may come from a page that reloads itself."""
MIN_SPAN_MS: Final = 10_000
"""Least time span from which a rate per minute is extrapolated."""
MINUTE_MS: Final = 60_000
HIGH_TRAFFIC_EVENTS: Final = 20
"""Events of an address or a device in an hour from which its items and users are counted."""


@dataclass(frozen=True)
class UserSignals:
    """Observations of a user up to `at_ms`, Unix milliseconds; counts are of windows that end then."""

    at_ms: int
    acts: Sequence[Act]
    """The latest acts, in any order."""
    user: Counts = NO_COUNTS
    """Events that are not lines of orders; may be too high."""
    session: Counts = NO_COUNTS
    address: Counts = NO_COUNTS
    device: Counts = NO_COUNTS
    address_items: int = 0
    device_users: int = 0
    unpriced: bool = False
    """Whether the user made a purchase without a price, in a shop whose purchases have prices."""
    complete: bool = False
    """Whether `acts` are all acts of the user."""


@dataclass(frozen=True)
class Verdict:
    """A score from 0 to 100, higher for bots, and its reasons in words, the strongest first."""

    score: float
    reasons: tuple[str, ...]


class Evidence(NamedTuple):
    """The result of one detector: a weight from 0 for no evidence to 1 for a bot, and the reason in words."""

    weight: float
    reason: str


def has_high_rate(counts: Sequence[float], limits: Limits = LIMITS) -> bool:
    """Return whether a user's events in the windows call for a score."""
    return any(
        count >= SUSPICIOUS_SHARE * limit for count, limit in zip(counts, limits.events, strict=True) if count
    )


def has_suspicious_timing(times_ms: Sequence[float]) -> bool:
    """Return whether the times of the last acts, up to `RECENT_ACTS`, the latest first, call for a score."""
    if len(times_ms) < FAST_ACTS:
        return False
    if times_ms[0] - times_ms[FAST_ACTS - 1] <= FAST_MS:
        return True
    gaps = [gap for gap in map(float.__sub__, times_ms, times_ms[1:]) if gap > 0]
    return len(gaps) >= REGULAR_ACTS and max(gaps) <= REGULAR_RATIO * min(gaps)


def score_user(signals: UserSignals, order_events: Collection[str], limits: Limits = LIMITS) -> Verdict:
    """Score a user by the evidence of all detectors.

    Only the strongest speed detector counts, and only the strongest network detector. The families that remain are
    independent and are combined by a noisy-or, 1 - (1 - p)(1 - q)...: evidence adds up, and missing evidence of one
    family does not weaken another. `order_events` are those of `merge_order_lines`.
    """
    acts = merge_order_lines(signals.acts, order_events)
    gaps = log_gaps([act.at_ms for act in acts])
    speed = [*_rates(signals, acts, limits), _items(acts, limits), _automation(gaps, limits)]
    families = [
        _strongest(speed),
        _regularity(acts, gaps, limits),
        _strongest(_network(signals, limits)),
        Evidence(
            limits.unpriced_share * signals.unpriced, "a purchase without a price, where purchases have prices"
        ),
    ]
    doubt = 1.0
    for family in families:
        doubt *= 1 - family.weight
    reasons = sorted((family for family in families if family.weight >= 0.01), key=lambda family: -family.weight)
    return Verdict(round(100 * (1 - doubt), 1), tuple(family.reason for family in reasons))


def evidence_weight(share: float) -> float:
    """Map a share of a detector's limit to evidence: 0 at 0, .33 at half, .8 at the limit, near 1 at twice.

    >>> [round(evidence_weight(share), 2) for share in (0, 0.5, 1, 2)]
    [0.0, 0.33, 0.8, 1.0]
    """
    return 1 - DOUBT_AT_LIMIT ** (share * share) if share < 10 else 1.0


def select_order_events(weights: Mapping[str, float]) -> frozenset[str]:
    """Return the event names that are lines of orders or of refunds: those as heavy as a purchase."""
    return frozenset(name for name, weight in weights.items() if abs(weight) >= DEFAULT_WEIGHTS[PURCHASE])


def _strongest(evidence: Iterable[Evidence]) -> Evidence:
    return max(evidence, key=lambda each: each.weight)


def _rates(signals: UserSignals, acts: Sequence[Act], limits: Limits) -> list[Evidence]:
    """Rate the events in the windows.

    Where the acts cover a whole window, its count is at most their number, so that other users in the same counter
    do no harm. The count of the shortest window is at least their number: `acts` holds all of its acts.
    """
    act_counts = [sum(signals.at_ms - window < act.at_ms <= signals.at_ms for act in acts) for window in WINDOWS_MS]
    counts = [
        min(count, maximum) if _covers_window(acts, signals, window) else count
        for count, maximum, window in zip(signals.user, act_counts, WINDOWS_MS, strict=True)
    ]
    counts[0] = max(counts[0], act_counts[0])
    return [
        Evidence(
            evidence_weight(count / limit), f"{count:,.0f} events in {name}, a shopper makes at most {limit:,}"
        )
        for count, limit, name in zip(counts, limits.events, WINDOW_NAMES, strict=True)
    ]


def _covers_window(acts: Sequence[Act], signals: UserSignals, window_ms: int) -> bool:
    """Return whether `acts`, in order of time, include every act of the user in the window."""
    if not acts or acts[-1].at_ms > signals.at_ms:
        return False
    return signals.complete or acts[0].at_ms <= signals.at_ms - window_ms


def _items(acts: Sequence[Act], limits: Limits) -> Evidence:
    """Rate the distinct items a minute among the latest acts, from `RECENT_ACTS` acts on."""
    latest = acts[-1].at_ms if acts else 0
    recent = [act for act in acts if act.at_ms > latest - MINUTE_MS]
    if len(recent) < RECENT_ACTS:
        return Evidence(0.0, "")
    span = max(latest - recent[0].at_ms, MIN_SPAN_MS)
    items = len({act.item_id for act in recent})
    # The number of known acts is limited: if all came within the minute, the rate is extrapolated.
    rate = items * MINUTE_MS / span if len(recent) == len(acts) else items
    return Evidence(
        evidence_weight(rate / limits.items_a_minute),
        f"{rate:,.0f} different items a minute, a shopper opens at most {limits.items_a_minute:,}",
    )


def _automation(gaps: Sequence[float], limits: Limits) -> Evidence:
    ratio = automation_statistic(gaps)
    typical = summarize_gaps(gaps[-RECENT_ACTS:]).typical_seconds
    human = summarize_gaps([HUMAN_LOG_MEAN]).typical_seconds
    return Evidence(
        evidence_weight(ratio / limits.likelihood),
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


def _network(signals: UserSignals, limits: Limits) -> Iterable[Evidence]:
    """Rate events of the session, address and device, items of the address, and users of the device.

    Each weighs at most `Limits.network_share`. Items and users are counted from `HIGH_TRAFFIC_EVENTS` events of an
    hour on.
    """
    share = limits.network_share
    for subject, counts in (("session", signals.session), ("address", signals.address), ("device", signals.device)):
        for count, limit, name in zip(counts, limits.network_events, WINDOW_NAMES, strict=True):
            yield Evidence(
                share * evidence_weight(count / limit), f"{count:,.0f} events of its {subject} in {name}"
            )
    items, users = signals.address_items, signals.device_users
    yield Evidence(
        share * evidence_weight(items / limits.address_items), f"{items:,} items of its address in an hour"
    )
    yield Evidence(
        share * evidence_weight(users / limits.device_users), f"{users:,} users of its device in an hour"
    )
