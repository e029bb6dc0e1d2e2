"""Lists of candidates made into one order, and the order spread over brands, categories and kinds."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np
from msgspec import Struct

from serving.api import Source
from serving.engine.catalogue import Catalogue

LIST_CONSTANT: Final = 10
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009): how flat the head of a user's list counts."""
NEIGHBOURS_CONSTANT: Final = 3
"""The same for neighbours of one item, of which only the first few say much."""
DIVERSE_ITEMS: Final = 200
"""The head of an order within which items are moved for diversity."""


class Candidates(Struct, frozen=True):
    """A list of items, best first, from one source, and what it counts beside others."""

    source: Source
    reason: str
    items: Sequence[str]
    weight: float = 1.0
    constant: int = LIST_CONSTANT


class Candidate(Struct, frozen=True, gc=False):
    """An item and the source that counted most for it."""

    item_id: str
    source: Source
    reason: str


def of_source(items: Iterable[str], source: Source, reason: str) -> Iterator[Candidate]:
    """Items of one source, made as they are taken."""
    sources: Iterator[Any] = repeat(source)  # of which the type checker forgets that it is no other text
    return map(Candidate, items, sources, repeat(reason))


def fuse(lists: Sequence[Candidates]) -> Iterable[Candidate]:
    """One order of all lists' items: by the sum of `weight / (constant + place)` over the lists, earlier ones first
    where that is equal. Of a single list no more is made than is taken.
    """
    if len(lists) == 1:
        only = lists[0]
        return of_source(only.items, only.source, only.reason)
    scores: dict[str, float] = {}
    best: dict[str, tuple[float, Candidates]] = {}
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


def diversify(order: Iterable[Candidate], catalogue: Catalogue, diversity: float) -> Iterable[Candidate]:
    """The head of the order again, by maximal marginal relevance (Carbonell and Goldstein 1998).

    Each next item has the greatest `(1 - diversity) * relevance - diversity * s`, where relevance falls from 1 to 0
    along the order, and s is the greatest cosine with an item before it.
    """
    if not diversity or catalogue.vectors is None:
        return order
    order = list(order)
    head, tail = order[:DIVERSE_ITEMS], order[DIVERSE_ITEMS:]
    rows = np.array([catalogue.rows.get(candidate.item_id, -1) for candidate in head])
    vectors = catalogue.vectors[rows].astype(np.float32) / 127
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
    """The same items so that among each n in a row, from the first on, no more than so many are of one brand or
    category; those held back come as early as they may. Where nothing else is left they come all the same.
    """
    if not max_per_brand and not max_per_category:
        return order
    limits: list[tuple[int, Callable[[int], int]]] = []
    if max_per_brand:
        limits.append((max_per_brand, lambda row: int(catalogue.brands.of_items[row])))
    if max_per_category:
        limits.append((max_per_category, lambda row: int(catalogue.categories.of_items[row])))
    return _spread(iter(order), n, catalogue, limits)


def _spread(
    order: Iterable[Candidate], n: int, catalogue: Catalogue, limits: list[tuple[int, Callable[[int], int]]]
) -> Iterable[Candidate]:
    source = iter(order)
    held: deque[Candidate] = deque()
    exhausted = False
    while held or not exhausted:
        counts: list[dict[int, int]] = [{} for _ in limits]
        page = 0
        again, held = held, deque[Candidate]()
        while page < n:
            if again:
                candidate = again.popleft()
            else:
                following = next(source, None)
                if following is None:
                    exhausted = True
                    break
                candidate = following
            if _fits(candidate, catalogue, limits, counts):
                page += 1
                yield candidate
            else:
                held.append(candidate)
        held.extend(again)
        while exhausted and held and page < n:
            page += 1
            yield held.popleft()


def _fits(
    candidate: Candidate,
    catalogue: Catalogue,
    limits: list[tuple[int, Callable[[int], int]]],
    counts: list[dict[int, int]],
) -> bool:
    """Whether the page has room for an item's brand and category; if so, it takes it."""
    row = catalogue.rows.get(candidate.item_id)
    if row is None:
        return True
    labels = [label(row) for _, label in limits]
    if any(
        code >= 0 and count.get(code, 0) >= most
        for (most, _), code, count in zip(limits, labels, counts, strict=True)
    ):
        return False
    for code, count in zip(labels, counts, strict=True):
        count[code] = count.get(code, 0) + 1
    return True
