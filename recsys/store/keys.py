"""Every Redis key, spelled here and nowhere else."""

from dataclasses import dataclass
from typing import Final

POPULAR: Final = "popular"
TRENDING: Final = "trending"

# What an entry of the stream of events holds is told by its only field; the value is a JSON object.
EVENT_FIELD: Final = "event"
IMPRESSIONS_FIELD: Final = "impressions"
ITEM_FIELD: Final = "item"
FLAG_FIELD: Final = "flag"
LABEL_FIELD: Final = "label"


def popular_name(category: str | None = None) -> str:
    """What the popular list of a category path, as in `GROCERY>MILK`, is called; of all items without one."""
    return POPULAR if category is None else f"{POPULAR}:{category}"


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace.

    The braces around an id are literal: a Cluster hash tag, so that one user's keys share a slot.

    >>> Keys("recsys").user_items("20171231T000000Z", "7")
    'recsys:20171231T000000Z:user:{7}'
    """

    namespace: str

    @property
    def live(self) -> str:
        """String: the live version, a run id."""
        return f"{self.namespace}:live"

    @property
    def versions(self) -> str:
        """Hash: each version with keys -> Unix microseconds of when it went live, or why it is not whole."""
        return f"{self.namespace}:versions"

    @property
    def sizes(self) -> str:
        """Hash: version -> bytes of memory it took, and the length its lists were cut to, 0 for none."""
        return f"{self.namespace}:sizes"

    def user_items(self, version: str, user_id: str) -> str:
        """String: the items recommended to a user."""
        return f"{self.namespace}:{version}:user:{{{user_id}}}"

    def similar_items(self, version: str, item_id: str) -> str:
        """String: the items similar to an item."""
        return f"{self.namespace}:{version}:item:{{{item_id}}}"

    def bought_together(self, version: str, item_id: str) -> str:
        """String: the items most often bought together with an item."""
        return f"{self.namespace}:{version}:bought_together:{{{item_id}}}"

    def history(self, version: str, user_id: str) -> str:
        """String: the items that are not to be recommended to a user again, latest first."""
        return f"{self.namespace}:{version}:history:{{{user_id}}}"

    def profile(self, version: str, user_id: str) -> str:
        """String: what is known of a user, as a JSON object."""
        return f"{self.namespace}:{version}:profile:{{{user_id}}}"

    def catalogue(self, version: str) -> str:
        """Hash: number of a part -> Parquet of the facts of some items, the most popular first."""
        return f"{self.namespace}:{version}:catalogue"

    def ranking(self, version: str, name: str) -> str:
        """String: the items of a list that is nobody's own: `TRENDING` or a `popular_name`."""
        return f"{self.namespace}:{version}:{name}"

    def version_pattern(self, version: str) -> str:
        """What SCAN finds all keys of a version by; neither a namespace nor a run id has glob characters."""
        return f"{self.namespace}:{version}:*"

    def session(self, user_id: str) -> str:
        """Sorted set: `<event_id> <item_id> <event>` of a user's recent events -> Unix milliseconds."""
        return f"{self.namespace}:session:{{{user_id}}}"

    def flag(self, user_id: str) -> str:
        """String: why a user is held back, a `recsys.store.flags.Flag` as a JSON object; gone when it expires."""
        return f"{self.namespace}:flag:{{{user_id}}}"

    @property
    def flags(self) -> str:
        """Sorted set: each user with a flag -> Unix milliseconds of when it expires."""
        return f"{self.namespace}:flags"

    @property
    def unflaggable(self) -> str:
        """Set: the users whom an analyst has released, who are never flagged automatically."""
        return f"{self.namespace}:unflaggable"

    def suspect(self, user_id: str) -> str:
        """String: why a user who would be flagged is not: shadow, allowed, held_back.

        It shares a slot with `flag`; the user is looked at again when it expires.
        """
        return f"{self.namespace}:suspect:{{{user_id}}}"

    @property
    def salt(self) -> str:
        """String: what hashes of sessions, addresses and browsers are keyed by, random."""
        return f"{self.namespace}:salt"

    def rates(self, window_ms: int, bucket: int) -> str:
        """String: a table of 16-bit counters of what came in one bucket of a window, at places by hash.

        The buckets of a window share a slot.
        """
        return f"{self.namespace}:rates:{{{window_ms}}}:{bucket}"

    def items_of(self, address: str, hour: int) -> str:
        """HyperLogLog: the items that an address, a hash, had to do with in an hour."""
        return f"{self.namespace}:items_of:{{{address}}}:{hour}"

    def users_of(self, device: str, hour: int) -> str:
        """HyperLogLog: the users of a device, a hash, in an hour."""
        return f"{self.namespace}:users_of:{{{device}}}:{hour}"

    def active(self, day: int) -> str:
        """HyperLogLog: the users with events on a day, counted from 1970."""
        return f"{self.namespace}:active:{{{day}}}"

    def flagged(self, day: int) -> str:
        """HyperLogLog: the users who were flagged automatically on a day."""
        return f"{self.namespace}:flagged:{{{day}}}"

    def breaker(self, day: int) -> str:
        """String: there when no more users are flagged automatically on a day."""
        return f"{self.namespace}:breaker:{{{day}}}"

    def prices(self, day: int) -> str:
        """Hash: purchases of a day, and how many of them had a price."""
        return f"{self.namespace}:prices:{{{day}}}"

    @property
    def unavailable(self) -> str:
        """Set: the items that must not be shown."""
        return f"{self.namespace}:unavailable"

    @property
    def events(self) -> str:
        """Stream: the accepted events."""
        return f"{self.namespace}:events"

    @property
    def items(self) -> str:
        """Hash: item id -> the facts that were put online, as a JSON object."""
        return f"{self.namespace}:items"

    @property
    def item_changes(self) -> str:
        """Stream: the item of each change that was put online, and its facts as in `items`."""
        return f"{self.namespace}:item_changes"
