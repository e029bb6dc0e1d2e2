"""The routes, with what their documentation says of them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post, put
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.handlers import BaseRouteHandler
from litestar.openapi.spec import SecurityRequirement
from litestar.params import JSONBody
from litestar.types import Guard
from msgspec import Meta, Struct

from recsys.api_keys import Scope
from recsys.errors import NothingPublishedError
from recsys.schema import ID_LENGTH, ITEM_ID, USER_ID
from serving.answers import (
    Accepted,
    Batch,
    ItemList,
    ItemState,
    Live,
    Ready,
    RecentEvent,
    Recommendations,
    User,
)
from serving.asked import (
    DEFAULT_N,
    MOST_N,
    MOST_RANKED,
    MOST_USERS,
    Asked,
    Context,
    asked_of,
    checked_id,
    id_of,
)
from serving.errors import REQUEST_ID_HEADER, new_request_id
from serving.events import Event
from serving.hot_routes import of_guest, recommend, take
from serving.items import ItemChange
from serving.outcomes import INVALID, LISTED, NOTHING, REFUSED, TAKEN, TOO_LONG, UNANSWERED
from serving.parameters import (
    After,
    Brand,
    Category,
    Count,
    Debug,
    Exclude,
    GuestSession,
    ItemId,
    Offset,
    PriceMax,
    PriceMin,
    Session,
    UserId,
    Where,
)
from serving.worker import Worker

AT_ONCE: Final = 50
"""Users of a batch that share a round trip; between them others are answered."""

AnyRequest = Request[Any, Any, Any]
Given = NamedDependency[Asked]
Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=ID_LENGTH,
        description=f"1 to {ID_LENGTH} characters, none white space or a control character",
    ),
]

LISTS: Final = ["Lists"]
FACTS: Final = ["Users, events and items"]
SERVER: Final = ["The server"]
METRICS_TYPE: Final = "text/plain; version=0.0.4"
OPEN: Final[list[SecurityRequirement]] = [{}]
"""No key is needed."""


class BatchOfUsers(Struct, forbid_unknown_fields=True):
    """Whose lists are wanted."""

    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=MOST_USERS)]
    n: Annotated[int, Meta(ge=1, le=MOST_N)] = DEFAULT_N
    context: Context = "home"


class ItemsToRank(Struct, forbid_unknown_fields=True):
    """Items to put in order for a user."""

    user_id: Id
    item_ids: Annotated[list[Id], Meta(min_length=1, max_length=MOST_RANKED)]
    context: Context = "home"


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


async def asked(
    request: AnyRequest,
    n: Count = DEFAULT_N,
    offset: Offset = 0,
    category: Category = None,
    brand: Brand = None,
    price_min: PriceMin = None,
    price_max: PriceMax = None,
    exclude: Exclude = None,
) -> Asked:
    """What the parameters of a list ask for."""
    del n, offset, category, brand, price_min, price_max, exclude
    return asked_of("", request.scope["query_string"])


@get(
    "/v1/recommendations/{user_id:path}",
    summary="Recommendations for a user",
    response_description="The list; `cursor` asks for its next page",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
    tags=LISTS,
)
async def recommendations(
    request: AnyRequest,
    given: Given,
    user_id: UserId,
    cursor: After = None,
    context: Where = "home",
    session_id: Session = None,
    debug: Debug = 0,
) -> Response[Recommendations]:
    """The best items for a user now: the own list, neighbours of what the session has touched, what is bought
    with it; then what is popular where the user buys, and in the shop. Needs the scope read.
    """
    del given, cursor, context, session_id, debug
    wanted = asked_of(checked_id(user_id.removeprefix("/"), USER_ID), request.scope["query_string"])
    return await _recommended(request, wanted)


@get(
    "/v1/recommendations",
    summary="Recommendations for a guest",
    response_description="The list; `cursor` asks for its next page",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
    tags=LISTS,
)
async def guest_recommendations(
    request: AnyRequest,
    given: Given,
    session_id: GuestSession,
    cursor: After = None,
    context: Where = "home",
    debug: Debug = 0,
) -> Response[Recommendations]:
    """The best items for somebody of whom only a session is known. Needs the scope read."""
    del given, session_id, cursor, context, debug
    return await _recommended(request, of_guest(request.scope["query_string"]))


@get(
    "/v1/similar/{item_id:path}",
    summary="Items like one",
    response_description="The list",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
    tags=LISTS,
    guards=[needs("read")],
)
async def similar(request: AnyRequest, given: Given, item_id: ItemId) -> Response[ItemList]:
    """The items most like one, then popular ones of its category, then of the shop. Needs the scope read."""
    del item_id
    worker = worker_of(request)
    wanted = id_of(request.scope["raw_path"], b"/v1/similar/", ITEM_ID)
    request_id = _request_id(request)
    return _answer(await worker.engine.similar(wanted, given, request_id), request_id)


@get(
    "/v1/trending",
    summary="Items on the rise",
    response_description="The list",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
    tags=LISTS,
    guards=[needs("read")],
)
async def trending(request: AnyRequest, given: Given) -> Response[ItemList]:
    """Items that are bought more than usual, then popular ones. Needs the scope read."""
    worker, request_id = worker_of(request), _request_id(request)
    return _answer(await worker.engine.trending(given, request_id), request_id)


@get(
    "/v1/popular",
    summary="Popular items",
    response_description="The list",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
    tags=LISTS,
    guards=[needs("read")],
)
async def popular(request: AnyRequest, given: Given) -> Response[ItemList]:
    """The most popular items, of a category, brand or price where one is named. Needs the scope read."""
    worker, request_id = worker_of(request), _request_id(request)
    return _answer(await worker.engine.popular(given, request_id), request_id)


@post(
    "/v1/recommendations/batch",
    status_code=200,
    summary="Recommendations for many users",
    response_description="A list for each user, in their order",
    responses=LISTED | TOO_LONG,
    tags=LISTS,
    guards=[needs("read")],
)
async def batch(request: AnyRequest, data: JSONBody[BatchOfUsers]) -> Response[Batch]:
    """A list for each of up to 500 users, as each alone would get it. Needs the scope read."""
    worker, request_id = worker_of(request), _request_id(request)
    users = [checked_id(user_id, USER_ID) for user_id in data.user_ids]
    wanted = [Asked(user_id, n=data.n, context=data.context) for user_id in users]
    answers: list[Recommendations] = []
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        ids = (f"{request_id}-{number}" for number in range(start, start + len(part)))
        found = await asyncio.gather(*map(worker.engine.recommend, part, ids))
        for given, answered in zip(part, found, strict=True):
            worker.book(answered.answer, given, answered.seconds)
            answers.append(answered.answer)
    return _answer(Batch(request_id, answers), request_id)


@post(
    "/v1/rank",
    status_code=200,
    summary="Order given items for a user",
    response_description="The items in their order",
    responses=LISTED | TOO_LONG,
    tags=LISTS,
    guards=[needs("read")],
)
async def rank(request: AnyRequest, data: JSONBody[ItemsToRank]) -> Response[Recommendations]:
    """The given items, the best for the user first; those that must not be shown are left out.
    Needs the scope read.
    """
    worker, request_id = worker_of(request), _request_id(request)
    wanted = Asked(checked_id(data.user_id, USER_ID), context=data.context)
    item_ids = [checked_id(item_id, ITEM_ID) for item_id in data.item_ids]
    return _answer(await worker.engine.rank(wanted, item_ids, request_id), request_id)


@get(
    "/v1/users/{user_id:path}",
    summary="What is known of a user",
    response_description="What Redis has of the user",
    responses=INVALID | REFUSED | UNANSWERED,
    tags=FACTS,
    guards=[needs("admin")],
)
async def user(request: AnyRequest, user_id: UserId) -> Response[User]:
    """Profile, session and flag. Needs the scope admin, and is noted in the audit log."""
    del user_id
    worker, request_id = worker_of(request), _request_id(request)
    wanted = id_of(request.scope["raw_path"], b"/v1/users/", USER_ID)
    _note(request, "user", wanted)
    known, profile = await worker.engine.user(wanted)
    session = [
        RecentEvent(act.event, act.item_id, datetime.fromtimestamp(act.at / 1e3, UTC).isoformat())
        for act in known.acts
    ]
    found = User(wanted, known.version, request_id, profile, len(known.items), session, known.flag)
    return _answer(found, request_id)


@post(
    "/v1/events",
    status_code=202,
    summary="Take in what users did",
    response_description="All events that are not listed as wrong are taken",
    responses=REFUSED | UNANSWERED | TOO_LONG | TAKEN,
    tags=FACTS,
    guards=[needs("write")],
)
async def events(request: AnyRequest, data: JSONBody[Event | list[Event]]) -> Response[Accepted]:
    """One event or up to 500. 202 when all that are not listed as wrong are in the stream and in their users' next
    answers; 400 when each is wrong; 429 when there was no room for some. The same `event_id` again changes nothing.
    Needs the scope write.
    """
    del data
    request_id = _request_id(request)
    status, accepted, headers = await take(worker_of(request), await request.body(), request_id)
    return _answer(accepted, request_id, status, headers)


@put(
    "/v1/items/{item_id:path}",
    status_code=200,
    summary="Change an item",
    response_description="The change is in every answer from now on",
    responses=INVALID | REFUSED | UNANSWERED | TOO_LONG,
    tags=FACTS,
    guards=[needs("write")],
)
async def item(request: AnyRequest, item_id: ItemId, data: JSONBody[ItemChange]) -> Response[ItemState]:
    """Availability, price, category, brand, title; an item that is not known is a new one.
    Needs the scope write.
    """
    del item_id
    worker, request_id = worker_of(request), _request_id(request)
    changed = id_of(request.scope["raw_path"], b"/v1/items/", ITEM_ID)
    when = await worker.items.put(changed, data)
    return _answer(ItemState(changed, request_id, when.isoformat()), request_id)


@get("/live", summary="Whether the process answers", response_description="It does", security=OPEN, tags=SERVER)
async def live() -> Live:
    """200 while it does, whatever the state of Redis."""
    return Live("live")


@get(
    "/ready",
    summary="Whether there are lists to answer with",
    response_description="There are",
    responses=NOTHING,
    security=OPEN,
    tags=SERVER,
)
async def ready(request: AnyRequest) -> Ready:
    """200 with the version that is answered from; degraded while Redis does not answer."""
    worker = worker_of(request)
    catalogue = worker.live.catalogue
    if catalogue is None:
        raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
    return Ready("ready" if worker.reads.able else "degraded", catalogue.version)


@get(
    "/metrics",
    summary="Counts for Prometheus",
    response_description="Prometheus' text format",
    media_type=METRICS_TYPE,
    security=OPEN,
    tags=SERVER,
)
async def metrics(request: AnyRequest) -> bytes:
    """Of all workers of this server."""
    return worker_of(request).metrics.text()


HANDLERS: Final = (
    recommendations,
    guest_recommendations,
    similar,
    trending,
    popular,
    batch,
    rank,
    user,
    events,
    item,
    live,
    ready,
    metrics,
)


async def _recommended(request: AnyRequest, wanted: Asked) -> Response[Recommendations]:
    worker, request_id = worker_of(request), _request_id(request)
    answered = await recommend(worker, request.scope["headers"], wanted, request_id)
    worker.book(answered.answer, wanted, answered.seconds)
    return _answer(answered.answer, request_id)


def _note(request: AnyRequest, action: str, user_id: str) -> None:
    worker = worker_of(request)
    worker.audit.note(request.scope["state"]["key"], action, worker.stored_id(user_id))


def _request_id(request: AnyRequest) -> str:
    return request.scope.setdefault("state", {}).setdefault("request_id", new_request_id())


def _answer(
    content: Any, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **(headers or {})})
