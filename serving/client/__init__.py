"""Client of the HTTP server, synchronous and asyncio; it needs httpx and msgspec only."""

from serving.client.client import (
    AsyncClient,
    Client,
    ClientError,
    Event,
    InvalidRequestError,
    ItemFacts,
    RefusedError,
    UnavailableError,
    Wanted,
    WantedOfUser,
)

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Event",
    "InvalidRequestError",
    "ItemFacts",
    "RefusedError",
    "UnavailableError",
    "Wanted",
    "WantedOfUser",
]
