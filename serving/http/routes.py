"""The routes, with what their documentation says of them."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Final

from litestar import Response, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.openapi.spec import SecurityRequirement
from litestar.params import JSONBody
from msgspec import Meta, Struct

from recsys.errors import NothingPublishedError
from recsys.schema import ITEM_ID, USER_ID
from serving.api import (
    AcceptedEvents,
    Batch,
    ItemList,
    ItemState,
    LiveStatus,
    ReadyStatus,
    RecentEvent,
    Recommendations,
    User,
)
from serving.http.anomaly_routes import HANDLERS as ANOMALY_HANDLERS
from serving.http.fast_path import of_guest, recommend, take
from serving.http.parameters import (
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
from serving.http.query import (
    DEFAULT_N,
    MAX_N,
    MAX_RANKED,
    MAX_USERS,
    Context,
    ListRequest,
    check_id,
    parse_id,
    parse_list_request,
)
from serving.http.requests import FACTS, AnyRequest, Id, answer, needs, note, request_id_of, worker_of
from serving.http.responses import INVALID, LISTED, NOTHING, REFUSED, TAKEN, TOO_LONG, UNANSWERED
from serving.intake.event_parsing import Event
from serving.intake.items import ItemChange

AT_ONCE: Final = 50
"""Users of a batch that share a round trip; between them others are answered."""

Given = NamedDependency[ListRequest]
LISTS: Final = ["Lists"]
SERVER: Final = ["The server"]
METRICS_TYPE: Final = "text/plain; version=0.0.4"
OPEN: Final[list[SecurityRequirement]] = [{}]
"""No key is needed."""


class BatchRequest(Struct, forbid_unknown_fields=True):
    """Whose lists are wanted."""

    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_USERS)]
    n: Annotated[int, Meta(ge=1, le=MAX_N)] = DEFAULT_N
    context: Context = "home"


class RankRequest(Struct, forbid_unknown_fields=True):
    """Items to put in order for a user."""

    user_id: Id
    item_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_RANKED)]
    context: Context = "home"


async def asked(
    request: AnyRequest,
    n: Count = DEFAULT_N,
    offset: Offset = 0,
    category: Category = None,
    brand: Brand = None,
    price_min: PriceMin = None,
    price_max: PriceMax = None,
    exclude: Exclude = None,
) -> ListRequest:
    """What the parameters of a list ask for."""
    del n, offset, category, brand, price_min, price_max, exclude
    return parse_list_request("", request.scope["query_string"])


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
    wanted = parse_list_request(check_id(user_id.removeprefix("/"), USER_ID), request.scope["query_string"])
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
    wanted = parse_id(request.scope["raw_path"], b"/v1/similar/", ITEM_ID)
    request_id = request_id_of(request)
    return answer(await worker.engine.similar(wanted, given, request_id), request_id)


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
    worker, request_id = worker_of(request), request_id_of(request)
    return answer(await worker.engine.trending(given, request_id), request_id)


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
    worker, request_id = worker_of(request), request_id_of(request)
    return answer(await worker.engine.popular(given, request_id), request_id)


@post(
    "/v1/recommendations/batch",
    status_code=200,
    summary="Recommendations for many users",
    response_description="A list for each user, in their order",
    responses=LISTED | TOO_LONG,
    tags=LISTS,
    guards=[needs("read")],
)
async def batch(request: AnyRequest, data: JSONBody[BatchRequest]) -> Response[Batch]:
    """A list for each of up to 500 users, as each alone would get it. Needs the scope read."""
    worker, request_id = worker_of(request), request_id_of(request)
    users = [check_id(user_id, USER_ID) for user_id in data.user_ids]
    wanted = [ListRequest(user_id, n=data.n, context=data.context) for user_id in users]
    answers: list[Recommendations] = []
    for start in range(0, len(wanted), AT_ONCE):
        part = wanted[start : start + AT_ONCE]
        ids = (f"{request_id}-{number}" for number in range(start, start + len(part)))
        found = await asyncio.gather(*map(worker.engine.recommend, part, ids))
        for given, answered in zip(part, found, strict=True):
            worker.book(answered.answer, given, answered.seconds)
            answers.append(answered.answer)
    return answer(Batch(request_id, answers), request_id)


@post(
    "/v1/rank",
    status_code=200,
    summary="Order given items for a user",
    response_description="The items in their order",
    responses=LISTED | TOO_LONG,
    tags=LISTS,
    guards=[needs("read")],
)
async def rank(request: AnyRequest, data: JSONBody[RankRequest]) -> Response[Recommendations]:
    """The given items, the best for the user first; those that must not be shown are left out.
    Needs the scope read.
    """
    worker, request_id = worker_of(request), request_id_of(request)
    wanted = ListRequest(check_id(data.user_id, USER_ID), context=data.context)
    item_ids = [check_id(item_id, ITEM_ID) for item_id in data.item_ids]
    return answer(await worker.engine.rank(wanted, item_ids, request_id), request_id)


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
    worker, request_id = worker_of(request), request_id_of(request)
    wanted = parse_id(request.scope["raw_path"], b"/v1/users/", USER_ID)
    note(request, "user", wanted)
    known, profile = await worker.engine.user(wanted)
    session = [
        RecentEvent(act.event, act.item_id, datetime.fromtimestamp(act.at_ms / 1e3, UTC).isoformat())
        for act in known.acts
    ]
    found = User(wanted, known.version, request_id, profile, len(known.items), session, known.flag)
    return answer(found, request_id)


@post(
    "/v1/events",
    status_code=202,
    summary="Take in what users did",
    response_description="All events that are not listed as wrong are taken",
    responses=REFUSED | UNANSWERED | TOO_LONG | TAKEN,
    tags=FACTS,
    guards=[needs("write")],
)
async def events(request: AnyRequest, data: JSONBody[Event | list[Event]]) -> Response[AcceptedEvents]:
    """One event or up to 500. 202 when all that are not listed as wrong are in the stream and in their users' next
    answers; 400 when each is wrong; 429 when there was no room for some. The same `event_id` again changes nothing.
    Needs the scope write.
    """
    del data
    request_id = request_id_of(request)
    status, accepted, headers = await take(worker_of(request), await request.body(), request_id)
    return answer(accepted, request_id, status, headers)


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
    worker, request_id = worker_of(request), request_id_of(request)
    changed = parse_id(request.scope["raw_path"], b"/v1/items/", ITEM_ID)
    when = await worker.items.put(changed, data)
    return answer(ItemState(changed, request_id, when.isoformat()), request_id)


@get("/live", summary="Whether the process answers", response_description="It does", security=OPEN, tags=SERVER)
async def live() -> LiveStatus:
    """200 while it does, whatever the state of Redis."""
    return LiveStatus("live")


@get(
    "/ready",
    summary="Whether there are lists to answer with",
    response_description="There are",
    responses=NOTHING,
    security=OPEN,
    tags=SERVER,
)
async def ready(request: AnyRequest) -> ReadyStatus:
    """200 with the version that is answered from; degraded while Redis does not answer."""
    worker = worker_of(request)
    catalogue = worker.live.catalogue
    if catalogue is None:
        raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
    return ReadyStatus("ready" if worker.reads.available else "degraded", catalogue.version)


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
    *ANOMALY_HANDLERS,
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


async def _recommended(request: AnyRequest, wanted: ListRequest) -> Response[Recommendations]:
    worker, request_id = worker_of(request), request_id_of(request)
    answered = await recommend(worker, request.scope["headers"], wanted, request_id)
    worker.book(answered.answer, wanted, answered.seconds)
    return answer(answered.answer, request_id)
