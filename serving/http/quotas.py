"""Quotas of API keys: requests a minute, over all workers and hosts, counted in Redis.

A worker takes requests in leases of a hundredth of its share, by one atomic command, and answers most requests from
its lease without asking Redis. What is left of a lease after a second goes back. In any 60 seconds, all workers
together allow no more than the quota and what a second adds to it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final

from recsys.api_keys import ApiKey
from recsys.errors import StoreError
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.http.auth import AccessError

MINUTE_SECONDS: Final = 60
LEASES: Final = 100
"""Leases that a quota is split into, for each worker."""
LEASE_SECONDS: Final = 1.0
REFUSED_SECONDS: Final = 0.2
"""Time for which a worker refuses requests without asking Redis again, once nothing is left."""
AWAY_SECONDS: Final = 1.0
"""Time for which a worker does not ask Redis again after it has not answered."""

# The hash has the requests of each of the last 60 seconds, by the clock of Redis. Replies with the number granted,
# the second they are counted in, and the seconds until `needed` requests are granted, before which none is.
TAKE: Final = """
local limit, wanted, needed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local second = tonumber(redis.call('TIME')[1])
local used, seconds, counts = 0, {}, {}
local fields = redis.call('HGETALL', KEYS[1])
for place = 1, #fields, 2 do
  local at, count = tonumber(fields[place]), tonumber(fields[place + 1])
  if at <= second - 60 then
    redis.call('HDEL', KEYS[1], fields[place])
  else
    used = used + count
    seconds[#seconds + 1] = at
    counts[at] = count
  end
end
local granted = 0
if limit - used >= needed then
  granted = math.min(wanted, limit - used)
  redis.call('HINCRBY', KEYS[1], second, granted)
  redis.call('PEXPIRE', KEYS[1], 60000)
end
local wait, room = 0, limit - used
table.sort(seconds)
for _, at in ipairs(seconds) do
  if room >= needed then break end
  room = room + counts[at]
  wait = at + 60 - second
end
return {granted, second, wait}
"""


@dataclass
class _Lease:
    """What a worker has left of a key's quota."""

    tokens: int = 0
    """Requests that may be answered."""
    second: int = 0
    """The second of the clock of Redis in which the tokens are counted."""
    refused_until: float = 0.0
    refused_cost: int = 0
    """Requests of the last refusal: fewer may be granted."""
    wait: int = 0
    """Seconds to wait after the last refusal."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    timer: asyncio.TimerHandle | None = None
    local: tuple[float, float] | None = None
    """Tokens without Redis, and when they were counted; None while Redis answers."""
    away_until: float = -inf


class Quotas:
    """The leases of a worker, by the names of the keys."""

    def __init__(
        self, redis: RedisClient, keys: Keys, workers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Count in Redis; while it does not answer, each of `workers` processes allows its share of a quota."""
        self._redis, self._keys, self._workers, self._clock = redis, keys, workers, clock
        self._leases: dict[str, _Lease] = {}
        self._returns: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Return what is left of all leases."""
        for name, lease in self._leases.items():
            self._end(name, lease)
        await asyncio.gather(*self._returns)

    async def take(self, key: ApiKey, cost: int = 1) -> None:
        """Take `cost` requests from the quota of a key; raises `AccessError` if it has fewer left."""
        lease = self._leases.setdefault(key.name, _Lease())
        if lease.tokens < cost:
            async with lease.lock:
                while lease.tokens < cost:  # other requests may have renewed it, or used it up
                    await self._renew(key, lease, cost)
        lease.tokens -= cost

    async def _renew(self, key: ApiKey, lease: _Lease, cost: int) -> None:
        """Get enough tokens; raises `AccessError`."""
        now, limit = self._clock(), key.requests_per_minute
        if now < lease.refused_until and cost >= lease.refused_cost:
            raise _refusal(lease.wait)
        if now < lease.away_until:
            self._take_share(limit, lease, cost)
            return
        needed = cost - lease.tokens
        wanted = max(needed, limit // (LEASES * self._workers))
        name = self._keys.quota(key.name)
        try:
            (reply,) = await self._redis.execute(name, ("EVAL", TAKE, 1, name, limit, wanted, needed))
        except StoreError:
            lease.away_until = self._clock() + AWAY_SECONDS
            self._take_share(limit, lease, cost)
            return
        granted, second, wait = map(int, reply)
        lease.local = None
        if not granted:
            lease.refused_until, lease.refused_cost = self._clock() + REFUSED_SECONDS, cost
            lease.wait = max(1, wait)
            raise _refusal(lease.wait)
        # What was left before goes to this request: all that is left afterwards is counted in this second.
        lease.tokens += granted
        lease.second = second
        self._start_timer(key.name, lease)

    def _take_share(self, limit: int, lease: _Lease, cost: int) -> None:
        """Allow the worker's share of a quota while Redis does not answer: a bucket that fills in a minute."""
        rate, now = limit / MINUTE_SECONDS / self._workers, self._clock()
        capacity = max(1.0, rate * MINUTE_SECONDS)
        tokens, counted_at = lease.local or (capacity, now)
        tokens = min(capacity, tokens + (now - counted_at) * rate)
        needed = min(cost, capacity)
        if tokens < needed:
            lease.local = tokens, now
            raise _refusal(ceil((needed - tokens) / rate))
        lease.local = tokens - cost, now
        lease.tokens = cost

    def _start_timer(self, name: str, lease: _Lease) -> None:
        if lease.timer is not None:
            lease.timer.cancel()
        lease.timer = asyncio.get_running_loop().call_later(LEASE_SECONDS, self._end, name, lease)

    def _end(self, name: str, lease: _Lease) -> None:
        """End a lease: return what is left of it."""
        if lease.timer is not None:
            lease.timer.cancel()
            lease.timer = None
            if lease.lock.locked():
                self._start_timer(name, lease)  # a request is taking more
            elif lease.tokens > 0:
                task = asyncio.create_task(self._return(name, lease.second, lease.tokens))
                self._returns.add(task)
                task.add_done_callback(self._returns.discard)
                lease.tokens = 0

    async def _return(self, name: str, second: int, tokens: int) -> None:
        key = self._keys.quota(name)
        try:
            await self._redis.execute(
                key, ("HINCRBY", key, second, -tokens), ("PEXPIRE", key, MINUTE_SECONDS * 1_000)
            )
        except StoreError:
            return  # the minute ends without them


def _refusal(wait: int) -> AccessError:
    return AccessError(429, "too many requests with this API key", {"Retry-After": str(wait)})
