"""Requests without a valid API key: counted, limited by address, and logged without their tokens."""

import time
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil
from typing import Final

import structlog

WINDOW_SECONDS: Final = 60.0
MAX_ADDRESSES: Final = 10_000
"""Addresses that are counted at once; the one that failed first is forgotten for another."""
MAX_LOGGED: Final = 60
"""Lines of the log in a window; further failures are in the metrics only."""
IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that are counted as one client: a client has all addresses below them."""

log = structlog.get_logger()


class FailedAttempts:
    """The failed attempts of the last minute, by address."""

    def __init__(
        self, per_minute: int, count: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Allow each address `per_minute` failures; `count` is called with the reason of each."""
        self._per_minute, self._count, self._clock = per_minute, count, clock
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()
        """Address -> start of its window, and failures in it."""
        self._log_window = (-WINDOW_SECONDS, 0)

    def __len__(self) -> int:
        """Return the number of addresses that are counted."""
        return len(self._windows)

    def add(self, address: str, reason: str, key_name: str | None) -> int | None:
        """Count a failure; return the seconds to wait if the address has had too many, else None."""
        self._count(reason)
        client, now = client_of(address), self._clock()
        start, failures = self._windows.get(client, (now, 0))
        if now - start >= WINDOW_SECONDS:
            start, failures = now, 0
            self._windows.pop(client, None)
        failures += 1
        self._windows[client] = (start, failures)
        if len(self._windows) > MAX_ADDRESSES:
            self._windows.popitem(last=False)
        if failures in (1, self._per_minute + 1):
            self._log(now, client, reason, key_name, failures)
        return ceil(start + WINDOW_SECONDS - now) if failures > self._per_minute else None

    def _log(self, now: float, client: str, reason: str, key_name: str | None, failures: int) -> None:
        start, lines = self._log_window
        if now - start >= WINDOW_SECONDS:
            start, lines = now, 0
        self._log_window = (start, lines + 1)
        if lines < MAX_LOGGED:
            log.warning("authentication failed", address=client, reason=reason, key=key_name, failures=failures)


@lru_cache(MAX_ADDRESSES)
def client_of(address: str) -> str:
    """Return the address under which a client is counted: itself, or the network of an IPv6 address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, IPv6Address):
        mapped = parsed.ipv4_mapped
        return str(mapped or ip_network((parsed, IPV6_PREFIX), strict=False))
    return str(parsed)
