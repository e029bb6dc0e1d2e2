"""Where items of an answer come from: the user's list, the session's neighbours, and the rungs below."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from recsys.anomaly.acts import Act
from recsys.schema import CART, PURCHASE
from serving.api import Context, Source
from serving.engine.catalogue import NO_FILTER, Catalogue, ItemFilter
from serving.engine.ranking import NEIGHBOURS_CONSTANT, Candidate, Candidates, of_source
from serving.engine.user_state import UserState
from serving.http.query import ListRequest

ANCHORS: Final = 10
"""Latest items of a session whose neighbours are looked up."""
NEIGHBOURS: Final = 20
"""First of an item's neighbours that are looked at: those after them would come behind the user's whole list."""
ANCHOR_DECAY: Final = 0.9
"""What an item counts beside the one after it in the session."""
PERSONAL: Final = "picked for you from what you and shoppers like you have chosen"
PREVIOUS: Final = "picked for you the night before"
POPULAR: Final = "popular in the shop"
STATIC: Final = "a favourite of the shop"
DID: Final = {CART: "is in your cart", PURCHASE: "you bought"}


@dataclass(frozen=True, slots=True)
class Share:
    """What the lists count in a context, before the decay along the session.

    `bought_with`, like the constants and the decay, suits the week before the last of Complete Journey best; it has
    purchases alone, so that the others are a choice.
    """

    personal: float = 1.0
    similar: float = 0.3
    bought_with: float = 0.2


SHARES: Final[Mapping[Context, Share]] = {
    "home": Share(),
    "product": Share(similar=1.0),
    "cart": Share(similar=0.1, bought_with=1.0),
    "mail": Share(similar=0.0, bought_with=0.0),
}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Items like one of the session, and those bought with it, best first."""

    act: Act
    weight: float
    similar: Sequence[str] = ()
    bought_with: Sequence[str] = ()


def anchors(acts: Iterable[Act], context: Context, weights: Mapping[str, float]) -> list[tuple[Act, float]]:
    """The latest acts of different items that say the user wants them, each with its decay."""
    share = SHARES[context]
    if not (share.similar or share.bought_with):
        return []
    found: list[tuple[Act, float]] = []
    known: set[str] = set()
    for act in acts:
        if act.item_id in known or weights.get(act.event, 0.0) <= 0:
            continue
        known.add(act.item_id)
        found.append((act, ANCHOR_DECAY ** len(found)))
        if len(found) == ANCHORS:
            break
    return found


def candidates(
    known: UserState, neighbours: Sequence[Neighbours], asked: ListRequest, catalogue: Catalogue, previous: bool
) -> list[Candidates]:
    """The lists that are blended: what was bought has no items like it, but items that go with it."""
    share = SHARES[asked.context]
    found: list[Candidates] = []
    if known.items:
        source, reason = ("previous", PREVIOUS) if previous else ("personal", PERSONAL)
        found.append(Candidates(source, reason, known.items, share.personal))
    for near in neighbours:
        title, did = catalogue.title(near.act.item_id), DID.get(near.act.event, "you viewed")
        if near.bought_with and share.bought_with:
            reason = f"often bought with {title}, which {did}"
            found.append(
                Candidates(
                    "bought_with", reason, near.bought_with, near.weight * share.bought_with, NEIGHBOURS_CONSTANT
                )
            )
        if near.similar and share.similar and near.act.event != PURCHASE:
            reason = f"similar to {title}, which {did}"
            found.append(
                Candidates("session", reason, near.similar, near.weight * share.similar, NEIGHBOURS_CONSTANT)
            )
    return found


def segment(categories: Sequence[str], wanted: ItemFilter, catalogue: Catalogue) -> Iterator[Candidate]:
    """What is popular in the categories a user likes best, taken in turns."""
    if wanted.category is not None:
        return
    within = [
        (
            f"popular in {category}, where you often choose",
            catalogue.popular(ItemFilter(category, wanted.brand, wanted.price_min, wanted.price_max)),
        )
        for category in categories
    ]
    while within:
        for each in list(within):
            reason, items = each
            item_id = next(items, None)
            if item_id is None:
                within.remove(each)
            else:
                yield Candidate(item_id, "segment", reason)


def popular(wanted: ItemFilter, catalogue: Catalogue) -> Iterator[Candidate]:
    """What is popular among the items that are wanted."""
    source: Source
    source, reason = ("static", STATIC) if catalogue.version == "static" else ("popular", POPULAR)
    if wanted != NO_FILTER:
        reason = "popular" + "".join(
            f" {word} {value}"
            for word, value in (
                ("in", wanted.category),
                ("of", wanted.brand),
                ("from", wanted.price_min),
                ("up to", wanted.price_max),
            )
            if value is not None
        )
    return of_source(catalogue.popular(wanted), source, reason)


def once(order: Iterable[Candidate]) -> Iterator[Candidate]:
    """Each item where it comes first."""
    known: set[str] = set()
    for candidate in order:
        if candidate.item_id not in known:
            known.add(candidate.item_id)
            yield candidate
