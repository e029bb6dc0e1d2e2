"""Read the signals of one suspicious user from Redis."""

from recsys.anomaly.scoring import UserSignals
from recsys.anomaly.windows import NO_COUNTS, CounterSubject, Counts, bucket_number
from recsys.store.client.client import RedisClient
from recsys.store.keys import Keys
from serving.engine.user_state import parse_session
from serving.guard.counters import Cell, EventCounters, sliding_counts
from serving.guard.observation import HOUR_MS, UserObservation


class SignalReader:
    """Reads the signals that a user is scored by."""

    def __init__(self, redis: RedisClient, keys: Keys, counters: EventCounters, session_events: int) -> None:
        """`session_events` is how many events a session keeps."""
        self._redis, self._keys, self._counters = redis, keys, counters
        self._session_events = session_events

    async def read(self, user_id: str, observation: UserObservation, are_purchases_priced: bool) -> UserSignals:
        """Read a user's acts and counts as of the user's latest event, in one round trip; raises `StoreError`."""
        keys, at_ms, hour = self._keys, observation.at_ms, bucket_number(observation.at_ms, HOUR_MS)
        origin, session = observation.origin, keys.session(user_id)
        cells: dict[CounterSubject, Cell] = {"user": self._counters.user_cell(user_id)}
        if observation.session_id is not None:
            cells["session"] = self._counters.session_cell(observation.session_id)
        if origin.address is not None:
            cells["address"], cells["device"] = origin.address_cell, origin.device_cell
        items, users = keys.address_items(origin.address or "", hour), keys.device_users(origin.device or "", hour)
        acts, item_count, user_count, *replies = await self._redis.execute_each(
            [
                (session, ("ZREVRANGE", session, 0, self._session_events - 1, "WITHSCORES")),
                (items, ("PFCOUNT", items)),
                (users, ("PFCOUNT", users)),
                *self._counters.read(list(cells.values()), at_ms),
            ]
        )
        counts: dict[CounterSubject, Counts] = {
            subject: sliding_counts(replies, place, at_ms) for place, subject in enumerate(cells)
        }
        return UserSignals(
            at_ms=at_ms,
            acts=parse_session(acts),
            user=counts["user"],
            session=counts.get("session", NO_COUNTS),
            address=counts.get("address", NO_COUNTS),
            device=counts.get("device", NO_COUNTS),
            address_items=item_count,
            device_users=user_count,
            unpriced=observation.has_unpriced_purchase and are_purchases_priced,
            complete=len(acts) < 2 * self._session_events,
        )
