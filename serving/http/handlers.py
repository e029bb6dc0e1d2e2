"""The handlers of the routes: each function answers a call."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Raw, Struct

from recsys.errors import NothingPublishedError
from recsys.schema import ITEM_ID, MAX_ID_LENGTH, USER_ID
from serving.api import (
    DEFAULT_N,
    MAX_RANKED,
    MAX_USERS,
    AcceptedEvents,
    Context,
    ItemState,
    ListName,
    LiveStatus,
    ReadyStatus,
    RecentEvent,
    User,
)
from serving.http.query import check_id, parse_guest_request, parse_list_request, parse_shared_list_request
from serving.http.routing import Call, Result
from serving.intake.event_parsing import split_rows
from serving.intake.items import ItemChange
from serving.requests import Count, ItemConditions, ListRequest

BATCH_ITEMS: Final = 200
"""Items of the lists of a batch that are made at once, a few milliseconds of work, for at least one user."""
MAX_BATCH_USERS: Final = 50
"""Users of a batch that share a round trip, at most."""
NO_ANSWER: Final = "Redis does not answer"
RETRY_SECONDS: Final = 5
"""`Retry-After` of an answer that had no room for events."""

Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description=f"1 to {MAX_ID_LENGTH} characters, none white space or a control character",
    ),
]


class BatchRequest(ItemConditions, frozen=True, forbid_unknown_fields=True):
    """Users whose lists are requested, and conditions on the items."""

    user_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_USERS)]
    n: Count = DEFAULT_N
    context: Context = "home"
    list: ListName = "blend"


class EncodedBatch(Struct):
    """A `Batch` whose answers are encoded."""

    request_id: str
    answers: list[Raw]


class RankRequest(ItemConditions, frozen=True, forbid_unknown_fields=True):
    """Items to put in order for a user, and conditions that they have to meet."""

    user_id: Id
    item_ids: Annotated[list[Id], Meta(min_length=1, max_length=MAX_RANKED)]
    context: Context = "home"


async def recommendations(call: Call) -> Result:
    """Return the best items for a user now.

    First the user's own list, neighbors of what the session has touched and what is bought with it; then what is
    popular where the user buys, and in the shop.
    """
    return await _recommend(call, parse_list_request(call.path_id(USER_ID), call.query))


async def guest_recommendations(call: Call) -> Result:
    """Return the best items for a guest, of whom only a session is known."""
    return await _recommend(call, parse_guest_request(call.query))


async def _recommend(call: Call, request: ListRequest) -> Result:
    """Answer a list request; its stages are shown to administrators only, and that is audited."""
    worker = call.worker
    call.check_scope("admin" if request.debug else "recommend")
    if request.debug:
        await call.audit("debug", stored_id=worker.stored_id(request.user_id))
    result = await worker.engine.recommend(request, call.request_id)
    return Result(result.answer, after_send=partial(worker.record_answer, result, request))


async def similar(call: Call) -> Result:
    """Return the items most similar to one, then popular ones of its category, then of the shop."""
    request = parse_shared_list_request(call.query)
    return Result(await call.worker.engine.similar(call.path_id(ITEM_ID), request, call.request_id))


async def trending(call: Call) -> Result:
    """Return items that are bought more than usual, then popular ones."""
    return Result(await call.worker.engine.trending(parse_shared_list_request(call.query), call.request_id))


async def popular(call: Call) -> Result:
    """Return the most popular items, of categories, brands, a price range or attributes where they are given."""
    return Result(await call.worker.engine.popular(parse_shared_list_request(call.query), call.request_id))


async def batch(call: Call) -> Result:
    """Return a list for each of up to 500 users, as each alone would get it.

    Other requests are answered between parts of a batch; a worker makes one part at a time.
    """
    worker, body = call.worker, call.decode_body(BatchRequest)
    users = [check_id(user_id, USER_ID) for user_id in body.user_ids]
    await call.take_batch_quota("user_ids", len(users))
    conditions = _conditions(body)
    requests = [
        ListRequest(user_id, n=body.n, context=body.context, list=body.list, **conditions) for user_id in users
    ]
    answers: list[Raw] = []
    size = min(MAX_BATCH_USERS, max(1, BATCH_ITEMS // body.n))
    for start in range(0, len(requests), size):
        async with worker.batch_part:
            answers += await _answer_part(call, requests[start : start + size], start)
        await asyncio.sleep(0)
    return Result(EncodedBatch(call.request_id, answers))


async def _answer_part(call: Call, requests: Sequence[ListRequest], start: int) -> list[Raw]:
    """Return the encoded lists of the users of a batch from place `start` on."""
    worker = call.worker
    ids = (f"{call.request_id}-{number}" for number in range(start, start + len(requests)))
    results = await asyncio.gather(*map(worker.engine.recommend, requests, ids))
    for request, result in zip(requests, results, strict=True):
        worker.record_answer(result, request)
    return [Raw(msgspec.json.encode(result.answer)) for result in results]


async def rank(call: Call) -> Result:
    """Return the given items, the best for the user first, without those that must not be shown."""
    body = call.decode_body(RankRequest)
    request = ListRequest(check_id(body.user_id, USER_ID), context=body.context, **_conditions(body))
    item_ids = [check_id(item_id, ITEM_ID) for item_id in body.item_ids]
    return Result(await call.worker.engine.rank(request, item_ids, call.request_id))


def _conditions(body: ItemConditions) -> dict[str, Any]:
    return {name: getattr(body, name) for name in ItemConditions.__struct_fields__}


async def user(call: Call) -> Result:
    """Return a user's profile, session and flag; this is noted in the audit log."""
    user_id, stored_id = call.path_user()
    await call.audit("user", stored_id=stored_id)
    state, profile = await call.worker.engine.user(stored_id)
    session = [
        RecentEvent(act.event, act.item_id, datetime.fromtimestamp(act.at_ms / 1e3, UTC).isoformat())
        for act in state.acts
    ]
    return Result(User(user_id, state.version, call.request_id, profile, len(state.items), session, state.flag))


