"""What may not be in an answer, and why."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from msgspec import Struct

from recsys.schema import CLICK, VIEW
from recsys.settings.online import Serving
from serving.engine.catalogue import NO_FILTER, Catalogue
from serving.engine.ranking import Candidate
from serving.engine.user_state import UserState
from serving.http.query import ListRequest

DAY_MS: Final = 86_400_000
SEEN: Final = frozenset((VIEW, CLICK))

Repeat = Literal["allow", "exclude"]
Removals = dict[str, list[str]]


class Exclusions(Struct, frozen=True):
    """Items that must not be shown to a user, by reason."""

    had: str = ""
    """Bought before the night, as `UserState.had`."""
    bought: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    unavailable: AbstractSet[str] = frozenset()

    @property
    def own(self) -> frozenset[str]:
        """Those that others may be shown."""
        if not (self.bought or self.seen or self.excluded):
            return frozenset()
        return self.bought | self.seen | self.excluded

    def why(self, item_id: str) -> str:
        """The reason an item is left out for."""
        if item_id in self.unavailable:
            return "unavailable"
        if item_id in self.excluded:
            return "excluded"
        return "seen" if item_id in self.seen else "bought"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the shop wants shown again."""

    repeat: Repeat
    hide_seen: bool
    repeat_days: float

    @classmethod
    def of(cls, repeat: Repeat, serving: Serving) -> "Policy":
        """The settings that matter here."""
        return cls(repeat, serving.hide_seen, serving.repeat_days)

    def barred(self, known: UserState, asked: ListRequest, catalogue: Catalogue, now_ms: int) -> Exclusions:
        """What a user is not shown now."""
        had = known.had if self.repeat == "exclude" else ""
        if not (known.acts or asked.exclude):
            return Exclusions(had, unavailable=catalogue.unavailable)
        if self.repeat == "exclude":
            bought = frozenset(act.item_id for act in known.bought)
        else:
            bought = frozenset(
                act.item_id
                for act in known.bought
                if act.at_ms >= catalogue.as_of_ms
                and now_ms < act.at_ms + DAY_MS * self._cycle_days(act.item_id, catalogue)
            )
        seen = frozenset(act.item_id for act in known.acts if act.event in SEEN) if self.hide_seen else frozenset()
        return Exclusions(had, bought, seen, asked.exclude, catalogue.unavailable)

    def _cycle_days(self, item_id: str, catalogue: Catalogue) -> float:
        """After how many days a bought item is due again."""
        row = catalogue.rows.get(item_id)
        known = np.nan if row is None else float(catalogue.repeat_days[row])
        return self.repeat_days if np.isnan(known) else known


def unlike_wanted(
    order: Iterable[Candidate], asked: ListRequest, catalogue: Catalogue
) -> tuple[Iterable[Candidate], Removals]:
    """The items that are as the request wants them, and those that are not."""
    if asked.item_filter is NO_FILTER:
        return order, {}
    order = list(order)
    passes = catalogue.passes(asked.item_filter, (candidate.item_id for candidate in order))
    kept = [candidate for candidate, passed in zip(order, passes, strict=True) if passed]
    lost = [candidate.item_id for candidate, passed in zip(order, passes, strict=True) if not passed]
    return kept, {"category, brand or price": lost} if lost else {}


def page(
    order: Iterable[Candidate], start: int, offset: int, n: int, barred: Exclusions
) -> tuple[list[Candidate], int, Removals]:
    """N items of the order that may be shown, from a place on, after as many more as `offset` says.

    Also the place after the last one taken, and what was left out on the way.
    """
    taken: list[Candidate] = []
    removed: Removals = {}
    own, had, unavailable = barred.own, barred.had, barred.unavailable
    place = 0
    for candidate in order:
        place += 1
        if place <= start:
            continue
        item_id = candidate.item_id
        if item_id in unavailable or item_id in own or (had and f" {item_id} " in had):
            removed.setdefault(barred.why(item_id), []).append(item_id)
        elif offset > 0:
            offset -= 1
        else:
            taken.append(candidate)
            if len(taken) == n:
                break
    return taken, place, removed
