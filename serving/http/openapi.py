"""The OpenAPI document, made from the table of routes, and the page that shows it."""

import inspect
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from litestar import Litestar, MediaType, Response, Router
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    SecurityScheme,
)
from litestar.static_files import create_static_files_router

import recsys
from recsys.schema import MAX_ID_LENGTH
from serving.http.query import Field, query_fields
from serving.http.routing import JSON, Route, peer_of
from serving.http.worker import Worker
from serving.requests import EXPECTED, Cursor

PATH: Final = "/schema"
FILES: Final = f"{PATH}/files"
PAGE_PACKAGE: Final = "swagger_ui"
"""The package whose files the page needs; it is not imported, as its program is of no use here."""
NO_ICON: Final = "<link rel='icon' href='data:,'>"
REFERENCE: Final = "#/components/schemas/{name}"
DESCRIPTION: Final = """Recommendations from last night's published lists and from the events since then.

Where the server has API keys, a request shows one as `Authorization: Bearer …` or `X-API-Key`; the key has
the scope of the route. Bodies are `application/json`. Ids are percent-encoded in a path, their slashes too.
Answers under /v1 have an `X-Request-ID`; an error is JSON and says why."""
EXAMPLES: Final[dict[str, Any]] = {
    "BatchRequest": {"user_ids": ["7", "8"], "n": 10},
    "RankRequest": {"user_id": "7", "item_ids": ["1082185", "995242"]},
    "Event": {"user_id": "7", "event": "purchase", "item_id": "1082185", "quantity": 2, "price": 3.5},
    "LabelRequest": {"label": "bot"},
    "ItemChange": {"available": False, "price": 3.5, "valid_until": "2026-12-24T18:00:00Z"},
}
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
NO_KEY: Final[list[dict[str, list[str]]]] = [{}]


class Page(SwaggerRenderPlugin):
    """Swagger UI from the installed files, which requests nothing from other hosts."""

    def __init__(self) -> None:
        super().__init__(
            path="/page",
            js_url=f"{FILES}/swagger-ui-bundle.js",
            css_url=f"{FILES}/swagger-ui.css",
            standalone_preset_js_url=f"{FILES}/swagger-ui-standalone-preset.js",
            favicon=NO_ICON,
        )

    def receive_router(self, router: Router) -> None:
        """Add no page for a log-in by OAuth, which the server does not have."""


def documentation() -> OpenAPIConfig:
    """Return the parts of the document besides the routes, and the path of its page."""
    return OpenAPIConfig(
        title="recsys",
        version=recsys.__version__,
        description=DESCRIPTION,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer"),
                "header": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
        security=[{"bearer": []}, {"header": []}, {}],
        render_plugins=[Page(), JsonRenderPlugin()],
        openapi_router=Router(
            PATH, route_handlers=[], include_in_schema=False, after_request=_complete_page, guards=[check_access]
        ),
    )


def page_files() -> Router:
    """Return the route of the files of the page."""
    package = find_spec(PAGE_PACKAGE)
    assert package is not None
    assert package.origin is not None
    directory = Path(package.origin).parent / "static"
    return create_static_files_router(FILES, [directory], include_in_schema=False, guards=[check_access])


def check_access(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Raise `AccessError` for a request to the documentation without a key, where other machines can reach it."""
    del handler
    worker: Worker = connection.app.state.worker
    headers = connection.scope["headers"]
    worker.hosts.check(headers)
    if worker.is_public:
        worker.access.check(headers, peer_of(connection.scope), ("admin",))


def describe_routes(app: Litestar, routes: Sequence[Route], event_names: Iterable[str]) -> None:
    """Put the routes and the schemas of their bodies and answers into the framework's document."""
    document: Any = app.openapi_schema
    document.paths = {}
    for route in routes:
        item = document.paths.setdefault(route.path, PathItem())
        setattr(item, route.method.lower(), _operation(route))
    _, schemas = msgspec.json.schema_components(body_types(routes), ref_template=REFERENCE)
    schemas["Event"]["properties"]["event"]["enum"] = sorted(event_names)
    for name, schema in schemas.items():
        schemas[name] = schema | ({"examples": [EXAMPLES[name]]} if name in EXAMPLES else {})
    document.components.schemas = schemas


def body_types(routes: Iterable[Route]) -> list[Any]:
    """Return the types of all bodies and answers."""
    types: list[Any] = []
    for route in routes:
        contents = [response.content for response in (route.answer, *route.errors.values())]
        types += [kind for content in (route.body, *contents) for kind in _alternatives(content)]
    return [kind for kind in dict.fromkeys(types) if kind not in (None, str)]


def _operation(route: Route) -> Operation:
    description = inspect.getdoc(route.handler) or ""
    if route.scope is not None:
        description += f"\n\nNeeds the scope {route.scope}."
    if route.public_scope is not None:
        description += f"\n\nNeeds the scope {route.public_scope} where other machines can reach the server."
    responses: dict[str, OpenAPIResponse | Reference] = {
        str(status): OpenAPIResponse(
            description=response.description,
            content=None if response.content is None else {media_type: OpenAPIMediaType(_schema(response.content))},
        )
        for status, response, media_type in (
            (route.status, route.answer, route.media_type),
            *((status, response, JSON) for status, response in route.errors.items()),
        )
    }
    body = None if route.body is None else RequestBody({JSON: OpenAPIMediaType(_schema(route.body))}, required=True)
    return Operation(
        tags=[route.tag],
        summary=route.summary,
        description=description,
        operation_id=route.name,
        parameters=_parameters(route) or None,
        request_body=body,
        responses=responses,
        security=NO_KEY if route.scope is None and route.public_scope is None else None,
    )


def _parameters(route: Route) -> list[Parameter | Reference]:
    parameters: list[Parameter | Reference] = []
    if (name := route.id_name) is not None:
        schema: Any = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}
        parameters.append(Parameter(name, "path", schema=schema, description=EXPECTED[name], required=True))
    if route.query is not None:
        parameters += [_query_parameter(field, route) for field in query_fields(route.query).values()]
    return parameters


def _query_parameter(field: Field, route: Route) -> Parameter:
    is_required = field.name in route.required
    schema: Any = dict(_schema(str if field.type is Cursor else Annotated[field.type, field.meta]))
    schema.pop("uniqueItems", None)  # a repeated id is accepted
    if not is_required and field.default not in (None, frozenset(), ()):
        schema["default"] = field.default
    description = schema.pop("description", field.meta.description)
    return Parameter(field.name, "query", schema=schema, description=description, required=is_required)


@cache
def _schema(kind: Any) -> Any:
    """Return the JSON schema of a type or union, which is shared; structs are references to the components."""
    schemas, _ = msgspec.json.schema_components(_alternatives(kind), ref_template=REFERENCE)
    return schemas[0] if len(schemas) == 1 else {"oneOf": list(schemas)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is UnionType else (kind,)


def _complete_page(response: Response[Any]) -> Response[Any]:
    """Let a page run its own scripts alone; answer an unknown address under /schema like any other."""
    if response.status_code == 404:
        raise NotFoundException
    if response.media_type == MediaType.HTML:
        scripts = re.findall(rb"<script type='text/javascript'>(.*?)</script>", response.content, re.DOTALL)
        hashes = [f"'sha256-{b64encode(sha256(script).digest()).decode()}'" for script in scripts]
        response.headers["Content-Security-Policy"] = PAGE_POLICY.format(scripts=" ".join(hashes))
    return response
