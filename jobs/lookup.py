"""Lists looked up in Redis, as a backend would, with the titles of the lake's catalogue for a person."""

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from jobs.lake import Lake, open_lake
from recsys.errors import StoreError
from recsys.schema import CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, TITLE
from recsys.settings import Settings
from recsys.store.client.connect import Client, connect, describe_server
from recsys.store.keys import Keys
from recsys.store.read import bought_together_items, live_version, similar_items, user_items


@dataclass(frozen=True)
class Shown:
    """An item as a person sees it."""

    rank: int
    item_id: str
    title: str | None
    category: str | None


@dataclass(frozen=True)
class Found:
    """The answer to one lookup."""

    asked: str
    source: str
    version: str
    items: tuple[Shown, ...]


@dataclass(frozen=True)
class Lookup:
    """Reads the live version and the catalogue."""

    client: Client
    keys: Keys
    lake: Lake

    @classmethod
    def of(cls, settings: Settings) -> "Lookup":
        """Connect to the settings' Redis; raises `StoreError` when it does not answer."""
        client = connect(settings.redis, settings.directory)
        return cls(client, Keys(settings.redis.namespace), open_lake(settings))

    def user(self, user_id: str, n: int) -> Found:
        """The first n items of the list of a user, given by the shop's own id; of the popular list without one."""
        found = user_items(self.client, self.keys, self.lake.stored_id(user_id), n)
        return Found(user_id, found.source, found.version, self.show(found.items))

    def item(self, item_id: str, n: int) -> Found:
        """The first n items most like an item; raises `StoreError` when it has no list."""
        version = live_version(self.client, self.keys)
        items = similar_items(self.client, self.keys, item_id, n)
        if not items:
            raise StoreError(f"item {item_id!r} has no list of similar items in version {version}")
        return Found(item_id, "similar", version, self.show(items))

    def goes_with(self, item_id: str) -> list[str]:
        """The items bought with one; none where it has no such list."""
        return bought_together_items(self.client, self.keys, item_id, 1)

    def show(self, item_ids: list[str]) -> tuple[Shown, ...]:
        """The items with their titles, in the given order."""
        asked = pl.DataFrame({ITEM_ID: item_ids}, schema={ITEM_ID: pl.String})
        known = asked.join(self._facts, on=ITEM_ID, how="left", maintain_order="left")
        return tuple(Shown(rank, *row) for rank, row in enumerate(known.select(ITEM_ID, TITLE, CATEGORY).rows(), 1))

    @property
    def address(self) -> str:
        """Host and port of the server, or the path of its socket."""
        return describe_server(self.client)

    @cached_property
    def _facts(self) -> pl.DataFrame:
        path = pl.col(CATEGORY).list.join(f" {CATEGORY_SEPARATOR} ")
        return self.lake.items().select(ITEM_ID, TITLE, path).collect()
