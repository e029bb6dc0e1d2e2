"""The HTTP application: routes, and what lives as long as a worker."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

from litestar import Litestar, Request, Response, Router, get
from litestar.exceptions import HTTPException, NotFoundException, ValidationException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.params import Parameter

import recsys
from recsys.errors import StoreError
from recsys.logs import configure_logging
from recsys.settings import Settings, load_settings, settings_file
from recsys.store.connection_async import connect_async
from recsys.store.keys import Keys
from serving import errors
from serving.errors import REQUEST_ID_HEADER, Failure, Invalid, Outage, request_id_of
from serving.lists import Lists
from serving.recommendations import (
    DEFAULT_N,
    EXPECTED,
    MOST_N,
    USER_ID,
    InvalidValueError,
    N,
    Recommendations,
    answer,
    user_of,
)

RECOMMENDATIONS: Final = "/v1/recommendations"

UserId = Annotated[str, Parameter(description=EXPECTED[USER_ID])]
Count = Annotated[int, Parameter(ge=1, le=MOST_N, description=f"Most items to answer with: {EXPECTED[N]}")]


@get(
    f"{RECOMMENDATIONS}/{{user_id:path}}",
    summary="Recommendations for a user",
    responses={
        400: ResponseSpec(Invalid, description="The user id or n is not accepted"),
        503: ResponseSpec(Failure, description="Redis does not answer, or nothing is published yet"),
    },
)
async def recommendations(
    request: Request[Any, Any, Any],
    user_id: UserId,  # noqa: ARG001 - decoded too early: a slash that belongs to an id looks like any other
    n: Count = DEFAULT_N,
) -> Response[Recommendations]:
    """The user's own list, best first; the popular one for a user without."""
    asked = user_of(request.scope["raw_path"], f"{RECOMMENDATIONS}/".encode())
    request_id = request_id_of(request)
    found = await request.app.state.lists.user(asked)
    return Response(answer(asked, found, n, request_id), headers={REQUEST_ID_HEADER: request_id})


@get([RECOMMENDATIONS, f"{RECOMMENDATIONS}/"], include_in_schema=False)
async def no_user(request: Request[Any, Any, Any], n: Count = DEFAULT_N) -> Response[Recommendations]:
    """What the router makes of an id that is empty, or of slashes alone."""
    return await recommendations.fn(request, "", n)


@get("/live", summary="Whether the process answers")
async def live() -> dict[str, str]:
    """200 while it does, whatever the state of Redis."""
    return {"status": "live"}


@get(
    "/ready",
    summary="Whether recommendations can be answered",
    responses={503: ResponseSpec(Failure, description="Redis does not answer, or nothing is published yet")},
)
async def ready(request: Request[Any, Any, Any]) -> dict[str, str]:
    """200 with the live version while Redis answers and has one."""
    return {"status": "ready", "version": await request.app.state.lists.live()}


def create_app(settings: Settings | None = None) -> Litestar:
    """The application; its settings are the process' own where none are given."""
    settings = settings or load_settings(settings_file())
    configure_logging(settings.log_format)
    return Litestar(
        [recommendations, no_user, live, ready],
        lifespan=[_lists_of(settings)],
        exception_handlers={
            InvalidValueError: errors.invalid,
            ValidationException: errors.unreadable,
            StoreError: errors.unavailable,
            HTTPException: errors.refused,
            Exception: errors.broken,
        },
        openapi_config=OpenAPIConfig(
            title="recsys",
            version=recsys.__version__,
            use_handler_docstrings=True,
            render_plugins=[JsonRenderPlugin()],
            openapi_router=Router("/schema", route_handlers=[], include_in_schema=False, after_request=_no_page),
        ),
        logging_config=None,
        debug=False,
    )


def _lists_of(settings: Settings) -> Any:
    """Opens a worker's connections to Redis, and closes them."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        connections = settings.serving.redis_connections
        client, keys = connect_async(settings.redis, connections), Keys(settings.redis.namespace)
        app.state.outage = Outage()
        app.state.lists = lists = Lists(client, keys, settings.redis.timeout_seconds, connections)
        try:
            yield
        finally:
            await lists.close()

    return lifespan


def _no_page(response: Response[Any]) -> Response[Any]:
    """What is not there under /schema is told as everywhere else, not by the framework's page."""
    if response.status_code == 404:
        raise NotFoundException
    return response
