"""Every Redis key, spelled here and nowhere else."""

# Docstrings of keys are nouns: the type, then the value.
# ruff: noqa: D401

from dataclasses import dataclass
from typing import Final

CLUSTER_SLOTS: Final = 16_384
"""Number of hash slots that a Redis Cluster spreads keys over."""

TAG_END: Final = "}"
"""Ends the hash tag of a key."""

POPULAR: Final = "popular"
TRENDING: Final = "trending"

# An entry of the event stream has one of these fields, which determines its kind; the value is a JSON object.
EVENT_FIELD: Final = "event"
IMPRESSIONS_FIELD: Final = "impressions"
ITEM_FIELD: Final = "item"
FLAG_FIELD: Final = "flag"
LABEL_FIELD: Final = "label"
IDENTITY_FIELD: Final = "identity"
ERASURE_FIELD: Final = "erasure"
OPT_OUT_FIELD: Final = "opt_out"

# Kinds of the keys that hold one user each, and the types of their values.
USER_KEY_TYPES: Final = {
    "session": "zset",
    "event_ids": "hash",
    "alias": "string",
    "flag": "string",
    "suspect": "string",
    "opt_out": "string",
}
VERSION_USER_KINDS: Final = ("user", "history", "disliked", "profile")
"""Kinds of the keys of one user in a version; their values are strings."""
LIST_SUFFIXES: Final = (":again", ":new")
"""What follows the user's id in the keys of kind `user` that hold a list besides the blended one."""


def popular_name(category: str | None = None) -> str:
    """Return the name of the popular list of a category path such as `GROCERY>MILK`, or of all items."""
    return POPULAR if category is None else f"{POPULAR}:{category}"


def hash_tag(name: str) -> str:
    """Return an id as it is in the braces of a key: after a space, which no id has, if it begins with `}`.

    A Cluster takes `{}` for no hash tag, and would spread the keys of such an id over several slots.

    >>> hash_tag("7"), hash_tag("}7")
    ('7', ' }7')
    """
    return f" {name}" if name.startswith(TAG_END) else name


@dataclass(frozen=True)
class UserKey:
    """A key that holds one user."""

    prefix: str
    """The key up to the user's id."""
    kind: str
    user_id: str
    type: str
    """`string`, `hash` or `zset`."""
    suffix: str = ""
    """What follows the user's id in braces."""

    def renamed(self, user_id: str) -> str:
        """Return the key of the same kind of another user."""
        return f"{self.prefix}{{{hash_tag(user_id)}}}{self.suffix}"


