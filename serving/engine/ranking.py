"""Ranking: fuse lists of candidates into one order, diversify it, and limit brands and categories per page."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from itertools import repeat
from operator import itemgetter
from typing import Any, Final

import numpy as np
from msgspec import Struct

from serving.api import Source
from serving.engine.catalogue import Catalogue

LIST_CONSTANT: Final = 10
"""Constant of reciprocal rank fusion for a user's list: the greater, the less the first places stand out."""
NEIGHBORS_CONSTANT: Final = 3
"""The same for neighbors of one item, of which only the first few are relevant."""
MAX_DIVERSIFIED: Final = 200
"""Length of the head of an order that is reordered for diversity."""
MAX_VECTOR_VALUE: Final = 127
MAX_CACHED_SCORES: Final = 1_000
"""Lists of different weights and lengths whose scores by place are kept."""

PageLimit = tuple[int, Callable[[int], int]]
"""Maximum number of items with one label on a page; function from a catalogue row to its label, -1 for none."""


class CandidateList(Struct, frozen=True):
    """A list of items from one source, best first, and its weight in the fusion."""

    source: Source
    reason: str
    items: Sequence[str]
    weight: float = 1.0
    constant: int = LIST_CONSTANT
    anchor: str | None = None
    """Title of the item of the session whose neighbors these are: items of one title look alike in reasons."""


class Candidate(Struct, frozen=True, gc=False):
    """An item, and the source with the highest score for it."""

    item_id: str
    source: Source
    reason: str
    anchor: str | None = None
    """Title of the item of the session that it is a neighbor of."""


def to_candidates(items: Iterable[str], source: Source, reason: str) -> Iterator[Candidate]:
    """Make candidates of one source lazily, one by one."""
    sources: Iterator[Any] = repeat(source)  # the type checker would infer str
    return map(Candidate, items, sources, repeat(reason))


def fuse(lists: Sequence[CandidateList]) -> Iterable[Candidate]:
    """Fuse lists into one order by reciprocal ranks (Cormack, Clarke and Büttcher 2009).

    An item's score is the sum of `weight / (constant + rank)` over the lists; equal scores keep the order of the
    lists. The candidates are made one by one, as they are taken. An item that is a neighbor of an anchor and is in
    other lists too comes up again with what it scores without that anchor, for `limit_places`.
    """
    if len(lists) == 1 and lists[0].anchor is None:
        candidates = lists[0]
        return to_candidates(candidates.items, candidates.source, candidates.reason)
    fusion = _Fusion(lists)
    return fusion.in_order()


@lru_cache(MAX_CACHED_SCORES)
def _reciprocals(weight: float, constant: int, length: int) -> tuple[float, ...]:
    """Return the scores of the places of a list."""
    return tuple(weight / place for place in range(constant + 1, constant + 1 + length))


_Score = tuple[float, CandidateList]
"""Score of an item in one list; the list."""
_Again = tuple[float, str, list[_Score]]
_FIRST: Final = itemgetter(0)


class _Fusion:
    """Lists with the scores of their items.

    What an answer needs to know of the items that it takes, a few of many, is found when they are taken.
    """

    def __init__(self, lists: Sequence[CandidateList]) -> None:
        self._lists: list[tuple[dict[str, float], CandidateList]] = []
        self._totals: dict[str, float] = {}
        self._in_several: set[str] = set()
        self._again: list[_Again] = []
        """Items that come up again: a heap of negative scores, the items, and the scores that are left."""
        totals = self._totals
        for candidates in lists:
            items = candidates.items
            places = _reciprocals(candidates.weight, candidates.constant, len(items))
            scores = dict(zip(items, places, strict=True))
            self._lists.append((scores, candidates))
            shared = totals.keys() & scores.keys()
            if shared:
                self._in_several |= shared
                scores = scores | {item_id: totals[item_id] + scores[item_id] for item_id in shared}
            totals |= scores

    def in_order(self) -> Iterator[Candidate]:
        """Yield the items by their total scores, and where their scores are, those that come up again."""
        totals, again = self._totals, self._again
        for item_id in sorted(totals, key=totals.__getitem__, reverse=True):
            while again and -again[0][0] > totals[item_id]:
                yield self._take_again()
            if item_id in self._in_several:
                yield self._take(
                    item_id, [(scores[item_id], each) for scores, each in self._lists if item_id in scores]
                )
            else:
                candidates = next(each for scores, each in self._lists if item_id in scores)
                yield Candidate(item_id, candidates.source, candidates.reason, candidates.anchor)
        while again:
            yield self._take_again()

    def _take_again(self) -> Candidate:
        _, item_id, found = heappop(self._again)
        return self._take(item_id, found)

    def _take(self, item_id: str, found: Sequence[_Score]) -> Candidate:
        """Return an item from the list with the highest score; without that list's anchor it may come up again."""
        first = max(found, key=_FIRST)[1]
        if first.anchor is not None:
            others = [each for each in found if each[1].anchor != first.anchor]
            if others:
                heappush(self._again, (-sum([score for score, _ in others]), item_id, others))
        return Candidate(item_id, first.source, first.reason, first.anchor)


