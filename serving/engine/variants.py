"""Variants of one product: an answer shows one of each group, and another one where that is switched off."""

from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

from msgspec.structs import replace

from serving.engine.catalogue import Catalogue
from serving.engine.item_groups import NO_GROUP
from serving.engine.ranking import Candidate, CandidateList
from serving.requests import NO_FILTER, ItemFilter


class VariantChoice:
    """Chooses the variant of each group that an answer shows; it is the same wherever the group comes up.

    It is the first one to come up if that may be shown, else the first of the group that may be, the most popular
    one. If none may be, it is the one that came up, which the filters remove.
    """

    def __init__(
        self, catalogue: Catalogue, item_filter: ItemFilter, now_ms: int, allowed: AbstractSet[str] | None = None
    ) -> None:
        """Choose among the items of a catalogue that pass a filter at a time; with `allowed`, among these only."""
        self._catalogue, self._filter, self._now_ms, self._allowed = catalogue, item_filter, now_ms, allowed
        self._chosen: dict[int, str] = {}

    def choose(self, item_id: str) -> str:
        """Return the item to show for an item."""
        group = self._catalogue.groups.group(item_id)
        if group == NO_GROUP:
            return item_id
        chosen = self._chosen.get(group)
        if chosen is None:
            chosen = item_id if self._may_be_shown(item_id) else self._find_other(group, item_id)
            self._chosen[group] = chosen
        return chosen

    def choose_in_lists(self, lists: Sequence[CandidateList]) -> list[CandidateList]:
        """Return lists with the chosen variants, each group once in a list."""
        return [replace(each, items=list(dict.fromkeys(map(self.choose, each.items)))) for each in lists]

    def choose_in_order(self, order: Iterable[Candidate]) -> Iterator[Candidate]:
        """Yield the candidates with the chosen variants; a group may come up several times."""
        for candidate in order:
            item_id = self.choose(candidate.item_id)
            yield candidate if item_id == candidate.item_id else replace(candidate, item_id=item_id)

    def _find_other(self, group: int, item_id: str) -> str:
        """Return the first variant of a group that may be shown, else the given item."""
        return next(filter(self._may_be_shown, self._catalogue.groups.variants(group)), item_id)

    def _may_be_shown(self, item_id: str) -> bool:
        catalogue = self._catalogue
        return (
            item_id not in catalogue.unavailable
            and (not catalogue.offers.has_validity or catalogue.is_valid(item_id, self._now_ms))
            and (self._allowed is None or item_id in self._allowed)
            and (self._filter == NO_FILTER or catalogue.passes(self._filter, (item_id,))[0])
        )