@dataclass(frozen=True)
class Keys:
    """The keys of one namespace.

    Each docstring states the key's type, its value, and when it expires; keys of a version are removed with it.
    The braces around an id are literal: a Cluster hash tag, with which all keys of one user share a slot.

    >>> Keys("recsys").user_items("20171231T000000Z", "7")
    'recsys:20171231T000000Z:user:{7}'
    """

    namespace: str

    @property
    def live(self) -> str:
        """String: the id of the live version, which is a run id. Never expires."""
        return f"{self.namespace}:live"

    @property
    def versions(self) -> str:
        """Hash: version -> Unix microseconds of when it went live, or a text while it is loaded or removed."""
        return f"{self.namespace}:versions"

    @property
    def removed_versions(self) -> str:
        """Sorted set: incomplete version removed in the last hour -> Unix seconds of its removal."""
        return f"{self.namespace}:removed_versions"

    @property
    def sizes(self) -> str:
        """Hash: version -> its bytes of memory, a space, the length its lists were cut to (0 if they were not)."""
        return f"{self.namespace}:sizes"

    def user_items(self, version: str, user_id: str) -> str:
        """String: item ids recommended to a user, best first, separated by spaces."""
        return f"{self.namespace}:{version}:user:{{{hash_tag(user_id)}}}"

    def again_items(self, version: str, user_id: str) -> str:
        """String: item ids that a user has bought, the likeliest to be bought again first, separated by spaces."""
        return f"{self.user_items(version, user_id)}:again"

    def new_items(self, version: str, user_id: str) -> str:
        """String: item ids recommended to a user who has never bought them, best first, separated by spaces."""
        return f"{self.user_items(version, user_id)}:new"

    def similar_items(self, version: str, item_id: str) -> str:
        """String: item ids similar to an item, most similar first, separated by spaces."""
        return f"{self.namespace}:{version}:item:{{{hash_tag(item_id)}}}"

    def bought_together(self, version: str, item_id: str) -> str:
        """String: item ids bought together with an item, strongest first, separated by spaces."""
        return f"{self.namespace}:{version}:bought_together:{{{hash_tag(item_id)}}}"

    def history(self, version: str, user_id: str) -> str:
        """String: item ids not to be recommended to a user again, latest first, separated by spaces."""
        return f"{self.namespace}:{version}:history:{{{hash_tag(user_id)}}}"

    def disliked(self, version: str, user_id: str) -> str:
        """String: item ids that a user dislikes, latest first, separated by spaces."""
        return f"{self.namespace}:{version}:disliked:{{{hash_tag(user_id)}}}"

    def profile(self, version: str, user_id: str) -> str:
        """String: profile of a user, a JSON object."""
        return f"{self.namespace}:{version}:profile:{{{hash_tag(user_id)}}}"

    def catalogue(self, version: str) -> str:
        """Hash: number of a part -> Parquet file with attributes of items, the most popular items in part 0."""
        return f"{self.namespace}:{version}:catalogue"

    def ranking(self, version: str, name: str) -> str:
        """String: item ids of a list for all users (`TRENDING` or a `popular_name`), separated by spaces."""
        return f"{self.namespace}:{version}:{name}"

    def version_pattern(self, version: str) -> str:
        """Return the SCAN pattern of all keys of a version; namespaces and run ids have no glob characters."""
        return f"{self.namespace}:{version}:*"

    def session(self, user_id: str) -> str:
        """Sorted set: `<event_id> <item_id> <event>` of a user's latest events -> Unix milliseconds.

        After a purchase or refund with a quantity follow a tab and the quantity.

        Expires `serving.session_days` after the last event.
        """
        return f"{self.namespace}:session:{{{hash_tag(user_id)}}}"

    def event_ids(self, user_id: str) -> str:
        """Hash: id of each event that a user's clients gave -> checksum of the event.

        Expires `EVENT_ID_DAYS` after the last event, and starts anew when it has `MAX_EVENT_IDS` ids.
        """
        return f"{self.namespace}:event_ids:{{{hash_tag(user_id)}}}"

    def alias(self, guest_id: str) -> str:
        """String: the user as whom a guest has logged in last; expires with the sessions."""
        return f"{self.namespace}:alias:{{{hash_tag(guest_id)}}}"

    def flag(self, user_id: str) -> str:
        """String: why a user is flagged, a `recsys.store.flags.Flag` as a JSON object; expires with the flag."""
        return f"{self.namespace}:flag:{{{hash_tag(user_id)}}}"

    @property
    def flags(self) -> str:
        """Sorted set: user id of each flagged user -> Unix milliseconds of when the flag expires."""
        return f"{self.namespace}:flags"

    @property
    def unflaggable(self) -> str:
        """Set: ids of users whom an analyst has released, and who are never flagged automatically."""
        return f"{self.namespace}:unflaggable"

    def suspect(self, user_id: str) -> str:
        """String: why a suspicious user was not flagged: `shadow`, `allowed` or `held_back`.

        Shares a slot with `flag`. The user is checked again when it expires.
        """
        return f"{self.namespace}:suspect:{{{hash_tag(user_id)}}}"

    @property
    def alias_pattern(self) -> str:
        """Return the SCAN pattern of the aliases of all guests."""
        return f"{self.namespace}:alias:*"

    @property
    def user_pattern(self) -> str:
        """Return the SCAN pattern of the keys that name a user, an item, or another owner in braces."""
        return f"{self.namespace}:*{{*}}*"

    def user_of_key(self, key: str) -> str:
        """Return the owner whom a key names in braces."""
        return key.partition("{")[2].rpartition(TAG_END)[0].removeprefix(" ")

    def guest_of_alias(self, key: str) -> str:
        """Return the guest whose alias a key is."""
        return self.user_of_key(key)

    @property
    def erased(self) -> str:
        """Sorted set: hash of each user erased or opted out in the last day, or forever -> Unix milliseconds of it.

        Servers forget what they remember of the user, and refuse events from before. Never expires.
        """
        return f"{self.namespace}:erased"

    def opt_out(self, user_id: str) -> str:
        """String: since when a user wants no personal lists, as ISO 8601. Never expires."""
        return f"{self.namespace}:opt_out:{{{hash_tag(user_id)}}}"

    @property
    def pseudonyms(self) -> str:
        """String: fingerprint of the pseudonym keys; `none` without keys, `rotating` while they change.

        Never expires.
        """
        return f"{self.namespace}:pseudonyms"

    @property
    def check(self) -> str:
        """String: written by `recsys check` to see which commands the user may run. Expires after 10 seconds."""
        return f"{self.namespace}:check"

    @property
    def salt(self) -> str:
        """String: random key of the hashes of sessions, IP addresses and browsers; not used with pseudonyms."""
        return f"{self.namespace}:salt"

    def rates(self, window_ms: int, bucket: int) -> str:
        """String: table of 16-bit counters of the events in one time bucket of a window, indexed by hash.

        The buckets of a window share a slot, and expire after the window.
        """
        return f"{self.namespace}:rates:{{{window_ms}}}:{bucket}"

    def address_items(self, address: str, hour: int) -> str:
        """HyperLogLog: items that users of an IP address, given as a hash, had events with in an hour."""
        return f"{self.namespace}:items_of:{{{address}}}:{hour}"

    def device_users(self, device: str, hour: int) -> str:
        """HyperLogLog: users of a device, given as a hash, in an hour."""
        return f"{self.namespace}:users_of:{{{device}}}:{hour}"

    def active(self, day: int) -> str:
        """HyperLogLog: users with events on a day, given as the number of days since 1970."""
        return f"{self.namespace}:active:{{{day}}}"

    def flagged(self, day: int) -> str:
        """HyperLogLog: users flagged automatically on a day."""
        return f"{self.namespace}:flagged:{{{day}}}"

    def breaker(self, day: int) -> str:
        """String: exists once no more users are flagged automatically on a day (`anomalies.max_flagged_share`)."""
        return f"{self.namespace}:breaker:{{{day}}}"

    def prices(self, day: int) -> str:
        """Hash: number of purchases of a day, and of those with a price."""
        return f"{self.namespace}:prices:{{{day}}}"

    def quota(self, key_name: str) -> str:
        """Hash: second of Unix time -> requests with an API key in it. Expires a minute after the last request."""
        return f"{self.namespace}:quota:{{{key_name}}}"

    @property
    def unavailable(self) -> str:
        """Set: ids of items that must not be shown."""
        return f"{self.namespace}:unavailable"

    @property
    def unavailable_since_rollback(self) -> str:
        """Set: ids that a rollback put into `unavailable`, until the next publish."""
        return f"{self.namespace}:unavailable_since_rollback"

    @property
    def events(self) -> str:
        """Stream: events, impressions, item changes, flags, labels, identities and requests, until archived."""
        return f"{self.namespace}:events"

    @property
    def items(self) -> str:
        """Hash: item id -> attributes that were set online, a JSON object."""
        return f"{self.namespace}:items"

    @property
    def item_changes(self) -> str:
        """Stream: item id of each online change, and the item's attributes as in `items`."""
        return f"{self.namespace}:item_changes"

    def parse_user_key(self, key: str) -> UserKey | None:
        """Return the parts of a key that holds one user; None for another key."""
        prefix, brace, rest = key.removeprefix(f"{self.namespace}:").partition("{")
        names = prefix.rstrip(":").split(":")
        suffix = next((end for end in LIST_SUFFIXES if names[1:] == ["user"] and rest.endswith(end)), "")
        rest = rest.removesuffix(suffix)
        if not (brace and rest.endswith(TAG_END)) or not key.startswith(f"{self.namespace}:"):
            return None
        value_type = USER_KEY_TYPES.get(names[0]) if len(names) == 1 else None
        if len(names) == 2 and names[1] in VERSION_USER_KINDS:
            value_type = "string"
        if value_type is None:
            return None
        return UserKey(f"{self.namespace}:{prefix}", names[-1], rest[:-1].removeprefix(" "), value_type, suffix)
