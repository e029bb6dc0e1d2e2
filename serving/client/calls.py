"""The calls of a client: build requests and read replies, without any input or output."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Required, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec
from msgspec import UNSET

from serving.api import (
    MAX_EVENTS,
    AcceptedEvents,
    Anomalies,
    Anomaly,
    Batch,
    Context,
    Failure,
    InvalidValue,
    ItemList,
    ItemState,
    ListName,
    ReadyStatus,
    Recommendations,
    User,
    UserLabel,
)

if TYPE_CHECKING:
    import httpx

RETRIED_STATUSES: Final = (429, 502, 503, 504)
"""Statuses after which the same events are sent again."""
RETRY_SECONDS: Final = 1.0
"""Seconds to wait before sending again, if the server does not specify them."""
MIN_RETRY_SECONDS: Final = 0.05

Answer = TypeVar("Answer")


class ClientError(Exception):
    """A call without an answer."""


class InvalidRequestError(ClientError):
    """A value of the request that is not accepted: its field, the value, and what is expected."""

    def __init__(self, invalid: InvalidValue) -> None:
        super().__init__(f"{invalid.field} = {invalid.value!r}: expected {invalid.expected}")
        self.field, self.value, self.expected = invalid.field, invalid.value, invalid.expected
        self.request_id = invalid.request_id


class RefusedError(ClientError):
    """A request that the server refuses, and would again: the key lacks the scope, for example."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"{status}: {reason}")
        self.status = status


class UnavailableError(ClientError):
    """A call without an answer for now: too many requests, or the server or its Redis does not answer."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        """Seconds after which to try again, if the server specified them."""
        self.unsent: Sequence[Event] = ()
        """Events that the server may not have taken, with their ids: sending them again does no harm."""


class Event(TypedDict, total=False):
    """An action of a user, or, without `user_id`, of the guest whom `session_id` names."""

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
    """New values of an item."""

    available: bool
    stock: float
    valid_from: datetime | str
    """Time with a zone; text is in ISO 8601."""
    valid_until: datetime | str | None
    """Time with a zone, or None to remove it."""
    price: float
    category: Sequence[str]
    categories: Sequence[Sequence[str]]
    attributes: Mapping[str, str | float | bool | Sequence[str]]
    brand: str
    title: str
    group_id: str
    """Product that the item is a variant of."""


class ItemConditions(TypedDict, total=False):
    """Conditions on the items of a list, named as the parameters of the HTTP server; of several texts one holds."""

    category: str | Sequence[str]
    brand: str | Sequence[str]
    price_min: float
    price_max: float
    attribute: str | Sequence[str]
    """As in color:red or volume:>=0.5."""


class ListOptions(ItemConditions, total=False):
    """Options that select the items of a list, named as the parameters of the HTTP server."""

    n: int
    offset: int
    exclude: Sequence[str]


class UserListOptions(ListOptions, total=False):
    """Options that select the items of a user's list, and the context they are shown in."""

    cursor: str | None
    context: Context
    list: ListName
    session_id: str
    debug: bool


@dataclass(frozen=True)
class Call(Generic[Answer]):
    """A request that is not sent yet, and the type of its answer."""

    answer: type[Answer]
    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict[str, Any])
    body: bytes | None = None
    delay: float = 0.0
    """Seconds to wait before sending it."""


Reply: TypeAlias = "httpx.Response | UnavailableError"
"""A response of any status, or an error if there was no response."""
EventsCalls = Generator[Call[AcceptedEvents], Reply, AcceptedEvents]
"""Yields calls, receives the reply to each, and returns the totals of all."""


def recommendations_call(user_id: str | None, options: UserListOptions) -> Call[Recommendations]:
    """Return the call for a user's list; without a user for that of the guest whose `session_id` is given."""
    path = "/v1/recommendations" if user_id is None else f"/v1/recommendations/{_quote(user_id)}"
    return Call(Recommendations, "GET", path, _query(options))


def similar_call(item_id: str, options: ListOptions) -> Call[ItemList]:
    """Return the call for items similar to one."""
    return Call(ItemList, "GET", f"/v1/similar/{_quote(item_id)}", _query(options))


def trending_call(options: ListOptions) -> Call[ItemList]:
    """Return the call for trending items."""
    return Call(ItemList, "GET", "/v1/trending", _query(options))


def popular_call(options: ListOptions) -> Call[ItemList]:
    """Return the call for popular items."""
    return Call(ItemList, "GET", "/v1/popular", _query(options))


def batch_call(user_ids: Iterable[str], n: int, context: Context, options: Mapping[str, Any]) -> Call[Batch]:
    """Return the call for the lists of many users; `options` are conditions, and `list`."""
    body = {"user_ids": list(user_ids), "n": n, "context": context, **_listed(options)}
    return Call(Batch, "POST", "/v1/recommendations/batch", body=msgspec.json.encode(body))


def rank_call(
    user_id: str, item_ids: Iterable[str], context: Context, conditions: ItemConditions
) -> Call[Recommendations]:
    """Return the call that puts given items in a user's order."""
    body = {"user_id": user_id, "item_ids": list(item_ids), "context": context, **_listed(conditions)}
    return Call(Recommendations, "POST", "/v1/rank", body=msgspec.json.encode(body))


def user_call(user_id: str, is_pseudonym: bool) -> Call[User]:
    """Return the call for the profile, session and flag of a user."""
    return Call(User, "GET", f"/v1/users/{_quote(user_id)}", _reference(is_pseudonym))


