"""The two routes that are asked most, answered without the framework's way through routing and dependencies."""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from time import perf_counter
from typing import Any, Final

import msgspec
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec.structs import replace

from serving.api import AcceptedEvents
from serving.engine.engine import EngineResult
from serving.http.auth import Headers
from serving.http.errors import new_request_id, told
from serving.http.query import InvalidValueError, ListRequest, guest_user_id, parse_id, parse_list_request, parsed
from serving.http.worker import Worker
from serving.intake.events import MAX_BODY_BYTES

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

RECOMMENDATIONS: Final = "/v1/recommendations"
EVENTS: Final = "/v1/events"
ROOM_SECONDS: Final = 5
"""When to come again where there was no room."""

_PREFIX: Final = f"{RECOMMENDATIONS}/".encode()
_EVENTS: Final = EVENTS.encode()
_encode: Final = msgspec.json.Encoder().encode


async def answered_hot(worker: Worker, scope: Scope, receive: Receive, send: Send) -> bool:
    """Answer a request for recommendations, or with events, and say so; leave any other alone.

    An address that only the framework takes for one of these, as one with a slash too many, its handlers answer.
    """
    path: bytes = scope["raw_path"]
    if scope["method"] == "GET" and (path.startswith(_PREFIX) or path == _PREFIX[:-1]):
        await _recommendations(worker, scope, send)
        return True
    if scope["method"] == "POST" and path == _EVENTS:
        await _events(worker, scope, receive, send)
        return True
    return False


async def recommend(worker: Worker, headers: Headers, asked: ListRequest, request_id: str) -> EngineResult:
    """What a user is shown; raises `AccessError` unless the request shows a key for it, and what `Engine.recommend`
    does. A look behind the scenes is noted.
    """
    if not asked.debug:
        worker.access.check(headers, "read")
    else:
        key = worker.access.check(headers, "admin")
        worker.audit.note(key, "debug", worker.stored_id(asked.user_id))
    return await worker.engine.recommend(asked, request_id)


async def take(worker: Worker, body: bytes, request_id: str) -> tuple[int, AcceptedEvents, Mapping[str, str]]:
    """Status, content and headers for events that came; raises what `EventWriter.take` does."""
    taken = await worker.events.take(body)
    worker.count_events(taken)
    accepted = AcceptedEvents(request_id, taken.accepted, taken.shed, taken.errors)
    if taken.shed:
        return 429, accepted, {"Retry-After": str(ROOM_SECONDS)}
    return (202 if taken.accepted else 400), accepted, {}


def of_guest(query: bytes) -> ListRequest:
    """What is asked for the guest whose session the query string names."""
    asked = parse_list_request("", query)
    if asked.session_id is None:
        raise InvalidValueError("user_id", "")
    return replace(asked, user_id=guest_user_id(asked.session_id), session_id=None)


async def _recommendations(worker: Worker, scope: Scope, send: Send) -> None:
    started, request_id = perf_counter(), new_request_id()
    answered: EngineResult | None = None
    asked: ListRequest | None = None
    more: Mapping[str, str] = {}
    try:
        asked = _asked(scope["raw_path"], scope["query_string"])
        answered = await recommend(worker, scope["headers"], asked, request_id)
        status, body = 200, _encode(answered.answer)
    except Exception as error:
        status, body, more = _told(worker, scope, error, request_id)
    await _send(send, status, body, request_id, more)
    _count(worker, RECOMMENDATIONS, status, started)
    if answered is not None and asked is not None:
        worker.book(answered.answer, asked, answered.seconds)


async def _events(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    started, request_id = perf_counter(), new_request_id()
    more: Mapping[str, str] = {}
    try:
        worker.access.check(scope["headers"], "write")
        status, accepted, more = await take(worker, await _body(receive), request_id)
        body = _encode(accepted)
    except Exception as error:
        status, body, more = _told(worker, scope, error, request_id)
    await _send(send, status, body, request_id, more)
    _count(worker, EVENTS, status, started)


def _asked(raw_path: bytes, query: bytes) -> ListRequest:
    """What is asked, and for whom: without a user for the guest whose session is named."""
    if raw_path.rstrip(b"/") != _PREFIX[:-1]:
        return parse_list_request(parse_id(raw_path, _PREFIX), query)
    return of_guest(query)


async def _body(receive: Receive) -> bytes:
    """The body of a request; raises `RequestEntityTooLarge` before it takes more memory than it may."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise RequestEntityTooLarge
        if not message.get("more_body", False):
            return b"".join(parts)


def _told(worker: Worker, scope: Scope, error: Exception, request_id: str) -> tuple[int, bytes, Mapping[str, str]]:
    query: bytes = scope["query_string"]
    status, content, headers = told(error, parsed(query) if query else {}, request_id, worker.outage)
    return status, _encode(content), headers


async def _send(send: Send, status: int, body: bytes, request_id: str, more: Mapping[str, str]) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
    ]
    if more:
        headers += [(name.lower().encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _count(worker: Worker, route: str, status: int, started: float) -> None:
    worker.metrics.count("requests", route, str(status))
    worker.metrics.observe("request_seconds", perf_counter() - started, route)
