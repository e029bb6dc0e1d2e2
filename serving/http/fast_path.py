"""Answer calls of the fast routes without the framework's routing and dependencies."""

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from time import perf_counter
from typing import Any, Final

import msgspec

from recsys.event_ids import new_id
from serving.http.bodies import Receive
from serving.http.errors import error_response
from serving.http.routes import ROUTES
from serving.http.routing import Call, Result, Route, peer_of
from serving.http.worker import Worker

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_FAST: Final = [route for route in ROUTES if route.is_fast]
_EXACT: Final = {(route.method, route.path.encode()): route for route in _FAST if route.id_name is None}
_PREFIXES: Final = [(route.method, route.prefix.encode(), route) for route in _FAST if route.id_name is not None]
_LABELS: Final = {route.name: route.prefix.rstrip("/") for route in _FAST}
"""Name of a route -> its label in the metrics."""

SAFETY_HEADERS: Final = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
"""Headers of every answer: browsers take it for nothing else, and nobody stores it."""

_encode: Final = msgspec.json.Encoder().encode


async def answer_fast(worker: Worker, scope: Scope, receive: Receive, send: Send) -> bool:
    """Answer a call of a fast route; return False for any other call, without reading it.

    A path that only the framework matches with a fast route, such as one with a doubled slash, reaches the same
    handler through the framework.
    """
    match = find_route(scope["method"], scope["raw_path"])
    if match is None:
        return False
    route, encoded_id = match
    started, request_id = perf_counter(), new_id()
    call = Call(worker, encoded_id, scope["query_string"], scope["headers"], request_id, peer_of(scope))
    result: Result | None = None
    try:
        result = await route.run(call, partial(worker.bodies.read, receive, scope["headers"]))
        status, body, headers = result.status or route.status, _encode(result.content), result.headers
    except Exception as error:
        status, content, headers = error_response(error, request_id, worker.outage_log)
        body = _encode(content)
    answer_headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        *SAFETY_HEADERS,
        *((name.lower().encode(), value.encode()) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": answer_headers})
    await send({"type": "http.response.body", "body": body})
    worker.metrics.record_request(_LABELS[route.name], status, perf_counter() - started)
    if result is not None and result.after_send is not None:
        result.after_send()
    return True


def find_route(method: str, path: bytes) -> tuple[Route, bytes] | None:
    """Return the fast route of a path, and the percent-encoded id at its end; None if no fast route matches."""
    if (route := _EXACT.get((method, path))) is not None:
        return route, b""
    for route_method, prefix, route in _PREFIXES:
        if method == route_method and path.startswith(prefix):
            encoded_id = path[len(prefix) :]
            # Slashes alone are no id.
            return (route, encoded_id) if encoded_id.strip(b"/") else (_EXACT[method, prefix[:-1]], b"")
    return None
