"""The state of one request: all that sources and filters look at."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from recsys.settings import Settings
from serving.engine.catalogue import Catalogue
from serving.engine.session_neighbors import Neighbors
from serving.engine.user_state import UserState
from serving.requests import ListRequest


@dataclass(frozen=True, slots=True)
class Policy:
    """The shop's settings of which items may be shown again."""

    repeat: Literal["allow", "exclude"]
    """Whether items bought before are recommended."""
    hide_seen: bool
    """Whether items viewed or clicked in the session are left out."""
    repeat_days: float
    """Days until a bought item is recommended again, where the catalogue has no number for it."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Policy":
        """Take the policy from the settings."""
        return cls(settings.repeat, settings.serving.hide_seen, settings.serving.repeat_days)


class RequestState(Struct, frozen=True):
    """A list request with the state of its user, the catalogue and the time."""

    request: ListRequest
    stored_id: str
    """The user's id in Redis."""
    user: UserState
    catalogue: Catalogue
    policy: Policy
    now_ms: int
    """Unix milliseconds of the request."""
    latest_ms: int
    """Unix milliseconds of the last events that count for the order: those of the first page, with a cursor."""
    is_fresh: bool
    """Whether Redis has answered so far."""
    is_previous: bool = False
    """Whether list and catalogue are those of the version before the live one."""
    neighbors: Sequence[Neighbors] = ()
    """Neighbors of the latest items of the session."""
    favorite_categories: Sequence[str] = ()
    """The categories the user likes best, best first; read only where an answer has to be filled."""
