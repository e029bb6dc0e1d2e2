"""What handlers of routes have in common: who asks, with which key, and how they are answered."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from litestar import Request, Response
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard
from msgspec import Meta

from recsys.api_keys import Scope
from recsys.schema import MAX_ID_LENGTH
from serving.http.errors import REQUEST_ID_HEADER, new_request_id
from serving.http.worker import Worker

AnyRequest = Request[Any, Any, Any]
Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description=f"1 to {MAX_ID_LENGTH} characters, none white space or a control character",
    ),
]
FACTS: Final = ["Users, events and items"]


def worker_of(request: AnyRequest) -> Worker:
    """The worker that answers."""
    return request.app.state.worker


def needs(scope: Scope) -> Guard:
    """Lets in who shows a key with this scope, before the body is read."""

    async def let_in(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        worker: Worker = connection.app.state.worker
        key = worker.access.check(connection.scope["headers"], scope)
        connection.scope.setdefault("state", {})["key"] = key

    return let_in


def note(request: AnyRequest, action: str, user_id: str) -> None:
    """Add to the audit log what is done, and to whom."""
    worker = worker_of(request)
    worker.audit.note(request.scope["state"]["key"], action, worker.stored_id(user_id))


def request_id_of(request: AnyRequest) -> str:
    """What an answer to the request is called."""
    return request.scope.setdefault("state", {}).setdefault("request_id", new_request_id())


def answer(
    content: Any, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    """An answer that says what it is called."""
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **(headers or {})})
