"""A client of the server, for Python: `Client`, and `AsyncClient` for asyncio. It needs httpx and msgspec alone.

What is asked and how answers are read is in `serving.client.calls`; the two classes only send.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Literal, Self, Unpack

try:
    import httpx
except ModuleNotFoundError:
    raise ImportError("serving.client needs httpx: pip install 'recsys-engine[client]'") from None

from serving.api import (
    AcceptedEvents,
    Anomalies,
    Anomaly,
    Batch,
    ItemList,
    ItemState,
    ReadyStatus,
    Recommendations,
    User,
    UserLabel,
)
from serving.client.calls import (
    Answer,
    Call,
    ClientError,
    Context,
    Event,
    InvalidRequestError,
    ItemFacts,
    ListOptions,
    RefusedError,
    Reply,
    UnavailableError,
    UserListOptions,
    anomalies_call,
    anomaly_call,
    answer_of,
    batch_call,
    events_calls,
    item_call,
    label_call,
    popular_call,
    rank_call,
    ready_call,
    recommendations_call,
    release_call,
    similar_call,
    trending_call,
    user_call,
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
    "ListOptions",
    "UserListOptions",
]


class Client:
    """Asks a server, one request after the other or from several threads."""

    def __init__(self, address: str, key: str | None = None, timeout: float = 1.0, patience: float = 30.0) -> None:
        """`address` as in http://127.0.0.1:8000, `timeout` in seconds for each step of a request.

        `patience` is how many seconds events wait for a server that has no room or does not answer.
        """
        self._http = httpx.Client(base_url=address, headers=_headers(key), timeout=timeout)
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def recommendations(self, user_id: str | None = None, **options: Unpack[UserListOptions]) -> Recommendations:
        """The best items for a user now; without one for the guest whose `session_id` is given."""
        return self._ask(recommendations_call(user_id, options))

    def similar(self, item_id: str, **options: Unpack[ListOptions]) -> ItemList:
        """Items like one."""
        return self._ask(similar_call(item_id, options))

    def trending(self, **options: Unpack[ListOptions]) -> ItemList:
        """Items on the rise."""
        return self._ask(trending_call(options))

    def popular(self, **options: Unpack[ListOptions]) -> ItemList:
        """Popular items."""
        return self._ask(popular_call(options))

    def batch(self, user_ids: Iterable[str], n: int = 20, context: Context = "home") -> Batch:
        """A list for each of up to 500 users."""
        return self._ask(batch_call(user_ids, n, context))

    def rank(self, user_id: str, item_ids: Iterable[str], context: Context = "home") -> Recommendations:
        """The given items, the best for the user first."""
        return self._ask(rank_call(user_id, item_ids, context))

    def user(self, user_id: str) -> User:
        """What is known of a user; needs the scope admin."""
        return self._ask(user_call(user_id))

    def send_events(self, events: Iterable[Event]) -> AcceptedEvents:
        """Tell what users did; any number of events, sent again where that is needed."""
        calls = events_calls(events, self._patience)
        try:
            call = next(calls)
            while True:
                call = calls.send(self._send(call))
        except StopIteration as done:
            return done.value

    def put_item(self, item_id: str, **facts: Unpack[ItemFacts]) -> ItemState:
        """Change an item; what is not given stays as it is."""
        return self._ask(item_call(item_id, facts))

    def anomalies(self, n: int = 100, offset: int = 0) -> Anomalies:
        """Who is held back; needs the scope admin, as the next three do."""
        return self._ask(anomalies_call(n, offset))

    def anomaly(self, user_id: str) -> Anomaly:
        """Why a user is held back."""
        return self._ask(anomaly_call(user_id))

    def release(self, user_id: str) -> UserLabel:
        """Hold a user back no longer, nor again automatically."""
        return self._ask(release_call(user_id))

    def label(self, user_id: str, label: Literal["bot", "fine"]) -> UserLabel:
        """Say what a user is; a bot is held back at once."""
        return self._ask(label_call(user_id, label))

    def ready(self) -> ReadyStatus:
        """Whether there are lists to answer with; raises `UnavailableError` while there are none."""
        return self._ask(ready_call())

    def _ask(self, call: Call[Answer]) -> Answer:
        return answer_of(call, self._send(call))

    def _send(self, call: Call[Any]) -> Reply:
        time.sleep(call.after)
        try:
            return self._http.request(call.method, call.path, params=call.query, content=call.body)
        except httpx.TransportError as error:
            return _unreached(error)


class AsyncClient:
    """Asks a server from asyncio: what `Client` does, awaited."""

    def __init__(self, address: str, key: str | None = None, timeout: float = 1.0, patience: float = 30.0) -> None:
        """As of `Client`."""
        self._http = httpx.AsyncClient(base_url=address, headers=_headers(key), timeout=timeout)
        self._patience = patience

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def recommendations(
        self, user_id: str | None = None, **options: Unpack[UserListOptions]
    ) -> Recommendations:
        """As of `Client`."""
        return await self._ask(recommendations_call(user_id, options))

    async def similar(self, item_id: str, **options: Unpack[ListOptions]) -> ItemList:
        """As of `Client`."""
        return await self._ask(similar_call(item_id, options))

    async def trending(self, **options: Unpack[ListOptions]) -> ItemList:
        """As of `Client`."""
        return await self._ask(trending_call(options))

    async def popular(self, **options: Unpack[ListOptions]) -> ItemList:
        """As of `Client`."""
        return await self._ask(popular_call(options))

    async def batch(self, user_ids: Iterable[str], n: int = 20, context: Context = "home") -> Batch:
        """As of `Client`."""
        return await self._ask(batch_call(user_ids, n, context))

    async def rank(self, user_id: str, item_ids: Iterable[str], context: Context = "home") -> Recommendations:
        """As of `Client`."""
        return await self._ask(rank_call(user_id, item_ids, context))

    async def user(self, user_id: str) -> User:
        """As of `Client`."""
        return await self._ask(user_call(user_id))

    async def send_events(self, events: Iterable[Event]) -> AcceptedEvents:
        """As of `Client`."""
        calls = events_calls(events, self._patience)
        try:
            call = next(calls)
            while True:
                call = calls.send(await self._send(call))
        except StopIteration as done:
            return done.value

    async def put_item(self, item_id: str, **facts: Unpack[ItemFacts]) -> ItemState:
        """As of `Client`."""
        return await self._ask(item_call(item_id, facts))

    async def anomalies(self, n: int = 100, offset: int = 0) -> Anomalies:
        """As of `Client`."""
        return await self._ask(anomalies_call(n, offset))

    async def anomaly(self, user_id: str) -> Anomaly:
        """As of `Client`."""
        return await self._ask(anomaly_call(user_id))

    async def release(self, user_id: str) -> UserLabel:
        """As of `Client`."""
        return await self._ask(release_call(user_id))

    async def label(self, user_id: str, label: Literal["bot", "fine"]) -> UserLabel:
        """As of `Client`."""
        return await self._ask(label_call(user_id, label))

    async def ready(self) -> ReadyStatus:
        """As of `Client`."""
        return await self._ask(ready_call())

    async def _ask(self, call: Call[Answer]) -> Answer:
        return answer_of(call, await self._send(call))

    async def _send(self, call: Call[Any]) -> Reply:
        await asyncio.sleep(call.after)
        try:
            return await self._http.request(call.method, call.path, params=call.query, content=call.body)
        except httpx.TransportError as error:
            return _unreached(error)


def _unreached(error: httpx.TransportError) -> UnavailableError:
    return UnavailableError(f"the server does not answer: {str(error) or type(error).__name__}")


def _headers(key: str | None) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
