"""The requests that a client sends and what it reads from their answers, without the network between."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Required, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from serving.api import (
    AcceptedEvents,
    Anomalies,
    Anomaly,
    Batch,
    Failure,
    InvalidValue,
    ItemList,
    ItemState,
    ReadyStatus,
    Recommendations,
    RowError,
    User,
    UserLabel,
)

if TYPE_CHECKING:
    import httpx

MAX_EVENTS: Final = 500
"""Events that go into one request."""
RETRIED: Final = (429, 502, 503, 504)
"""Statuses after which the same events are sent again."""
RETRY_SECONDS: Final = 1.0
"""When, where the server does not say."""
MIN_SECONDS: Final = 0.05
"""When at the soonest."""

Context = Literal["home", "product", "cart", "mail"]
Answer = TypeVar("Answer")


class ClientError(Exception):
    """There is no answer."""


class InvalidRequestError(ClientError):
    """A value of the request is not accepted: which, and what would be."""

    def __init__(self, invalid: InvalidValue) -> None:
        super().__init__(f"{invalid.field} = {invalid.value!r}: expected {invalid.expected}")
        self.field, self.value, self.expected = invalid.field, invalid.value, invalid.expected
        self.request_id = invalid.request_id


class RefusedError(ClientError):
    """The server does not do this, however often it is asked: the key lacks the scope, say."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


class UnavailableError(ClientError):
    """There is no answer now: too many requests, or the server, or Redis behind it, does not answer."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds after which the server wants to be asked again, if it said so."""
        self.unsent: Sequence[Event] = ()
        """Events that are not known to be taken, with their ids: to send them again does no harm."""


class Event(TypedDict, total=False):
    """What a user did; without `user_id` it is of the guest whom `session_id` names."""

    item_id: Required[str]
    event: Required[str]
    user_id: str
    event_id: str
    timestamp: datetime
    value: float
    price: float
    quantity: float
    session_id: str
    ip: str
    user_agent: str


class ItemFacts(TypedDict, total=False):
    """What changes of an item."""

    available: bool
    price: float
    category: Sequence[str]
    brand: str
    title: str


class ListOptions(TypedDict, total=False):
    """Which items a list is to have."""

    n: int
    offset: int
    category: str
    brand: str
    price_min: float
    price_max: float
    exclude: Sequence[str]


