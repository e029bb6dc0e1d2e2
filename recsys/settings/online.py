"""Settings of what is online: Redis, and the server that answers from it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import STRICT, Days, Memory, Name, Positive


@dataclass(frozen=True, config=STRICT)
class Redis:
    """Where lists are served from."""

    url: str | None = None
    """redis://, rediss:// or unix:// address; without one an embedded Valkey runs under `directory`."""
    cluster: bool = False
    """Whether `url` names a node of a Redis Cluster; the other nodes are found by it."""
    sentinel: Name | None = None
    """What the Sentinels at `url` (host:port, commas between several) call the primary; none without Sentinels."""
    namespace: Name = "recsys"
    """First part of every key."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """How long one command of a job may take; the server's are bounded by `serving`."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Versions kept, the live one among them; older ones are removed after a publish."""
    max_memory: Memory | None = None
    """Most that Redis may hold, all nodes of a Cluster together, as `512MB` or `8GB`; lists are cut to fit."""
    tls_ca: Path | None = None
    """Certificates that the server's must be signed by, for rediss://; the system's without it."""
    tls_certificate: Path | None = None
    """Certificate to show to the server, with `tls_key`."""
    tls_key: Path | None = None
    """Private key of that certificate."""


@dataclass(frozen=True, config=STRICT)
class Serving:
    """How requests are answered over HTTP."""

    host: str = "127.0.0.1"
    """Address to listen on, a loopback one while there are no API keys; 0.0.0.0 is every IPv4 address."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    """Port to listen on."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that answer requests."""
    tls_certificate: Path | None = None
    """Certificate to answer HTTPS with, with `tls_key`; HTTP without."""
    tls_key: Path | None = None
    """Private key of that certificate."""
    read_timeout_ms: Annotated[float, Field(gt=0)] = 20.0
    """How long an answer waits for Redis before it is made of what the process knows."""
    write_timeout_ms: Annotated[float, Field(gt=0)] = 1_000.0
    """How long events wait for Redis before they are refused."""
    session_events: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Latest events of a user that are kept for the next answers."""
    session_days: Days = 7.0
    """How long they are kept after the last of them."""
    hide_seen: bool = False
    """Whether items that the session has viewed or clicked are left out, as what was bought is."""
    repeat_days: Days = 7.0
    """Where `repeat` is allow: after so long a bought item may come back, unless its own cycle is known."""
    max_per_brand: Annotated[int, Field(ge=0)] = 0
    """Most items of one brand in an answer; 0 for any number."""
    max_per_category: Annotated[int, Field(ge=0)] = 0
    """Most items of one category in an answer; 0 for any number."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What being unlike the items above counts beside the rank (MMR): 0 nothing, 1 all."""
    impressions: bool = True
    """Whether what was shown is written to the stream of events."""
    stream_length: Positive = 1_000_000
    """Most entries of the stream; as it fills, impressions, views, carts, then purchases are refused."""
    cached_users: Positive = 10_000
    """Users whose last lists and sessions a worker remembers for when Redis does not answer."""
    static_list: Path | None = None
    """File of item ids, a line each, to answer with where nothing else is known; nothing without it."""
