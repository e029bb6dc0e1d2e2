"""The HTTP application: the fast routes, and the framework for everything else."""

import asyncio
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import quote

from litestar import Litestar, Request, Response
from litestar.handlers import HTTPRouteHandler

from recsys.event_ids import new_id
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file
from serving.http.bodies import Receive
from serving.http.errors import REQUEST_ID_HEADER, error_response
from serving.http.fast_path import SAFETY_HEADERS, Scope, Send, answer_fast
from serving.http.openapi import describe_routes, documentation, page_files
from serving.http.routes import ROUTES
from serving.http.routing import Call, Route, peer_of
from serving.http.worker import Worker
from serving.intake.events import MAX_BODY_BYTES

ID_PREFIXES = tuple({route.prefix.encode() for route in ROUTES if route.id_name is not None})
PROBES = frozenset(route.path for route in ROUTES if route.is_probe)


class Application:
    """The ASGI application of a worker process."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self._settings, self._now = settings, now
        self.worker: Worker | None = None
        """None before the server has started and after it has stopped."""
        self.litestar = _framework(self, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's start and end."""
        if scope["type"] != "http" or self.worker is None:
            await self.litestar(scope, receive, send)  # type: ignore[arg-type]
            return
        if scope["method"] == "HEAD" and scope["path"] in PROBES:
            scope["method"], send = "GET", partial(_send_without_body, send)
        if not await answer_fast(self.worker, scope, receive, send):
            await self._answer_by_framework(self.worker, scope, receive, send)

    async def _answer_by_framework(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status = 500
        if scope["raw_path"].startswith(ID_PREFIXES):
            # Once decoded, an id of slashes alone would be no id, and the path that of a list.
            scope["path"] = scope["raw_path"].decode("latin-1")

        async def send_and_note_status(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *SAFETY_HEADERS]
            await send(message)

        await self.litestar(scope, receive, send_and_note_status)  # type: ignore[arg-type]
        worker.metrics.record_request(scope.get("path_template", "other"), status, perf_counter() - started)

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Open the worker's connections for as long as the application lives."""
        app.state.worker = worker = Worker(self._settings, self._now)
        async with worker.running():
            self.worker = worker
            with _on_sigterm(worker.bodies.stop), _ending_with_parent():
                try:
                    yield
                finally:
                    self.worker = None


@contextmanager
def _ending_with_parent() -> Generator[None]:
    """End a worker's process when the server's is gone: nobody else would end it and free the port."""
    parent, loop = multiprocessing.parent_process(), asyncio.get_running_loop()
    if parent is None:
        yield
        return

    def end() -> None:
        loop.remove_reader(parent.sentinel)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(parent.sentinel, end)
    try:
        yield
    finally:
        loop.remove_reader(parent.sentinel)


@contextmanager
def _on_sigterm(stop: Callable[[], None]) -> Generator[None]:
    """Call a function when the process is asked to end, beside the server's own handler, which the loop calls."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    previous = signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


async def _send_without_body(send: Send, message: MutableMapping[str, Any]) -> None:
    """Send a part of an answer, of its body only that it ends."""
    await send({**message, "body": b""} if message["type"] == "http.response.body" else message)


def create_app(settings: Settings | None = None, now: Callable[[], float] = time.time) -> Application:
    """Create the application; without `settings` it reads those of the process. `now` returns Unix seconds."""
    settings = settings or load_settings(settings_file())
    configure_logging(settings.log_format)
    return Application(settings, now)


def _framework(application: Application, settings: Settings) -> Litestar:
    app = Litestar(
        [*map(_framework_handler, ROUTES), page_files()],
        lifespan=[application.lifespan],
        exception_handlers={Exception: _error_response},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=documentation(),
        logging_config=None,
        debug=False,
    )
    describe_routes(app, ROUTES, settings.sources.event_weights)
    return app


def _framework_handler(route: Route) -> HTTPRouteHandler:
    """Make the framework call the handler of a route."""

    async def respond(request: Request[Any, Any, Any]) -> Response[Any]:
        scope, request_id = request.scope, _request_id(request)
        worker: Worker = request.app.state.worker
        call = Call(
            worker,
            _encoded_id(route, request),
            scope["query_string"],
            scope["headers"],
            request_id,
            peer_of(scope),
        )
        result = await route.run(call, partial(worker.bodies.read, request.receive, scope["headers"]))
        if result.after_send is not None:
            result.after_send()
        headers = {} if route.scope is None else {REQUEST_ID_HEADER: request_id}
        return Response(
            result.content,
            status_code=result.status or route.status,
            headers={**headers, **result.headers},
            media_type=route.media_type,
        )

    path = route.path.replace("}", ":path}")
    return HTTPRouteHandler(
        path,
        http_method=route.method,
        status_code=route.status,
        media_type=route.media_type,
        include_in_schema=False,
    )(respond)


def _encoded_id(route: Route, request: Request[Any, Any, Any]) -> bytes:
    """Return the id at the end of the path as it was sent; the framework decodes it, including slashes."""
    if route.id_name is None:
        return b""
    raw_path, prefix = request.scope["raw_path"], route.prefix.encode()
    if prefix in raw_path:
        return raw_path.partition(prefix)[2]
    return quote(request.path_params[route.id_name].removeprefix("/")).encode()  # the prefix is encoded too


def _request_id(request: Request[Any, Any, Any]) -> str:
    return request.scope.setdefault("state", {}).setdefault("request_id", new_id())


def _error_response(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    request_id = _request_id(request)
    status, content, headers = error_response(error, request_id, request.app.state.worker.outage_log)
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **headers})
