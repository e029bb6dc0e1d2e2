"""Look up lists in Redis, as a backend does, and add titles from the lake's catalogue."""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from jobs.lake.lake import Lake, open_lake
from recsys.errors import StoreError
from recsys.schema import CATEGORIES, CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, TITLE
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect, describe_server
from recsys.store.keys import Keys
from recsys.store.read import ListName, bought_together_items, live_version, similar_items, user_items


@dataclass(frozen=True)
class RankedItem:
    """An item of a list, with the title and category that people know it by."""

    rank: int
    item_id: str
    title: str | None
    category: str | None


@dataclass(frozen=True)
class LookupResult:
    """A list that was looked up."""

    requested_id: str
    """The user or item whose list it is."""
    source: str
    version: str
    items: tuple[RankedItem, ...]


@dataclass(frozen=True)
class ListLookup:
    """Looks up lists of the live version, and items of the catalogue."""

    client: Client
    keys: Keys
    lake: Lake
    is_repeating: bool = False
    """Whether items that a user has may be recommended again."""

    @classmethod
    def connect(cls, settings: Settings) -> "ListLookup":
        """Connect to the settings' Redis; raises `StoreError` if it does not answer."""
        client = connect(settings.redis, settings.directory)
        keys, is_repeating = Keys(settings.redis.namespace), settings.repeat == "allow"
        return cls(client, keys, open_lake(settings), is_repeating)

    def user_list(self, user_id: str, stored_id: str, n: int, name: ListName = "blend") -> LookupResult:
        """Look up the first n items for a user, given and stored as these; the popular list if there is none.

        Raises `StoreError` if the user has nothing to buy again.
        """
        result = user_items(self.client, self.keys, stored_id, n, self.published_list(name))
        if not result.items and name == "again":
            raise StoreError(f"user {user_id!r} has no list of items to buy again in version {result.version}")
        return LookupResult(user_id, result.source, result.version, self.describe_items(result.items))

    def published_list(self, name: ListName) -> ListName:
        """Return the list that is published for a name; where nothing is repeated, a user's items are all new."""
        return "blend" if name == "new" and not self.is_repeating else name

    def similar_list(self, item_id: str, n: int) -> LookupResult:
        """Look up the n items most similar to an item; raises `StoreError` if it has no list."""
        version = live_version(self.client, self.keys)
        items = similar_items(self.client, self.keys, item_id, n)
        if not items:
            raise StoreError(f"item {item_id!r} has no list of similar items in version {version}")
        return LookupResult(item_id, "similar", version, self.describe_items(items))

    def has_bought_together(self, item_id: str) -> bool:
        """Return whether an item has a list of items bought together with it."""
        return bool(bought_together_items(self.client, self.keys, item_id, 1))

    def describe_items(self, item_ids: list[str]) -> tuple[RankedItem, ...]:
        """Add ranks, titles and categories to items, in the given order."""
        items = pl.DataFrame({ITEM_ID: item_ids}, schema={ITEM_ID: pl.String})
        described = items.join(self._catalogue, on=ITEM_ID, how="left", maintain_order="left")
        rows = described.select(ITEM_ID, TITLE, CATEGORY).rows()
        return tuple(RankedItem(rank, *row) for rank, row in enumerate(rows, 1))

    @property
    def address(self) -> str:
        """Return host and port of the server, or the path of its socket."""
        return describe_server(self.client)

    @cached_property
    def _catalogue(self) -> pl.DataFrame:
        path = pl.col(CATEGORIES).list.eval(pl.element().list.join(f" {CATEGORY_SEPARATOR} ")).list.join(", ")
        return self.lake.items().select(ITEM_ID, TITLE, path.alias(CATEGORY)).collect()
