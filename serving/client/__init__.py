"""Client of the HTTP server, synchronous and asyncio; it needs httpx and msgspec only."""

from serving.client.calls import (
    ClientError,
    Event,
    InvalidRequestError,
    ItemFacts,
    ListOptions,
    RefusedError,
    UnavailableError,
    UserListOptions,
)
from serving.client.client import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Event",
    "InvalidRequestError",
    "ItemFacts",
    "ListOptions",
    "RefusedError",
    "UnavailableError",
    "UserListOptions",
]
