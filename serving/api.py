"""The answers of the HTTP server as structs, and the limits of requests; it imports msgspec only."""

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

DEFAULT_N: Final = 20
"""Items of an answer."""
MAX_N: Final = 1_000
MAX_OFFSET: Final = 10_000
MAX_EXCLUDED: Final = 1_000
"""Item ids that one request may exclude."""
MAX_USERS: Final = 500
"""Users of one batch request."""
MAX_RANKED: Final = 1_000
"""Item ids of one rank request."""
MAX_EVENTS: Final = 500
"""Events of one request."""

Context = Literal["home", "product", "cart", "mail"]

Source = Literal[
    "personal", "session", "bought_with", "segment", "similar", "trending", "popular", "previous", "static", "given"
]


class Recommendation(Struct, frozen=True):
    """An item and its place in the list, 1 the best; why it is there, as a name and in words."""

    item_id: str
    rank: int
    source: Source
    reason: str


class Removal(Struct, frozen=True):
    """Items that a filter left out, and why."""

    reason: str
    items: list[str]


class Stage(Struct, frozen=True):
    """What one stage of a request came to."""

    name: str
    microseconds: float
    items: list[str] | UnsetType = UNSET
    removed: list[Removal] | UnsetType = UNSET
    note: str | UnsetType = UNSET


class Recommendations(Struct, frozen=True):
    """Items of one version, best first.

    `cursor` asks for the next page of this very list, whatever happens meanwhile; it is null after the last item.
    `degraded` tells that Redis did not answer, and that the list is made of what the process knew.
    """

    user_id: str
    version: str
    request_id: str
    degraded: bool
    items: list[Recommendation]
    cursor: str | None
    stages: list[Stage] | UnsetType = UNSET


class ItemList(Struct, frozen=True):
    """Items that are nobody's own list, best first."""

    version: str
    request_id: str
    degraded: bool
    items: list[Recommendation]


class Batch(Struct, frozen=True):
    """An answer for each user, in the order they were asked for."""

    request_id: str
    answers: list[Recommendations]


class RecentEvent(Struct, frozen=True):
    """An event of a session."""

    event: str
    item_id: str
    timestamp: str


class User(Struct, frozen=True):
    """What is known of a user: `profile` as of the version, `session` the latest events, the latest first."""

    user_id: str
    version: str
    request_id: str
    profile: dict[str, Any]
    items: int
    session: list[RecentEvent]
    flag: str | None


class RowError(Struct, frozen=True):
    """What is wrong with one row of a batch; rows count from 0."""

    row: int
    field: str
    value: str
    expected: str


class AcceptedEvents(Struct, frozen=True):
    """How many events are in the stream, how many found no room, and what is wrong with the others."""

    request_id: str
    accepted: int
    shed: int
    errors: list[RowError]


class ItemState(Struct, frozen=True):
    """What is known of an item now."""

    item_id: str
    request_id: str
    updated_at: str


class UserFlag(Struct, frozen=True):
    """Why a user is held back, and how long: `score` from 0 to 100, `reasons` the weightiest first.

    `user_id` is as it is kept: a pseudonym, where there is a key for it.
    """

    user_id: str
    score: float
    reasons: list[str]
    source: Literal["online", "nightly", "label"]
    since: str
    until: str


class Anomalies(Struct, frozen=True):
    """Users who are held back, `total` of them in all."""

    request_id: str
    total: int
    flags: list[UserFlag]


class Anomaly(Struct, frozen=True):
    """What is known against a user: a flag or none, and whether an analyst has released the user."""

    user_id: str
    request_id: str
    flag: UserFlag | None
    released: bool


class UserLabel(Struct, frozen=True):
    """What an analyst has said of a user."""

    user_id: str
    request_id: str
    label: Literal["bot", "fine"]


class InvalidValue(Struct, frozen=True):
    """Which value of the request is not accepted, and what would be."""

    field: str
    value: str
    expected: str
    request_id: str


class Failure(Struct, frozen=True):
    """Why there is no answer."""

    error: str
    request_id: str


class LiveStatus(Struct, frozen=True):
    """The process answers."""

    status: Literal["live"]


class ReadyStatus(Struct, frozen=True):
    """There are lists to answer with; degraded while Redis does not answer."""

    status: Literal["ready", "degraded"]
    version: str