class UserListOptions(ListOptions, total=False):
    """Which items a user's list is to have, and what it is for."""

    cursor: str | None
    context: Context
    session_id: str
    debug: bool


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request, as yet to be sent, and what its answer is read as."""

    answer: type[Answer]
    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: bytes | None = None
    after: float = 0.0
    """Seconds to wait before it is sent."""


Reply: TypeAlias = "httpx.Response | UnavailableError"
"""A response of any status, or the error that there was none."""
EventsCalls = Generator[Call[AcceptedEvents], Reply, AcceptedEvents]
"""Yields calls, receives the reply to each, and returns the totals of all."""


def recommendations_call(user_id: str | None, wanted: UserListOptions) -> Call[Recommendations]:
    """For a user; without one for the guest whose `session_id` is given."""
    path = "/v1/recommendations" if user_id is None else f"/v1/recommendations/{_quoted(user_id)}"
    return Call(Recommendations, "GET", path, _query(wanted))


def similar_call(item_id: str, wanted: ListOptions) -> Call[ItemList]:
    """For items like one."""
    return Call(ItemList, "GET", f"/v1/similar/{_quoted(item_id)}", _query(wanted))


def trending_call(wanted: ListOptions) -> Call[ItemList]:
    """For items on the rise."""
    return Call(ItemList, "GET", "/v1/trending", _query(wanted))


def popular_call(wanted: ListOptions) -> Call[ItemList]:
    """For popular items."""
    return Call(ItemList, "GET", "/v1/popular", _query(wanted))


def batch_call(user_ids: Iterable[str], n: int, context: Context) -> Call[Batch]:
    """For a list for each of many users."""
    body = {"user_ids": list(user_ids), "n": n, "context": context}
    return Call(Batch, "POST", "/v1/recommendations/batch", body=msgspec.json.encode(body))


def rank_call(user_id: str, item_ids: Iterable[str], context: Context) -> Call[Recommendations]:
    """For given items in the order that suits a user."""
    body = {"user_id": user_id, "item_ids": list(item_ids), "context": context}
    return Call(Recommendations, "POST", "/v1/rank", body=msgspec.json.encode(body))


def user_call(user_id: str) -> Call[User]:
    """For what is known of a user."""
    return Call(User, "GET", f"/v1/users/{_quoted(user_id)}")


def item_call(item_id: str, facts: ItemFacts) -> Call[ItemState]:
    """To change an item."""
    return Call(ItemState, "PUT", f"/v1/items/{_quoted(item_id)}", body=msgspec.json.encode(facts))


def anomalies_call(n: int, offset: int) -> Call[Anomalies]:
    """For who is held back."""
    return Call(Anomalies, "GET", "/v1/anomalies", {"n": n, "offset": offset})


def anomaly_call(user_id: str) -> Call[Anomaly]:
    """For why a user is held back."""
    return Call(Anomaly, "GET", f"/v1/anomalies/{_quoted(user_id)}")


def release_call(user_id: str) -> Call[UserLabel]:
    """To hold a user back no longer."""
    return Call(UserLabel, "DELETE", f"/v1/anomalies/{_quoted(user_id)}")


def label_call(user_id: str, label: Literal["bot", "fine"]) -> Call[UserLabel]:
    """To say what a user is."""
    body = msgspec.json.encode({"label": label})
    return Call(UserLabel, "PUT", f"/v1/anomalies/{_quoted(user_id)}", body=body)


def ready_call() -> Call[ReadyStatus]:
    """Whether there are lists to answer with."""
    return Call(ReadyStatus, "GET", "/ready")


def events_calls(
    events: Iterable[Event], patience: float
) -> Generator[Call[AcceptedEvents], Reply, AcceptedEvents]:
    """To send events in as many requests as they need, each again while there is no room or no answer.

    `patience` is how many seconds each may wait in all. The generator wants what came of each call, and returns
    what came of all events, rows counted over all of them. Raises `ClientError`.
    """
    rows = [_identified(event) for event in events]
    total = AcceptedEvents("", 0, 0, [])
    for start in range(0, len(rows), MAX_EVENTS):
        try:
            taken = yield from _until_taken(rows[start : start + MAX_EVENTS], patience)
        except UnavailableError as error:
            error.unsent = rows[start:]
            raise
        errors = [RowError(each.row + start, each.field, each.value, each.expected) for each in taken.errors]
        total = AcceptedEvents(
            taken.request_id, total.accepted + taken.accepted, total.shed + taken.shed, total.errors + errors
        )
    return total


def answer_of(call: Call[Answer], reply: Reply) -> Answer:
    """What a reply says; raises `ClientError` where it is no answer."""
    if isinstance(reply, UnavailableError):
        raise reply
    if not reply.is_success:
        raise _failure(reply)
    try:
        return msgspec.json.decode(reply.content, type=call.answer)
    except msgspec.MsgspecError:
        raise RefusedError(reply.status_code, "the answer is not one of recsys") from None


def _until_taken(batch: Sequence[Event], patience: float) -> EventsCalls:
    call = Call(AcceptedEvents, "POST", "/v1/events", body=msgspec.json.encode(batch))
    waited = 0.0
    while True:
        reply = yield call
        wait = _wait(reply)
        if wait is None or waited + wait > patience:
            return _taken(call, reply)
        waited += wait
        call = replace(call, after=wait)


def _wait(reply: Reply) -> float | None:
    """Seconds to wait before a call is sent again; None where that would change nothing."""
    if isinstance(reply, UnavailableError):
        return RETRY_SECONDS
    if reply.status_code not in RETRIED:
        return None
    return max(MIN_SECONDS, RETRY_SECONDS if (told := _retry_after(reply)) is None else told)


def _taken(call: Call[AcceptedEvents], reply: Reply) -> AcceptedEvents:
    """What became of a batch: that is told with 400 and 429 too."""
    if not isinstance(reply, UnavailableError):
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(reply.content, type=AcceptedEvents)
    return answer_of(call, reply)


def _identified(event: Event) -> Event:
    """An event that is the same one however often it is sent."""
    known: Event = {**event}
    if known.get("event_id") is None:
        known["event_id"] = uuid4().hex
    if known.get("timestamp") is None:
        known["timestamp"] = datetime.now(UTC)
    return known


def _failure(response: "httpx.Response") -> ClientError:
    status = response.status_code
    if status == 400:
        with suppress(msgspec.MsgspecError):
            return InvalidRequestError(msgspec.json.decode(response.content, type=InvalidValue))
    try:
        reason = msgspec.json.decode(response.content, type=Failure).error
    except msgspec.MsgspecError:
        reason = response.reason_phrase
    if status == 429 or status >= 500:
        return UnavailableError(f"{status}: {reason}", _retry_after(response))
    return RefusedError(status, reason)


def _retry_after(response: "httpx.Response") -> float | None:
    """What a server asks for in seconds; a date, which only proxies send, is passed over."""
    told = response.headers.get("retry-after", "")
    return float(told) if told.isascii() and told.isdecimal() else None


def _quoted(value: str) -> str:
    """An id as a part of a path; its dots too, as `..` alone would be taken for the level above."""
    return quote(value, safe="").replace(".", "%2E")


def _query(wanted: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in wanted.items() if value is not None}
    return {name: int(value) if isinstance(value, bool) else value for name, value in given.items()}
