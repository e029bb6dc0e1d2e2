"""The HTTP application: its routes, its documentation, and the hot routes before them."""

from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import swagger_ui
from litestar import Litestar, Request, Response, Router
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

import recsys
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file
from serving.errors import REQUEST_ID_HEADER, new_request_id, told
from serving.events import MOST_BODY_BYTES
from serving.hot_routes import answered_hot
from serving.routes import HANDLERS
from serving.worker import Worker

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Scope = MutableMapping[str, Any]

PAGE_FILES: Final = Path(swagger_ui.__file__).parent / "static"
NO_ICON: Final = "<link rel='icon' href='data:,'>"


class Application:
    """The hot routes, and the framework for all others."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.worker: Worker | None = None
        self.litestar = _framework(self)

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


def _framework(application: Application) -> Litestar:
    return Litestar(
        [
            *HANDLERS,
            create_static_files_router("/schema/files", [PAGE_FILES], include_in_schema=False),
        ],
        lifespan=[application.lifespan],
        exception_handlers={Exception: _failed},
        request_max_body_size=MOST_BODY_BYTES,
        openapi_config=OpenAPIConfig(
            title="recsys",
            version=recsys.__version__,
            use_handler_docstrings=True,
            components=Components(security_schemes={"key": SecurityScheme(type="http", scheme="bearer")}),
            security=[{"key": []}, {}],
            render_plugins=[
                JsonRenderPlugin(),
                SwaggerRenderPlugin(
                    path="/page",
                    js_url="/schema/files/swagger-ui-bundle.js",
                    css_url="/schema/files/swagger-ui.css",
                    standalone_preset_js_url="/schema/files/swagger-ui-standalone-preset.js",
                    favicon=NO_ICON,
                ),
            ],
            openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_no_page),
        ),
        logging_config=None,
        debug=False,
    )


def _failed(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """What went wrong, as JSON."""
    worker: Worker = request.app.state.worker
    request_id = request.scope.setdefault("state", {}).setdefault("request_id", new_request_id())
    status, content, headers = told(error, request.query_params.dict(), request_id, worker.outage)
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **headers})


def _no_page(response: Response[Any]) -> Response[Any]:
    """What is not there under /schema is told as everywhere else, not by the framework's page."""
    if response.status_code == 404:
        raise NotFoundException
    return response