def deduplicate(order: Iterable[Candidate]) -> Iterator[Candidate]:
    """Yield the first candidate of each item."""
    item_ids: set[str] = set()
    for candidate in order:
        if candidate.item_id not in item_ids:
            item_ids.add(candidate.item_id)
            yield candidate


def diversify(order: Iterable[Candidate], catalogue: Catalogue, diversity: float) -> Iterable[Candidate]:
    """Reorder the head of an order by maximal marginal relevance (Carbonell and Goldstein 1998).

    Each next item has the greatest `(1 - diversity) * relevance - diversity * s`, where relevance falls from 1 to 0
    along the order, and s is the greatest cosine with an item before it.
    """
    if not diversity or catalogue.vectors is None:
        return order
    order = list(deduplicate(order))
    head, tail = order[:MAX_DIVERSIFIED], order[MAX_DIVERSIFIED:]
    rows = np.array([catalogue.rows.get(candidate.item_id, -1) for candidate in head], np.intp)
    vectors = catalogue.vectors[rows].astype(np.float32) / MAX_VECTOR_VALUE
    vectors[rows < 0] = 0
    relevance = (1 - diversity) * np.linspace(1, 0, len(head), dtype=np.float32)
    closest = np.zeros(len(head), np.float32)
    left = np.ones(len(head), bool)
    chosen: list[Candidate] = []
    for _ in head:
        place = int(np.argmax(np.where(left, relevance - diversity * closest, -np.inf)))
        left[place] = False
        chosen.append(head[place])
        np.maximum(closest, vectors @ vectors[place], out=closest)
    return chosen + tail


def spread(
    order: Iterable[Candidate], n: int, catalogue: Catalogue, max_per_brand: int, max_per_category: int
) -> Iterable[Candidate]:
    """Reorder items so that no page of `n` has more of a brand or category than allowed; 0 means no limit.

    An item over the limit is deferred to the first page that has room for it. If only such items remain, the limit
    is broken.
    """
    limits: list[PageLimit] = []
    if max_per_brand:
        limits.append((max_per_brand, lambda row: int(catalogue.brands.codes[row])))
    if max_per_category:
        limits.append((max_per_category, lambda row: int(catalogue.categories.codes[row])))
    return _spread(order, n, catalogue, limits) if limits else order


def _spread(
    order: Iterable[Candidate], n: int, catalogue: Catalogue, limits: Sequence[PageLimit]
) -> Iterator[Candidate]:
    source = iter(order)
    deferred: deque[Candidate] = deque()
    exhausted = False
    while deferred or not exhausted:
        counts: list[dict[int, int]] = [{} for _ in limits]
        taken = 0
        retried, deferred = deferred, deque[Candidate]()
        while taken < n:
            if retried:
                candidate = retried.popleft()
            else:
                next_candidate = next(source, None)
                if next_candidate is None:
                    exhausted = True
                    break
                candidate = next_candidate
            if _fits(candidate, catalogue, limits, counts):
                taken += 1
                yield candidate
            else:
                deferred.append(candidate)
        deferred.extend(retried)
        while exhausted and deferred and taken < n:
            taken += 1
            yield deferred.popleft()


def _fits(
    candidate: Candidate, catalogue: Catalogue, limits: Sequence[PageLimit], counts: list[dict[int, int]]
) -> bool:
    """Return whether a page has room for an item's brand and category, and count the item if so."""
    row = catalogue.rows.get(candidate.item_id)
    if row is None:
        return True
    labels = [label(row) for _, label in limits]
    if any(
        label >= 0 and count.get(label, 0) >= maximum
        for (maximum, _), label, count in zip(limits, labels, counts, strict=True)
    ):
        return False
    for label, count in zip(labels, counts, strict=True):
        count[label] = count.get(label, 0) + 1
    return True
