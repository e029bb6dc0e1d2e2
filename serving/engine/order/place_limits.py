"""Limits of places: how many have the neighbors of one item of the session, one product type, or one title."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from math import ceil
from typing import Final

from recsys.product_types import LIMITED_PLACES
from serving.engine.catalogue import Catalogue
from serving.engine.labels import NO_LABEL
from serving.engine.ranking import Candidate

ROUNDING: Final = 1e-9  # of a share times a place, such as .1 times 30
MAX_DEFERRED: Final = 500
"""Candidates that wait for room; of more than that, the first one takes its place whatever the limits."""

Label = str | int
"""The title of an item of the session, the number of a product type, or that of a title."""


class LabelLimits:
    """How many of `LIMITED_PLACES` consecutive places the items of one type, and of one title, have for a user."""

    def __init__(
        self, catalogue: Catalogue, max_per_type: int, max_per_title: int, own_list: Sequence[str]
    ) -> None:
        """Limit types and titles, 0 for no limit; `own_list` is what the night published for the user, if anything.

        That list has more of a type where the user's own purchases show more.
        """
        self._rows, self._labels = catalogue.rows, catalogue.labels
        self._max_per_type, self._max_per_title = max_per_type, max_per_title
        self._own_list = own_list
        self._own_labels: list[tuple[int, ...]] | None = None
        self._limits: dict[int, int] = {}

    def labels(self, item_id: str) -> tuple[int, ...]:
        """Return the labels of an item that are limited."""
        row = self._rows.get(item_id)
        if row is None:
            return ()
        product_type, title = self._labels.of(row)
        if product_type == NO_LABEL or not self._max_per_type:
            return (title,) if title != NO_LABEL and self._max_per_title else ()
        return (product_type, title) if title != NO_LABEL and self._max_per_title else (product_type,)

    def has_room(self, label: int, count: int) -> bool:
        """Return whether a label may have one more place than `count`."""
        if count < (self._max_per_type if label >= 0 else self._max_per_title):
            return True
        limit = self._limits.get(label)
        if limit is None:
            limit = self._limits[label] = self._count_in_own_list(label)
        return count < limit

    def _count_in_own_list(self, label: int) -> int:
        """Return the greatest number of consecutive places of the user's list with a label."""
        if self._own_labels is None:
            self._own_labels = [self.labels(item_id) for item_id in self._own_list]
        places = [place for place, labels in enumerate(self._own_labels) if label in labels]
        most = start = 0
        for end, place in enumerate(places):
            while places[start] <= place - LIMITED_PLACES:
                start += 1
            most = max(most, end + 1 - start)
        return most


def limit_places(
    order: Iterable[Candidate],
    share: float,
    is_excluded: Callable[[str], bool],
    keep_rest: bool = True,
    limits: LabelLimits | None = None,
) -> Iterator[Candidate]:
    """Reorder items so that of the first `n`, whatever `n`, at most `share * n`, rounded up, have one anchor.

    The `limits` of types and titles hold in the same way for consecutive places. A candidate over a limit is
    deferred until there is room for it, if its item has not come up from elsewhere. Items that are excluded do not
    count. If only candidates over a limit remain, they follow in their order; not with `keep_rest` False. Each item
    comes once.
    """
    places = _Places(share, limits)
    item_ids = places.item_ids
    for number, candidate in enumerate(order):
        item_id = candidate.item_id
        if item_id in item_ids:
            continue
        if is_excluded(item_id):
            item_ids.add(item_id)
            yield candidate
            continue
        taken = places.take(number, candidate)
        while taken is not None:
            yield taken
            taken = places.take_deferred()
    while keep_rest and (taken := places.take_deferred(any_of_them=True)) is not None:
        yield taken


class _Places:
    """The places taken so far, and the candidates that wait for room."""

    def __init__(self, share: float, limits: LabelLimits | None) -> None:
        self.item_ids: set[str] = set()
        self._share, self._limits = share, limits
        self._place, self._room = 0, ceil(share - ROUNDING)
        self._counts: dict[Label, int] = {}
        """Number of places of each anchor, and of the last ones of each type and title."""
        self._last: deque[tuple[int, ...]] = deque()
        self._deferred: dict[Label, list[tuple[int, Candidate, tuple[int, ...]]]] = {}
        """Label without room -> heap of the candidates with it, the first one on top."""
        self._waiting = 0

    def take(self, number: int, candidate: Candidate) -> Candidate | None:
        """Take the next candidate, or the first of too many that wait; None if it has to wait."""
        labels = () if self._limits is None else self._limits.labels(candidate.item_id)
        full = self._find_full(candidate, labels)
        if full is None:
            return self._accept(candidate, labels)
        self._defer(full, (number, candidate, labels))
        return self.take_deferred(any_of_them=True) if self._waiting > MAX_DEFERRED else None

    def take_deferred(self, any_of_them: bool = False) -> Candidate | None:
        """Take the first waiting candidate that there is room for; None, or the first one of all, without any."""
        if not self._deferred:
            return None
        first = self._find_first(has_room=True)
        if first is None and any_of_them:
            first = self._find_first(has_room=False)
        if first is None:
            return None
        _, candidate, labels = heappop(self._deferred[first])
        self._waiting -= 1
        return self._accept(candidate, labels)

    def _find_first(self, has_room: bool) -> Label | None:
        """Return the label under which the first candidate waits, of those with room or of all."""
        found: Label | None = None
        number = 0
        for label in list(self._deferred):
            top = self._top(label, has_room)
            if top is not None and (found is None or top < number):
                found, number = label, top
        return found

    def _top(self, label: Label, has_room: bool) -> int | None:
        """Return the number of the first candidate that waits for a label; None if it has still no room."""
        heap = self._deferred[label]
        while heap and (not has_room or not self._is_full(label)):
            entry = heap[0]
            if entry[1].item_id in self.item_ids:
                heappop(heap)
                self._waiting -= 1
                continue
            full = self._find_full(entry[1], entry[2]) if has_room else None
            if full is None:
                return entry[0]
            heappop(heap)
            self._waiting -= 1
            self._defer(full, entry)
        if not heap:
            del self._deferred[label]
        return None

    def _defer(self, label: Label, entry: tuple[int, Candidate, tuple[int, ...]]) -> None:
        heappush(self._deferred.setdefault(label, []), entry)
        self._waiting += 1

    def _find_full(self, candidate: Candidate, labels: tuple[int, ...]) -> Label | None:
        """Return a label of a candidate that has no room."""
        if candidate.anchor is not None and self._is_full(candidate.anchor):
            return candidate.anchor
        for label in labels:
            if self._is_full(label):
                return label
        return None

    def _is_full(self, label: Label) -> bool:
        count = self._counts.get(label, 0)
        if not count:
            return False
        if isinstance(label, str):
            return count >= self._room
        return self._limits is not None and not self._limits.has_room(label, count)

    def _accept(self, candidate: Candidate, labels: tuple[int, ...]) -> Candidate:
        counts = self._counts
        self.item_ids.add(candidate.item_id)
        self._place += 1
        self._room = ceil(self._share * (self._place + 1) - ROUNDING)
        if candidate.anchor is not None:
            counts[candidate.anchor] = counts.get(candidate.anchor, 0) + 1
        if self._limits is not None:
            self._last.append(labels)
            for label in labels:
                counts[label] = counts.get(label, 0) + 1
            if len(self._last) == LIMITED_PLACES:
                for label in self._last.popleft():
                    counts[label] -= 1
        return candidate
