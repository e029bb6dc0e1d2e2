"""The Python client of the server: `Client`, and `AsyncClient` for asyncio. It needs httpx and msgspec only.

`serving.client.calls` builds the requests and reads the answers; the two classes only send.
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
    Context,
    ItemList,
    ItemState,
    ListName,
    ReadyStatus,
    Recommendations,
    User,
    UserLabel,
)
from serving.client.calls import (
    Answer,
    Call,
    Event,
    ItemConditions,
    ItemFacts,
    ListOptions,
    Reply,
    UnavailableError,
    UserListOptions,
    anomalies_call,
    anomaly_call,
    batch_call,
    events_calls,
    item_call,
    label_call,
    popular_call,
    rank_call,
    read_answer,
    ready_call,
    recommendations_call,
    release_call,
    similar_call,
    trending_call,
    user_call,
)


class BatchOptions(ItemConditions, total=False):
    """Conditions on the items of many users' lists, and which of their lists."""

    list: ListName


class Client:
    """A client that sends one request after the other; several threads may share it."""

    def __init__(self, address: str, key: str | None = None, timeout: float = 1.0, patience: float = 30.0) -> None:
        """Create a client of the server at `address`, as http://127.0.0.1:8000.

        `timeout` bounds each step of a request in seconds; `patience` is how many seconds events wait for a server
        that has no room or does not answer.
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
        """Return the best items for a user now; without a user, for the guest whose `session_id` is given."""
        return self._execute(recommendations_call(user_id, options))

    def similar(self, item_id: str, **options: Unpack[ListOptions]) -> ItemList:
        """Return items similar to one."""
        return self._execute(similar_call(item_id, options))

    def trending(self, **options: Unpack[ListOptions]) -> ItemList:
        """Return trending items."""
        return self._execute(trending_call(options))

    def popular(self, **options: Unpack[ListOptions]) -> ItemList:
        """Return popular items."""
        return self._execute(popular_call(options))

    def batch(
        self, user_ids: Iterable[str], n: int = 20, context: Context = "home", **options: Unpack[BatchOptions]
    ) -> Batch:
        """Return a list of items that meet the conditions for each of up to 500 users."""
        return self._execute(batch_call(user_ids, n, context, options))

    def rank(
        self, user_id: str, item_ids: Iterable[str], context: Context = "home", **conditions: Unpack[ItemConditions]
    ) -> Recommendations:
        """Return the given items that meet the conditions, the best for the user first."""
        return self._execute(rank_call(user_id, item_ids, context, conditions))

    def user(self, user_id: str, is_pseudonym: bool = False) -> User:
        """Return profile, session and flag of a user; needs the scope admin."""
        return self._execute(user_call(user_id, is_pseudonym))

    def send_events(self, events: Iterable[Event]) -> AcceptedEvents:
        """Send any number of events, each request again while the server has no room or does not answer."""
        calls = events_calls(events, self._patience)
        try:
            call = next(calls)
            while True:
                call = calls.send(self._send(call))
        except StopIteration as done:
            return done.value

    def put_item(self, item_id: str, **facts: Unpack[ItemFacts]) -> ItemState:
        """Change an item; a value that is not given stays as it is."""
        return self._execute(item_call(item_id, facts))

    def anomalies(self, n: int = 100, offset: int = 0) -> Anomalies:
        """Return flagged users; needs the scope admin, as the next three do."""
        return self._execute(anomalies_call(n, offset))

    def anomaly(self, user_id: str, is_pseudonym: bool = False) -> Anomaly:
        """Return the flag of a user, who is given by the pseudonym if `is_pseudonym`."""
        return self._execute(anomaly_call(user_id, is_pseudonym))

    def release(self, user_id: str, is_pseudonym: bool = False) -> UserLabel:
        """Remove the flag of a user, who is never flagged automatically again."""
        return self._execute(release_call(user_id, is_pseudonym))

    def label(self, user_id: str, label: Literal["bot", "fine"], is_pseudonym: bool = False) -> UserLabel:
        """Label a user; a bot is flagged at once."""
        return self._execute(label_call(user_id, label, is_pseudonym))

    def ready(self) -> ReadyStatus:
        """Return the version of the lists; raises `UnavailableError` while there are none."""
        return self._execute(ready_call())

    def _execute(self, call: Call[Answer]) -> Answer:
        return read_answer(call, self._send(call))

    def _send(self, call: Call[Any]) -> Reply:
        time.sleep(call.delay)
        try:
            return self._http.request(call.method, call.path, params=call.query, content=call.body)
        except httpx.TransportError as error:
            return _no_answer_error(error)


class AsyncClient:
    """A client for asyncio, with the methods of `Client`."""

    def __init__(self, address: str, key: str | None = None, timeout: float = 1.0, patience: float = 30.0) -> None:
        """Create a client with the arguments of `Client`."""
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
        """See `Client.recommendations`."""
        return await self._execute(recommendations_call(user_id, options))

    async def similar(self, item_id: str, **options: Unpack[ListOptions]) -> ItemList:
        """See `Client.similar`."""
        return await self._execute(similar_call(item_id, options))

    async def trending(self, **options: Unpack[ListOptions]) -> ItemList:
        """See `Client.trending`."""
        return await self._execute(trending_call(options))

    async def popular(self, **options: Unpack[ListOptions]) -> ItemList:
        """See `Client.popular`."""
        return await self._execute(popular_call(options))

    async def batch(
        self, user_ids: Iterable[str], n: int = 20, context: Context = "home", **options: Unpack[BatchOptions]
    ) -> Batch:
        """See `Client.batch`."""
        return await self._execute(batch_call(user_ids, n, context, options))

    async def rank(
        self, user_id: str, item_ids: Iterable[str], context: Context = "home", **conditions: Unpack[ItemConditions]
    ) -> Recommendations:
        """See `Client.rank`."""
        return await self._execute(rank_call(user_id, item_ids, context, conditions))

    async def user(self, user_id: str, is_pseudonym: bool = False) -> User:
        """See `Client.user`."""
        return await self._execute(user_call(user_id, is_pseudonym))

    async def send_events(self, events: Iterable[Event]) -> AcceptedEvents:
        """See `Client.send_events`."""
        calls = events_calls(events, self._patience)
        try:
            call = next(calls)
            while True:
                call = calls.send(await self._send(call))
        except StopIteration as done:
            return done.value

    async def put_item(self, item_id: str, **facts: Unpack[ItemFacts]) -> ItemState:
        """See `Client.put_item`."""
        return await self._execute(item_call(item_id, facts))

    async def anomalies(self, n: int = 100, offset: int = 0) -> Anomalies:
        """See `Client.anomalies`."""
        return await self._execute(anomalies_call(n, offset))

    async def anomaly(self, user_id: str, is_pseudonym: bool = False) -> Anomaly:
        """See `Client.anomaly`."""
        return await self._execute(anomaly_call(user_id, is_pseudonym))

    async def release(self, user_id: str, is_pseudonym: bool = False) -> UserLabel:
        """See `Client.release`."""
        return await self._execute(release_call(user_id, is_pseudonym))

    async def label(self, user_id: str, label: Literal["bot", "fine"], is_pseudonym: bool = False) -> UserLabel:
        """See `Client.label`."""
        return await self._execute(label_call(user_id, label, is_pseudonym))

    async def ready(self) -> ReadyStatus:
        """See `Client.ready`."""
        return await self._execute(ready_call())

    async def _execute(self, call: Call[Answer]) -> Answer:
        return read_answer(call, await self._send(call))

    async def _send(self, call: Call[Any]) -> Reply:
        await asyncio.sleep(call.delay)
        try:
            return await self._http.request(call.method, call.path, params=call.query, content=call.body)
        except httpx.TransportError as error:
            return _no_answer_error(error)


def _no_answer_error(error: httpx.TransportError) -> UnavailableError:
    return UnavailableError(f"the server does not answer: {str(error) or type(error).__name__}")


def _headers(key: str | None) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
