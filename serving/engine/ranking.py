"""Ranking: fuse lists of candidates into one order, diversify it, and limit brands and categories per page."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
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

PageLimit = tuple[int, Callable[[int], int]]
"""Maximum number of items with one label on a page; function from a catalogue row to its label, -1 for none."""


class CandidateList(Struct, frozen=True):
    """A list of items from one source, best first, and its weight in the fusion."""

    source: Source
    reason: str
    items: Sequence[str]
    weight: float = 1.0
    constant: int = LIST_CONSTANT


class Candidate(Struct, frozen=True, gc=False):
    """An item, and the source with the highest score for it."""

    item_id: str
    source: Source
    reason: str


def to_candidates(items: Iterable[str], source: Source, reason: str) -> Iterator[Candidate]:
    """Make candidates of one source lazily, one by one."""
    sources: Iterator[Any] = repeat(source)  # the type checker would infer str
    return map(Candidate, items, sources, repeat(reason))


def fuse(lists: Sequence[CandidateList]) -> Iterable[Candidate]:
    """Fuse lists into one order by reciprocal ranks (Cormack, Clarke and Büttcher 2009).

    An item's score is the sum of `weight / (constant + rank)` over the lists; equal scores keep the order of the
    lists. The candidates of a single list are made one by one, as they are taken.
    """
    if len(lists) == 1:
        candidates = lists[0]
        return to_candidates(candidates.items, candidates.source, candidates.reason)
    scores: dict[str, float] = {}
    best: dict[str, tuple[float, CandidateList]] = {}
    for candidates in lists:
        weight, place = candidates.weight, candidates.constant
        for item_id in candidates.items:
            place += 1
            score = weight / place
            scores[item_id] = scores.get(item_id, 0.0) + score
            if item_id not in best or score > best[item_id][0]:
                best[item_id] = (score, candidates)
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    return [Candidate(item_id, best[item_id][1].source, best[item_id][1].reason) for item_id in order]


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
    order = list(order)
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