async def events(call: Call) -> Result:
    """Take one event, or up to 500.

    202 when all events that are not listed as wrong are in the stream and in their users' next answers; 400 when
    each of them is wrong; 429 when there was no room for some. Sending an event again changes nothing; its
    `event_id` for another event of the same user is an error.
    """
    if call.has_quota:
        await call.take_batch_quota("body", len(split_rows(call.body)))
    result = await call.worker.events.take(call.body)
    call.worker.count_events(result)
    counts = (result.accepted, result.duplicates, result.shed)
    accepted = AcceptedEvents(call.request_id, *counts, result.errors, result.refused or UNSET)
    if result.shed:
        return Result(accepted, 429, {"Retry-After": str(RETRY_SECONDS)})
    return Result(accepted, 202 if result.accepted or result.refused else 400)


async def item(call: Call) -> Result:
    """Change facts of an item, such as its stock, price, categories or attributes; an unknown item is created.

    An item is offered from `valid_from` on and before `valid_until`. Noted in the audit log.
    """
    change = call.decode_body(ItemChange, strict=True)
    item_id = call.path_id(ITEM_ID)
    call.worker.item_rules.check(item_id, change)
    facts = [name for name in change.__struct_fields__ if getattr(change, name) is not UNSET]
    await call.audit("item", subject=item_id, detail=", ".join(facts))
    updated_at = await call.worker.items.put(item_id, change)
    return Result(ItemState(item_id, call.request_id, updated_at.isoformat()))


async def live(call: Call) -> Result:
    """Answer 200 while the process does, whatever the state of Redis."""
    del call
    return Result(LiveStatus("live"))


async def ready(call: Call) -> Result:
    """Answer 200 with the version that lists are taken from; `degraded` while Redis or its data are not well."""
    catalogue = call.worker.catalogue_sync.catalogue
    if catalogue is None:
        raise NothingPublishedError("no version is live: run `recsys nightly` to publish one")
    await call.worker.pseudonym_key.check_quietly()
    problems = call.worker.health.messages
    if not call.worker.read_redis.available:
        problems = [NO_ANSWER, *problems]
    return Result(ReadyStatus("degraded" if problems else "ready", catalogue.version, problems or UNSET))


async def metrics(call: Call) -> Result:
    """Return the counts of all workers of this server."""
    return Result(call.worker.metrics.text())
