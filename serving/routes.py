"""The routes, with what their documentation says of them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from litestar import Request, Response, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, Parameter
from msgspec import Meta, Struct

from recsys.errors import NothingPublishedError
from recsys.schema import ITEM_ID, USER_ID
from serving.access import Scope
from serving.answers import (
    Accepted,
    Batch,
    Failure,
    Invalid,
    ItemList,
    ItemState,
    Live,
    Ready,
    RecentEvent,
    Recommendations,
    User,
)
from serving.asked import (
    DEEPEST,
    DEFAULT_N,
    EXPECTED,
    MOST_N,
    MOST_RANKED,
    MOST_USERS,
    SESSION_LENGTH,
    TEXT_LENGTH,
    Asked,
    Context,
    asked_of,
    checked_id,
    id_of,
)
from serving.errors import REQUEST_ID_HEADER, new_request_id
from serving.events import Event
from serving.items import ItemChange
from serving.worker import Worker

AT_ONCE: Final = 50
"""Users of a batch that share a round trip; between them others are answered."""

AnyRequest = Request[Any, Any, Any]
Count = Annotated[int, Parameter(ge=1, le=MOST_N, description=f"Most items to answer with: {EXPECTED['n']}")]
Offset = Annotated[int, Parameter(ge=0, le=DEEPEST, description="Items to pass over")]
Text = Annotated[str | None, Parameter(min_length=1, max_length=TEXT_LENGTH)]
Price = Annotated[float | None, Parameter(ge=0)]
Exclude = Annotated[list[str] | None, Parameter(description=f"Items to leave out: {EXPECTED['exclude']}")]
Session = Annotated[
    str | None,
    Parameter(min_length=1, max_length=SESSION_LENGTH, description="Session of a guest, or before log-in"),
]
UserId = Annotated[str, Parameter(description=EXPECTED[USER_ID])]
ItemId = Annotated[str, Parameter(description=EXPECTED[ITEM_ID])]
Given = NamedDependency[Asked]
Id = Annotated[str, Meta(min_length=1, max_length=128)]

INVALID: Final = {400: ResponseSpec(Invalid, description="A value of the request is not accepted")}
REFUSED: Final = {
    401: ResponseSpec(Failure, description="There are API keys, and the request shows none of them"),
    403: ResponseSpec(Failure, description="The API key lacks the scope"),
    429: ResponseSpec(
        Failure, description="Too many requests with this key; `Retry-After` says when to come again"
    ),
}
NOTHING: Final = {503: ResponseSpec(Failure, description="Nothing is known at all: not even an older list")}
UNANSWERED: Final = {
    503: ResponseSpec(Failure, description="Redis does not answer; nothing is lost by trying again")
}
LISTED: Final = INVALID | REFUSED | NOTHING


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


async def asked(
    request: AnyRequest,
    n: Count = DEFAULT_N,
    offset: Offset = 0,
    category: Text = None,
    brand: Text = None,
    price_min: Price = None,
    price_max: Price = None,
    exclude: Exclude = None,
) -> Asked:
    """What the parameters of a list ask for."""
    del n, offset, category, brand, price_min, price_max, exclude
    return asked_of("", request.scope["query_string"])


@get(
    "/v1/recommendations/{user_id:path}",
    summary="Recommendations for a user",
    responses=LISTED,
    dependencies={"given": Provide(asked)},
)
async def recommendations(
    request: AnyRequest,
    given: Given,
    user_id: UserId,
    cursor: Annotated[str | None, Parameter(description="Of an answer, for the page after it")] = None,
    context: Annotated[Context, Parameter(description="Where the list is shown")] = "home",
    session_id: Session = None,
    debug: Annotated[int, Parameter(ge=0, le=1, description="1 shows every stage; needs the scope admin")] = 0,
) -> Response[Recommendations]:
    """The best items for a user now: the own list, neighbours of what the session has touched, what is bought
    with it; then what is popular where the user buys, and in the shop. Without a user, for the guest `session_id`.
    """
    del given, user_id, cursor, context, session_id, debug
    raise NotImplementedError(request.url.path)  # answered before it comes here: see `hot_routes`


@get(
    "/v1/similar/{item_id:path}", summary="Items like one", responses=LISTED, dependencies={"given": Provide(asked)}
)
async def similar(request: AnyRequest, given: Given, item_id: ItemId) -> Response[ItemList]:
    """The items most like one, then popular ones of its category, then of the shop."""
    del item_id
    worker = _let_in(request, "read")
    wanted = id_of(request.scope["raw_path"], b"/v1/similar/", ITEM_ID)
    request_id = _request_id(request)
    return _answer(await worker.engine.similar(wanted, given, request_id), request_id)


@get("/v1/trending", summary="Items on the rise", responses=LISTED, dependencies={"given": Provide(asked)})
async def trending(request: AnyRequest, given: Given) -> Response[ItemList]:
    """Items that are bought more than usual, then popular ones."""
    worker, request_id = _let_in(request, "read"), _request_id(request)
    return _answer(await worker.engine.trending(given, request_id), request_id)


@get("/v1/popular", summary="Popular items", responses=LISTED, dependencies={"given": Provide(asked)})
async def popular(request: AnyRequest, given: Given) -> Response[ItemList]:
    """The most popular items, of a category, brand or price where one is named."""
    worker, request_id = _let_in(request, "read"), _request_id(request)
    return _answer(await worker.engine.popular(given, request_id), request_id)


@post("/v1/recommendations/batch", status_code=200, summary="Recommendations for many users", responses=LISTED)
async def batch(request: AnyRequest, data: JSONBody[BatchOfUsers]) -> Response[Batch]:
    """A list for each of up to 500 users, as each alone would get it."""
    worker, request_id = _let_in(request, "read"), _request_id(request)
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


@post("/v1/rank", status_code=200, summary="Order given items for a user", responses=LISTED)
async def rank(request: AnyRequest, data: JSONBody[ItemsToRank]) -> Response[Recommendations]:
    """The given items, the best for the user first; those that must not be shown are left out."""
    worker, request_id = _let_in(request, "read"), _request_id(request)
    wanted = Asked(checked_id(data.user_id, USER_ID), context=data.context)
    item_ids = [checked_id(item_id, ITEM_ID) for item_id in data.item_ids]
    return _answer(await worker.engine.rank(wanted, item_ids, request_id), request_id)


@get("/v1/users/{user_id:path}", summary="What is known of a user", responses=INVALID | REFUSED | UNANSWERED)
async def user(request: AnyRequest, user_id: UserId) -> Response[User]:
    """Profile, session and flag; needs the scope admin."""
    del user_id
    worker, request_id = _let_in(request, "admin"), _request_id(request)
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
    responses=INVALID | REFUSED | UNANSWERED,
)
async def events(request: AnyRequest, data: JSONBody[Event | list[Event]]) -> Response[Accepted]:
    """One event or up to 500. 202 when all that are not listed as wrong are in the stream and in their users' next
    answers; 400 when each is wrong; 429 when there was no room for some. The same `event_id` again changes nothing.
    """
    del data
    raise NotImplementedError(request.url.path)  # answered before it comes here: see `hot_routes`


@put(
    "/v1/items/{item_id:path}", status_code=200, summary="Change an item", responses=INVALID | REFUSED | UNANSWERED
)
async def item(request: AnyRequest, item_id: ItemId, data: JSONBody[ItemChange]) -> Response[ItemState]:
    """Availability, price, category, brand, title; an item that is not known is a new one."""
    del item_id
    worker, request_id = _let_in(request, "write"), _request_id(request)
    changed = id_of(request.scope["raw_path"], b"/v1/items/", ITEM_ID)
    when = await worker.items.put(changed, data)
    return _answer(ItemState(changed, request_id, when.isoformat()), request_id)


@get("/live", summary="Whether the process answers")
async def live() -> Live:
    """200 while it does, whatever the state of Redis."""
    return Live("live")


@get("/ready", summary="Whether there are lists to answer with", responses=NOTHING)
async def ready(request: AnyRequest) -> Ready:
    """200 with the version that is answered from; degraded while Redis does not answer."""
    worker = worker_of(request)
    catalogue = worker.live.catalogue
    if catalogue is None:
        raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
    return Ready("ready" if worker.reads.able else "degraded", catalogue.version)


@get("/metrics", summary="Counts for Prometheus", media_type="text/plain; version=0.0.4; charset=utf-8")
async def metrics(request: AnyRequest) -> bytes:
    """Of all workers of this server."""
    return worker_of(request).metrics.text()


HANDLERS: Final = (
    recommendations,
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


def worker_of(request: AnyRequest) -> Worker:
    """The worker that answers."""
    return request.app.state.worker


def _let_in(request: AnyRequest, scope: Scope) -> Worker:
    worker = worker_of(request)
    request.scope.setdefault("state", {})["key"] = worker.access.check(request.scope["headers"], scope)
    return worker


def _note(request: AnyRequest, action: str, subject: str) -> None:
    worker_of(request).audit.note(request.scope["state"]["key"], action, subject)


def _request_id(request: AnyRequest) -> str:
    return request.scope.setdefault("state", {}).setdefault("request_id", new_request_id())


def _answer(
    content: Any, request_id: str, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response[Any]:
    return Response(content, status_code=status, headers={REQUEST_ID_HEADER: request_id, **(headers or {})})
