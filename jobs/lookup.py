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
from recsys.store.read import bought_together_items, live_version, similar_items, user_items


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

    @classmethod
    def connect(cls, settings: Settings) -> "ListLookup":
        """Connect to the settings' Redis; raises `StoreError` if it does not answer."""
        client = connect(settings.redis, settings.directory)
        return cls(client, Keys(settings.redis.namespace), open_lake(settings))

    def user_list(self, user_id: str, stored_id: str, n: int) -> LookupResult:
        """Look up the first n items for a user, given and stored as these; the popular list if there is none."""
        result = user_items(self.client, self.keys, stored_id, n)
        return LookupResult(user_id, result.source, result.version, self.describe_items(result.items))

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