def item_call(item_id: str, facts: ItemFacts) -> Call[ItemState]:
    """Return the call that changes an item."""
    return Call(ItemState, "PUT", f"/v1/items/{_quote(item_id)}", body=msgspec.json.encode(facts))


def anomalies_call(n: int, offset: int) -> Call[Anomalies]:
    """Return the call for the flagged users."""
    return Call(Anomalies, "GET", "/v1/anomalies", {"n": n, "offset": offset})


def anomaly_call(user_id: str, is_pseudonym: bool) -> Call[Anomaly]:
    """Return the call for the flag of a user."""
    return Call(Anomaly, "GET", f"/v1/anomalies/{_quote(user_id)}", _reference(is_pseudonym))


def release_call(user_id: str, is_pseudonym: bool) -> Call[UserLabel]:
    """Return the call that releases a user."""
    return Call(UserLabel, "DELETE", f"/v1/anomalies/{_quote(user_id)}", _reference(is_pseudonym))


def label_call(user_id: str, label: Literal["bot", "fine"], is_pseudonym: bool) -> Call[UserLabel]:
    """Return the call that labels a user."""
    body = msgspec.json.encode({"label": label})
    return Call(UserLabel, "PUT", f"/v1/anomalies/{_quote(user_id)}", _reference(is_pseudonym), body)


def ready_call() -> Call[ReadyStatus]:
    """Return the call that asks whether there are lists to answer with."""
    return Call(ReadyStatus, "GET", "/ready")


def events_calls(
    events: Iterable[Event], patience: float
) -> Generator[Call[AcceptedEvents], Reply, AcceptedEvents]:
    """Send events in as few requests as possible, each again while there is no room or no answer.

    `patience` is how many seconds each request may wait in all. The generator yields calls and is sent the reply to
    each; it returns the totals, with rows counted over all events. Raises `ClientError`.
    """
    rows = [_with_identity(event) for event in events]
    total = AcceptedEvents("", 0, 0, 0, [])
    for start in range(0, len(rows), MAX_EVENTS):
        try:
            accepted = yield from _send_until_accepted(rows[start : start + MAX_EVENTS], patience)
        except UnavailableError as error:
            error.unsent = rows[start:]
            raise
        errors = [msgspec.structs.replace(error, row=error.row + start) for error in accepted.errors]
        total = AcceptedEvents(
            accepted.request_id,
            total.accepted + accepted.accepted,
            total.duplicates + accepted.duplicates,
            total.shed + accepted.shed,
            total.errors + errors,
            ((total.refused or 0) + (accepted.refused or 0)) or UNSET,
        )
    return total


def read_answer(call: Call[Answer], reply: Reply) -> Answer:
    """Return the answer of a reply; raises `ClientError` if it has none."""
    if isinstance(reply, UnavailableError):
        raise reply
    if not reply.is_success:
        raise _read_error(reply)
    try:
        return msgspec.json.decode(reply.content, type=call.answer)
    except msgspec.MsgspecError:
        raise RefusedError(reply.status_code, "the answer is not one of recsys") from None


def _send_until_accepted(batch: Sequence[Event], patience: float) -> EventsCalls:
    call = Call(AcceptedEvents, "POST", "/v1/events", body=msgspec.json.encode(batch))
    waited = 0.0
    while True:
        reply = yield call
        wait = _wait_seconds(reply)
        if wait is None or waited + wait > patience:
            return _read_accepted(call, reply)
        waited += wait
        call = replace(call, delay=wait)


def _wait_seconds(reply: Reply) -> float | None:
    """Return the seconds to wait before a call is sent again; None if that would change nothing."""
    if isinstance(reply, UnavailableError):
        return RETRY_SECONDS
    if reply.status_code not in RETRIED_STATUSES:
        return None
    seconds = _retry_after(reply)
    return RETRY_SECONDS if seconds is None else max(MIN_RETRY_SECONDS, seconds)


def _read_accepted(call: Call[AcceptedEvents], reply: Reply) -> AcceptedEvents:
    """Read the outcome of a batch, which an answer of status 400 or 429 has too."""
    if not isinstance(reply, UnavailableError):
        with suppress(msgspec.MsgspecError):
            return msgspec.json.decode(reply.content, type=AcceptedEvents)
    return read_answer(call, reply)


def _with_identity(event: Event) -> Event:
    """Return an event with an id and a time, so that it stays the same one however often it is sent."""
    identified: Event = {**event}
    if identified.get("event_id") is None:
        identified["event_id"] = uuid4().hex
    if identified.get("timestamp") is None:
        identified["timestamp"] = datetime.now(UTC)
    return identified


def _read_error(response: "httpx.Response") -> ClientError:
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
    """Return the seconds that the server asks for; a date, which only proxies send, is ignored."""
    header = response.headers.get("retry-after", "")
    return float(header) if header.isascii() and header.isdecimal() else None


def _reference(is_pseudonym: bool) -> dict[str, Any]:
    """Return the parameters that say how a user is given."""
    return {"pseudonym": 1} if is_pseudonym else {}


def _quote(value: str) -> str:
    """Quote an id for a path, including its dots, because `..` means the level above."""
    return quote(value, safe="").replace(".", "%2E")


def _listed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions as a body has them, where one text is a list of one."""
    return {key: [each] if isinstance(each, str) and key != "list" else each for key, each in options.items()}


def _query(options: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: int(value) if isinstance(value, bool) else value
        for name, value in options.items()
        if value is not None
    }
