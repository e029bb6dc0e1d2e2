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
ListName = Literal["blend", "again", "new"]
"""A user's lists: the best items, those to buy again, and those that the user has never bought."""

Source = Literal[
    "personal", "session", "bought_with", "segment", "similar", "trending", "popular", "previous", "static", "given"
]


class Recommendation(Struct, frozen=True):
    """An item of a list: its rank, where 1 is the best, the source it comes from, and the reason in words."""

    item_id: str
    rank: int
    source: Source
    reason: str


class Removal(Struct, frozen=True):
    """Items that a filter removed, and its reason."""

    reason: str
    items: list[str]


class Stage(Struct, frozen=True):
    """The result of one stage of a request."""

    name: str
    microseconds: float
    items: list[str] | UnsetType = UNSET
    removed: list[Removal] | UnsetType = UNSET
    note: str | UnsetType = UNSET


class Recommendations(Struct, frozen=True):
    """Items of one version, best first.

    `cursor` requests the next page of the same list, whatever happens meanwhile; it is null after the last item.
    `degraded` means that Redis did not answer, and that the list is made from the memory of the process, or that
    something is wrong with the data of Redis, which `/ready` names.
    """

    user_id: str
    version: str
    request_id: str
    degraded: bool
    items: list[Recommendation]
    cursor: str | None
    stages: list[Stage] | UnsetType = UNSET


class ItemList(Struct, frozen=True):
    """A list that is the same for all users, best first."""

    version: str
    request_id: str
    degraded: bool
    items: list[Recommendation]


class Batch(Struct, frozen=True):
    """A list for each user, in the order of the request."""

    request_id: str
    answers: list[Recommendations]


class RecentEvent(Struct, frozen=True):
    """An event of a session."""

    event: str
    item_id: str
    timestamp: str


class User(Struct, frozen=True):
    """A user: `profile` of the version, `session` the latest events, newest first."""

    user_id: str
    version: str
    request_id: str
    profile: dict[str, Any]
    items: int
    session: list[RecentEvent]
    flag: str | None


class RowError(Struct, frozen=True):
    """An invalid row of a batch; rows count from 0."""

    row: int
    field: str
    value: str
    expected: str


class AcceptedEvents(Struct, frozen=True):
    """The number of events in the stream, of those without room (`shed`), and the errors of the others.

    `duplicates` is the number of accepted events that were accepted before, and change nothing.
    """

    request_id: str
    accepted: int
    duplicates: int
    shed: int
    errors: list[RowError]
    refused: int | UnsetType = UNSET
    """Events of users who have opted out, or who were erased after the event; left out if there are none."""


class ErasedUser(Struct, frozen=True):
    """A user who is erased from Redis, and soon from the lake: `request_id` names the receipt."""

    user_id: str
    request_id: str


class Consent(Struct, frozen=True):
    """Whether a user wants personal lists; `since` is the time of the refusal."""

    user_id: str
    request_id: str
    personal_lists: bool
    since: str | None


class ItemState(Struct, frozen=True):
    """The state of an item after a change."""

    item_id: str
    request_id: str
    updated_at: str


class UserFlag(Struct, frozen=True):
    """The flag of a user: `score` from 0 to 100, `reasons` in order of weight, `until` its end.

    `user_id` is the stored id: the pseudonym, where the server has a key for it.
    """

    user_id: str
    score: float
    reasons: list[str]
    source: Literal["online", "nightly", "label"]
    since: str
    until: str


class Anomalies(Struct, frozen=True):
    """A page of the flagged users; `total` counts all of them."""

    request_id: str
    total: int
    flags: list[UserFlag]


class Anomaly(Struct, frozen=True):
    """The flag of a user, null without one, and whether an analyst has released the user."""

    user_id: str
    request_id: str
    flag: UserFlag | None
    released: bool


class UserLabel(Struct, frozen=True):
    """An analyst's label of a user."""

    user_id: str
    request_id: str
    label: Literal["bot", "fine"]


class InvalidValue(Struct, frozen=True):
    """A value of the request that is not accepted, and what is expected."""

    field: str
    value: str
    expected: str
    request_id: str


class Failure(Struct, frozen=True):
    """The reason why a request has no answer."""

    error: str
    request_id: str


class LiveStatus(Struct, frozen=True):
    """The process is alive."""

    status: Literal["live"]


class ReadyStatus(Struct, frozen=True):
    """The server has lists to answer with; `degraded` while Redis does not answer, or has `problems`."""

    status: Literal["ready", "degraded"]
    version: str
    problems: list[str] | UnsetType = UNSET
