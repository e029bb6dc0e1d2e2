"""The OpenAPI document beside what the routes say of themselves, and the page that shows it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec
import swagger_ui
from litestar import Litestar, Response, Router
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router

import recsys
from serving.api import (
    AcceptedEvents,
    Anomalies,
    Anomaly,
    Batch,
    Failure,
    InvalidValue,
    ItemList,
    ItemState,
    LiveStatus,
    ReadyStatus,
    Recommendations,
    User,
    UserLabel,
)
from serving.http.anomaly_routes import LabelRequest
from serving.http.routes import BatchRequest, RankRequest
from serving.intake.event_parsing import Event
from serving.intake.items import ItemChange

PATH: Final = "/schema"
FILES: Final = f"{PATH}/files"
PAGE_FILES: Final = Path(swagger_ui.__file__).parent / "static"
NO_ICON: Final = "<link rel='icon' href='data:,'>"
DESCRIPTION: Final = """Recommendations from what was published last night and what users have done since.

Where there are API keys, a request shows one as `Authorization: Bearer …` or `X-API-Key`; a scope includes those
before it: read, write, admin. Ids go percent-encoded into a path, their slashes too. Answers under /v1
have an `X-Request-ID`; one that is no success is JSON and says why."""
BODIES: Final = (
    *(
        Recommendations,
        ItemList,
        Batch,
        User,
        AcceptedEvents,
        ItemState,
        LiveStatus,
        ReadyStatus,
        InvalidValue,
        Failure,
    ),
    *(Anomalies, Anomaly, UserLabel, LabelRequest),
    *(BatchRequest, RankRequest, Event, ItemChange),
)
EXAMPLES: Final[dict[str, Any]] = {
    "BatchRequest": {"user_ids": ["7", "8"], "n": 10},
    "RankRequest": {"user_id": "7", "item_ids": ["1082185", "995242"]},
    "Event": {"user_id": "7", "event": "purchase", "item_id": "1082185", "quantity": 2, "price": 3.5},
    "LabelRequest": {"label": "bot"},
    "ItemChange": {"available": False, "price": 3.5},
}


class Page(SwaggerRenderPlugin):
    """Swagger UI from the installed files, which asks no other host for anything."""

    def __init__(self) -> None:
        super().__init__(
            path="/page",
            js_url=f"{FILES}/swagger-ui-bundle.js",
            css_url=f"{FILES}/swagger-ui.css",
            standalone_preset_js_url=f"{FILES}/swagger-ui-standalone-preset.js",
            favicon=NO_ICON,
        )

    def receive_router(self, router: Router) -> None:
        """Nobody logs in by OAuth here: there is no page for it."""


def documentation() -> OpenAPIConfig:
    """What the framework makes the document of, beside the routes, and where it shows it."""
    return OpenAPIConfig(
        title="recsys",
        version=recsys.__version__,
        description=DESCRIPTION,
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "header": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        security=[{"bearer": []}, {"header": []}, {}],
        render_plugins=[Page(), JsonRenderPlugin()],
        openapi_router=Router(PATH, route_handlers=[], include_in_schema=False, after_request=_no_page),
    )


def page_files() -> Router:
    """The route of the files that the page is made of."""
    return create_static_files_router(FILES, [PAGE_FILES], include_in_schema=False)


def describe_bodies(app: Litestar, event_names: Iterable[str]) -> None:
    """Put msgspec's own schemas of bodies and answers into the document: they have what a value may be, and why."""
    _, schemas = msgspec.json.schema_components(BODIES, ref_template="#/components/schemas/{name}")
    schemas["Event"]["properties"]["event"]["enum"] = sorted(event_names)
    known: dict[str, Any] = app.openapi_schema.components.schemas
    for name, schema in schemas.items():
        known[name] = schema | ({"examples": [EXAMPLES[name]]} if name in EXAMPLES else {})


def _operation_id(handler: HTTPRouteHandler, method: Any, path: Any) -> str:
    del method, path
    return handler.handler_name


def _no_page(response: Response[Any]) -> Response[Any]:
    """What is not there under /schema is told as everywhere else, not by the framework's page."""
    if response.status_code == 404:
        raise NotFoundException
    return response
