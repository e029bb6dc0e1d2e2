"""The HTTP application: its routes, its documentation, and the hot routes before them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

from litestar import Litestar, Request, Response

from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file
from serving.http.anomaly_routes import PATH
from serving.http.errors import REDACTED, REQUEST_ID_HEADER, new_request_id, told
from serving.http.fast_path import answered_hot
from serving.http.openapi import describe_bodies, documentation, page_files
from serving.http.query import InvalidValueError
from serving.http.routes import HANDLERS
from serving.http.worker import Worker
from serving.intake.events import MAX_BODY_BYTES

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]


class TextRequest(Request[Any, Any, Any]):
    """A request whose body is text, in which the framework would otherwise not expect anything else."""

    async def body(self) -> bytes:
        """The body; raises `InvalidValueError` where it is no UTF-8."""
        body = await super().body()
        try:
            body.decode()
        except UnicodeDecodeError:
            raise InvalidValueError("body", REDACTED, "JSON in UTF-8") from None
        return body


class Application:
    """The hot routes, and the framework for all others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.worker: Worker | None = None
        self.litestar = _framework(self, settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or live through the server's start and end."""
        if scope["type"] != "http" or self.worker is None:
            await self.litestar(scope, receive, send)  # type: ignore[arg-type]
            return
        if not await answered_hot(self.worker, scope, receive, send):
            await self._counted(self.worker, scope, receive, send)

    async def _counted(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        status = 500
        if scope["raw_path"].startswith(PATH):
            # Decoded, an id of slashes alone would make it the address of the list.
            scope["path"] = scope["raw_path"].decode("latin-1")

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self.litestar(scope, receive, sending)  # type: ignore[arg-type]
        route = scope.get("path_template", "other")
        worker.metrics.count("requests", route, str(status))
        worker.metrics.observe("request_seconds", perf_counter() - started, route)

    @asynccontextmanager
    async def lifespan(self, app: Litestar) -> AsyncGenerator[None]:
        """Open the worker's connections, and close them."""
        app.state.worker = worker = Worker(self._settings)
        async with worker.opened():
            self.worker = worker
            try:
                yield
            finally:
                self.worker = None


def create_app(settings: Settings | None = None) -> Application:
    """The application; its settings are the process' own where none are given."""
    settings = settings or load_settings(settings_file())
    configure_logging(settings.log_format)
    return Application(settings)


def _framework(application: Application, settings: Settings) -> Litestar:
    app = Litestar(
        [*HANDLERS, page_files()],
        lifespan=[application.lifespan],
        exception_handlers={Exception: _failed},
        request_max_body_size=MAX_BODY_BYTES,
        request_class=TextRequest,
        openapi_config=documentation(),
        logging_config=None,
        debug=False,
    )
    describe_bodies(app, settings.sources.event_weights)
    return app


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What went wrong, as JSON."""
    worker: Worker = request.app.state.worker
    request_id = request.scope.setdefault("state", {}).setdefault("request_id", new_request_id())
    status, content, headers = told(error, request.query_params.dict(), request_id, worker.outage)
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **headers})
