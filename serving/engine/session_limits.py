"""How many events of each kind a session keeps: many views, and still every recent purchase, cart and dislike."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from recsys.schema import CLICK, VIEW

SEEN_EVENTS: Final = frozenset((VIEW, CLICK))
"""Events of which a session keeps `serving.session_events` of each name."""
MAX_CHOICES: Final = 1_000
"""Events of each other name, such as purchases, that a session keeps."""

Entries = Sequence[Any]
"""Members of a session and their scores, in turns, as Redis replies with them."""


def event_name(member: bytes) -> str:
    r"""Return the name of the event of a member of a session; see `Keys.session`.

    >>> event_name(b"e1 tea purchase\t2")
    'purchase'
    """
    return member.decode().split(" ", 2)[2].partition("\t")[0]


def limit_of(event: str, session_events: int) -> int:
    """Return how many events of a name a session keeps."""
    return session_events if event in SEEN_EVENTS else max(MAX_CHOICES, session_events)


def keep_latest(entries: Entries, session_events: int) -> Entries:
    """Return entries, which are sorted latest first or nearly so, without those over the limit of their kind."""
    if len(entries) <= 2 * session_events:
        return entries
    counts: Counter[str] = Counter()
    kept: list[Any] = []
    for member, score in zip(entries[::2], entries[1::2], strict=True):
        event = event_name(member)
        counts[event] += 1
        if counts[event] <= limit_of(event, session_events):
            kept += (member, score)
    return kept
