"""The state of one request: what sources and filters read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from recsys.settings import Settings
from serving.engine.catalogue import Catalogue
from serving.engine.session_neighbors import Neighbors
from serving.engine.user_state import UserState
from serving.engine.variants import VariantChoice
from serving.requests import ItemFilter, ListRequest


@dataclass(frozen=True, slots=True)
class Policy:
    """The shop's settings of which items may be shown again."""

    repeat: Literal["allow", "exclude"]
    """Whether items bought before are recommended."""
    exclude_events: frozenset[str]
    """Events after which a user has an item; with none, every event."""
    hide_seen: bool
    """Whether items viewed or clicked in the session are left out."""
    repeat_days: float
    """Days until a bought item is recommended again, unless the catalogue has a number of its own for the item."""
    negative_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Event by which a user dislikes an item -> its weight, below 0."""
    certain_weights: Mapping[str, float] = field(default_factory=dict[str, float])
    """Event whose weight does not depend on its value -> its weight."""

    @classmethod
    def from_settings(cls, settings: Settings) -> "Policy":
        """Return the policy of the settings."""
        sources, serving = settings.sources, settings.serving
        weights, by_value = sources.event_weights, {*sources.rating_events, *sources.value_weights}
        return cls(
            settings.repeat,
            frozenset(sources.exclude_events),
            serving.hide_seen,
            serving.repeat_days,
            {name: weights[name] for name in sources.negative_events},
            {name: weight for name, weight in weights.items() if name not in by_value},
        )


class RequestState(Struct, frozen=True):
    """A list request with the state of its user, the catalogue and the time."""

    request: ListRequest
    item_filter: ItemFilter
    """The request's conditions on items, built once."""
    stored_id: str
    """The user's id in Redis."""
    user: UserState
    catalogue: Catalogue
    policy: Policy
    now_ms: int
    """Unix milliseconds of the request."""
    latest_ms: int
    """Unix milliseconds up to which events count for the order; with a cursor, the time of the first page."""
    is_fresh: bool
    """Whether Redis has answered so far."""
    is_previous: bool = False
    """Whether list and catalogue belong to the previous version."""
    neighbors: Sequence[Neighbors] = ()
    """Neighbors of the latest items of the session."""
    favorite_categories: Sequence[str] = ()
    """The categories the user likes best, best first; read only if an answer has to be filled."""
    withheld: frozenset[str] = frozenset()
    """Items that may have been switched off since Redis was heard last."""
    variants: VariantChoice | None = None
    """Which variant of each group is shown; None if the catalogue has no groups."""
