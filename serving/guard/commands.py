"""The values that pass between intake and the guard: commands to send to Redis, and their parsed replies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recsys.anomaly.circuit_breaker import has_priced_purchases
from recsys.store.client.connection import Reply
from serving.guard.counters import Bucket, Cell, KeyedCommand
from serving.guard.observation import BatchObservations


@dataclass(frozen=True, slots=True)
class GuardReads:
    """The commands that read which users of a batch are flagged already."""

    users: Sequence[str]
    commands: Sequence[KeyedCommand]


@dataclass(frozen=True, slots=True)
class GuardWrites:
    """The commands that count a batch and read the users' latest acts."""

    observations: BatchObservations
    commands: Sequence[KeyedCommand] = ()
    expiring: Sequence[str] = ()
    """Keys whose expiry the commands set."""


NO_WRITES: Final = GuardWrites(BatchObservations())


@dataclass(frozen=True, slots=True)
class BatchReplies:
    """The parsed replies to `GuardWrites`."""

    latest_acts: Mapping[str, Sequence[Reply]]
    """Members and scores of each user's session, in turns, the latest first."""
    counts: Mapping[Bucket, Mapping[Cell, int]]
    """Events in each incremented cell, those of the batch included."""
    are_purchases_priced: bool
    """Whether the purchases of the shop have prices; false if the batch has no purchase."""


def parse_replies(observations: BatchObservations, replies: Sequence[Reply]) -> BatchReplies:
    """Read the replies to the commands of a batch: latest acts, then counters, then totals of purchases."""
    users, increments = observations.users, observations.increments
    counted = replies[len(users) :]
    counts = {
        bucket: dict(zip(cells, reply, strict=True))
        for (bucket, cells), reply in zip(increments.items(), counted, strict=False)
    }
    are_priced = False
    if observations.purchases:
        purchases, priced = counted[len(increments) : len(increments) + 2]
        are_priced = has_priced_purchases(int(purchases), int(priced))
    return BatchReplies(dict(zip(users, replies, strict=False)), counts, are_priced)
