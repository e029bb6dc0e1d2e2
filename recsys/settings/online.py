"""Settings of the online half: Redis, and the server that answers from it."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recsys.settings.types import STRICT, Days, FilePath, HostName, Memory, Name, Network, Origin, Positive


@dataclass(frozen=True, config=STRICT)
class Redis:
    """Which Redis the lists are published to and served from."""

    url: str | None = None
    """redis://, rediss:// or unix:// address; an embedded Valkey runs under `directory` if not set."""
    cluster: bool = False
    """Whether `url` is a node of a Redis Cluster; the other nodes are discovered through it."""
    sentinel: Name | None = None
    """Name of the primary as the Sentinels know it. `url` then names the Sentinels (host:port, separated by
    commas)."""
    wait_replicas: Annotated[int, Field(ge=0)] = 0
    """Number of replicas that have an event, a change of an item or a label before it is acknowledged (`WAIT`);
    while fewer answer, these requests get 503."""
    namespace: Name = "recsys"
    """First part of every key."""
    timeout_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Timeout of one command of a batch job; the server has its own timeouts in `serving`."""
    keep_versions: Annotated[int, Field(ge=2)] = 2
    """Number of versions kept, the live one included; older versions are removed after a publish."""
    max_memory: Memory | None = None
    """Memory limit of Redis, all nodes of a Cluster together, such as `512MB` or `8GB`; lists are shortened to
    fit."""
    tls_ca: FilePath | None = None
    """File of CA certificates that the server's certificate is verified with, for rediss://; the system's if not
    set."""
    tls_certificate: FilePath | None = None
    """File of the client certificate sent to the server; needs `tls_key`."""
    tls_key: FilePath | None = None
    """File of the private key of `tls_certificate`."""


@dataclass(frozen=True, config=STRICT)
class Serving:
    """How requests are answered over HTTP."""

    host: str = "127.0.0.1"
    """Address to listen on; must be a loopback address as long as there are no API keys. 0.0.0.0 is every IPv4
    address. On any but a loopback address, `hosts` is needed, and /metrics and /schema need a key."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 8000
    """Port to listen on."""
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of worker processes."""
    tls_certificate: FilePath | None = None
    """File of the server's certificate; with it and `tls_key` the server speaks HTTPS."""
    tls_key: FilePath | None = None
    """File of the private key of `tls_certificate`."""
    tls_minimum: Literal["1.2", "1.3"] = "1.2"
    """Lowest version of TLS that is spoken."""
    hosts: tuple[HostName, ...] = ()
    """Names by which clients call the server, without the port, as in `recsys.shop.example`; `*` allows any.
    Loopback names are always allowed."""
    origins: tuple[Origin, ...] = ()
    """Origins of pages, as in `https://shop.example`, from which browsers may send requests, besides the server's
    own; `*` allows any."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks of proxies whose `X-Forwarded-For` names the client; other clients' headers are ignored."""
    metrics_networks: tuple[Network, ...] = ()
    """Networks whose clients read /metrics without a key although the address is public, as that of Prometheus."""
    failed_keys_per_minute: Positive = 60
    """Requests a minute without a valid API key that a client's address is told so; further ones get 429."""
    read_timeout_ms: Annotated[float, Field(gt=0)] = 100.0
    """Milliseconds to wait for Redis before a request is answered from the worker's own memory."""
    write_timeout_ms: Annotated[float, Field(gt=0)] = 1_000.0
    """Milliseconds to wait for Redis before events are refused."""
    lease_seconds: Annotated[float, Field(gt=0)] = 3.0
    """Seconds without word from Redis after which a worker also leaves out items that were switched on or off
    lately: their state may have changed."""
    session_events: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Number of a user's latest views, and as many clicks, kept as the session that answers are based on; of
    purchases, carts and each other event 1,000 are kept."""
    session_days: Days = 7.0
    """Days after the last event until a session expires."""
    hide_seen: bool = False
    """Whether items viewed or clicked in the session are excluded from answers, as bought items are."""
    repeat_days: Days = 7.0
    """Days until a bought item may be recommended again if `repeat` is allow and the item's own repurchase cycle is
    unknown."""
    max_per_brand: Annotated[int, Field(ge=0)] = 0
    """Maximum number of items of one brand in an answer; 0 for no limit."""
    max_per_category: Annotated[int, Field(ge=0)] = 0
    """Maximum number of items of one category in an answer; 0 for no limit."""
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Weight of dissimilarity against rank when answers are diversified (MMR): 0 keeps the ranking, 1 ignores
    it."""
    max_anchor_share: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Maximum share of an answer that one item of the session brings in as its neighbors, rounded up to whole
    places, except beside a product; 1 for no limit."""
    impressions: bool = True
    """Whether the items shown are recorded in the event stream."""
    max_changed_items: Positive = 100_000
    """Number of items with changes made online at which no more unknown items are created; items of the catalogue
    can always be changed."""
    item_change_days: Days = 30.0
    """Days after which a change made online is forgotten, and the nightly catalogue takes over."""
    stream_length: Positive = 1_000_000
    """Maximum number of entries in the event stream. As it fills up, impressions are refused first, then views,
    carts and purchases."""
    cached_users: Positive = 10_000
    """Number of users whose last lists and sessions a worker caches for answers while Redis is unavailable."""
    static_list: FilePath | None = None
    """File of item ids, one per line, that is the answer of last resort; the answer is empty if not set."""
