"""Ranking: fuse lists of candidates into one order, diversify it, and limit brands and categories per page."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from math import ceil
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
ROUNDING: Final = 1e-9  # of a share times a place, such as .1 times 30

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
    lists. The candidates of a single list are made one by one, as they are taken. An item that is a neighbor of an
    anchor and is in other lists too comes up again with what it scores without that anchor, for `limit_anchors`.
    """
    if len(lists) == 1 and lists[0].anchor is None:
        candidates = lists[0]
        return to_candidates(candidates.items, candidates.source, candidates.reason)
    scored: dict[str, list[tuple[float, int]]] = {}
    for number, candidates in enumerate(lists):
        weight, place = candidates.weight, candidates.constant
        for item_id in candidates.items:
            place += 1
            scored.setdefault(item_id, []).append((weight / place, number))
    entries: list[tuple[float, Candidate]] = []
    for item_id, scores in scored.items():
        while scores:
            best = lists[max(scores, key=itemgetter(0))[1]]
            entries.append((sum(map(itemgetter(0), scores)), _candidate(item_id, best)))
            scores = (
                [] if best.anchor is None else [each for each in scores if lists[each[1]].anchor != best.anchor]
            )
    entries.sort(key=itemgetter(0), reverse=True)
    return [candidate for _, candidate in entries]


def _candidate(item_id: str, candidates: CandidateList) -> Candidate:
    return Candidate(item_id, candidates.source, candidates.reason, candidates.anchor)


def limit_anchors(
    order: Iterable[Candidate], share: float, is_excluded: Callable[[str], bool], keep_rest: bool = True
) -> Iterator[Candidate]:
    """Reorder items so that of the first `n`, whatever `n`, at most `share * n`, rounded up, have one anchor.

    A candidate over the limit is deferred until there is room for it, if its item has not come up from elsewhere.
    Items that are excluded do not count. If only candidates over the limit remain, they follow in their order; not
    with `keep_rest` False. Each item comes once.
    """
    counts: dict[str, int] = {}
    deferred: dict[str, deque[tuple[int, Candidate]]] = {}
    item_ids: set[str] = set()
    place = 0

    def has_room(anchor: str) -> bool:
        return counts.get(anchor, 0) < ceil(share * (place + 1) - ROUNDING)

    for number, candidate in enumerate(order):
        if candidate.item_id in item_ids:
            continue
        anchor = candidate.anchor
        if anchor is not None and not has_room(anchor):
            deferred.setdefault(anchor, deque()).append((number, candidate))
            continue
        item_ids.add(candidate.item_id)
        yield candidate
        if is_excluded(candidate.item_id):
            continue
        place += 1
        if anchor is not None:
            counts[anchor] = counts.get(anchor, 0) + 1
        while (first := _take_deferred(deferred, item_ids, has_room)) is not None:
            item_ids.add(first.item_id)
            yield first
            if not is_excluded(first.item_id):
                place += 1
                counts[first.anchor or ""] = counts.get(first.anchor or "", 0) + 1
    if keep_rest:
        rest = sorted((each for queue in deferred.values() for each in queue), key=itemgetter(0))
        yield from deduplicate(candidate for _, candidate in rest if candidate.item_id not in item_ids)


def _take_deferred(
    deferred: dict[str, deque[tuple[int, Candidate]]], item_ids: set[str], has_room: Callable[[str], bool]
) -> Candidate | None:
    """Take the first deferred candidate whose anchor has room; None if there is none."""
    first: tuple[int, Candidate] | None = None
    for anchor, queue in deferred.items():
        while queue and queue[0][1].item_id in item_ids:
            queue.popleft()
        if queue and has_room(anchor) and (first is None or queue[0][0] < first[0]):
            first = queue[0]
    if first is None:
        return None
    return deferred[first[1].anchor or ""].popleft()[1]


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
