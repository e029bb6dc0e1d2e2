"""The catalogue of a version in memory, which filters, fill sources and reasons read."""

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import compress
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.schema import (
    ATTRIBUTES,
    AVAILABLE,
    BRAND,
    CATEGORIES,
    CATEGORY,
    CATEGORY_SEPARATOR,
    CHANGED_ONLINE_AT,
    GROUP_ID,
    ITEM_ID,
    PRICE,
    PRODUCT_TYPE,
    REPEAT_DAYS,
    TIMESTAMP_DTYPE,
    TITLE,
    VECTOR,
)
from recsys.store.catalogue import parse_version
from serving.engine.attributes import AttributeIndex
from serving.engine.item_groups import ItemGroups
from serving.engine.labels import LabelLists, LabelNames, Labels
from serving.engine.list_labels import ListLabels
from serving.engine.offers import OFFER_DTYPES, Offers, is_available_with
from serving.requests import NO_FILTER, ItemFilter, split_paths

MAX_CACHED_MASKS: Final = 64
STATIC_VERSION: Final = "static"
"""Version of the shop's own list of last resort."""


class Catalogue:
    """The items of one version as arrays, most popular first, with the changes made online."""

    def __init__(self, version: str, items: pl.DataFrame, not_recommendable: str | None = None) -> None:
        """Build the arrays from a table in the columns of `recsys.store.catalogue`.

        `not_recommendable` is a regular expression of the ids, titles and category names of items that are no
        goods.
        """
        self.version = version
        self.as_of = parse_version(version)
        self.as_of_ms = max(0, int((self.as_of.timestamp() if self.as_of.year > 1970 else 0) * 1_000))
        self.ids: list[str] = items[ITEM_ID].to_list()
        self.rows: dict[str, int] = {item_id: row for row, item_id in enumerate(self.ids)}
        self._titles = items[TITLE]
        self._new_titles: dict[str, str | None] = {}
        no_lists = pl.Series([None], dtype=pl.List(pl.String)).new_from_index(0, items.height)
        paths = items[CATEGORIES] if CATEGORIES in items.columns else no_lists
        path_names = LabelNames(pl.concat([items[CATEGORY], paths.explode()]))
        self.categories = Labels(items[CATEGORY], path_names)
        self._paths = LabelLists(paths, path_names)
        """All category paths of the items that have several."""
        self.brands = Labels(items[BRAND])
        self.attributes = AttributeIndex(items[ATTRIBUTES] if ATTRIBUTES in items.columns else no_lists)
        self.price = items[PRICE].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        self.offers = Offers(items)
        self.groups = ItemGroups(items, self.ids, self.rows)
        self.labels = ListLabels(items)
        known = (
            items.filter(pl.col(CHANGED_ONLINE_AT).is_not_null()) if CHANGED_ONLINE_AT in items else items.clear()
        )
        self.known_changes: dict[str, datetime] = (
            dict(known.select(ITEM_ID, CHANGED_ONLINE_AT).rows()) if known.height else {}
        )
        """Item -> time of the last online change that the version includes."""
        self.repeat_days = items[REPEAT_DAYS].cast(pl.Float32).fill_null(np.nan).to_numpy().copy()
        self.vectors: NDArray[np.int8] | None = items[VECTOR].to_numpy() if VECTOR in items.columns else None
        self.unavailable: set[str] = set(items[ITEM_ID].filter(pl.Series(~self.offers.available)))
        self._unknown: set[str] = set()  # unavailable items that are not in the catalogue
        self._masks: OrderedDict[ItemFilter, NDArray[np.bool_]] = OrderedDict()
        self._pattern = None if not_recommendable is None else re.compile(not_recommendable)
        self.not_recommendable: set[str] = self._find_not_recommendable()
        """Items that are no goods, and in no list."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.ids)

    def title(self, item_id: str) -> str:
        """Return the title of an item, or its id if it has no title."""
        row = self.rows.get(item_id, -1)
        if item_id in self._new_titles or not 0 <= row < len(self._titles):
            return self._new_titles.get(item_id) or item_id
        title: str | None = self._titles[row]
        return title or item_id

    def table(self) -> pl.DataFrame:
        """Return all items in the columns of `recsys.store.catalogue`.

        May be called in a thread: items added meanwhile, which make some columns longer than others, are left out.
        """
        vectors, brands = self.vectors, self.brands.column()  # the columns that a new item is added to last
        count = len(brands) if vectors is None else len(vectors)
        ids = self.ids[:count]
        columns: dict[str, Any] = {
            ITEM_ID: pl.Series(ids, dtype=pl.String),
            GROUP_ID: self.groups.column()[:count],
            TITLE: self._all_titles(count),
            CATEGORY: self.categories.column()[:count],
            BRAND: brands[:count],
            PRICE: pl.Series(self.price[:count]).fill_nan(None),
            **self.offers.table(slice(count)).to_dict(),
            REPEAT_DAYS: pl.Series(self.repeat_days[:count]).fill_nan(None),
            CHANGED_ONLINE_AT: pl.Series(
                [self.known_changes.get(item_id) for item_id in ids], dtype=TIMESTAMP_DTYPE
            ),
            CATEGORIES: self._paths.column(count),
            ATTRIBUTES: self.attributes.column(count),
            PRODUCT_TYPE: self.labels.column()[:count],
        }
        return pl.DataFrame(columns | ({} if vectors is None else {VECTOR: vectors}))

    def _all_titles(self, count: int) -> pl.Series:
        """Return the titles of the first `count` items."""
        titles = self._titles.extend_constant(None, count - len(self._titles))
        new = [
            (row, title) for item_id, title in list(self._new_titles.items()) if (row := self.rows[item_id]) < count
        ]
        return titles.scatter([row for row, _ in new], [title for _, title in new]) if new else titles

    def facts(self, item_id: str) -> dict[str, Any]:
        """Return the facts of an item; none for an unknown one."""
        row = self.rows.get(item_id)
        if row is None:
            return {}
        price = float(self.price[row])
        return {
            TITLE: self.title(item_id),
            CATEGORY: self.categories.name(row),
            BRAND: self.brands.name(row),
            PRICE: None if np.isnan(price) else price,
            AVAILABLE: item_id not in self.unavailable,
        }

    def mask(self, item_filter: ItemFilter) -> NDArray[np.bool_]:
        """Return for each row whether its item passes a filter, whether available or not."""
        cached = self._masks.get(item_filter)
        if cached is not None:
            self._masks.move_to_end(item_filter)
            return cached
        mask = np.ones(len(self.ids), bool)
        if item_filter.categories:
            mask &= self._in_categories(item_filter.categories)
        if item_filter.brands:
            mask &= np.isin(self.brands.codes, [self.brands.names.find(brand) for brand in item_filter.brands])
        if item_filter.price_min is not None:
            mask &= self.price >= item_filter.price_min
        if item_filter.price_max is not None:
            mask &= self.price <= item_filter.price_max
        if item_filter.attributes:
            mask &= self.attributes.mask(item_filter.attributes, len(mask))
        self._masks[item_filter] = mask
        if len(self._masks) > MAX_CACHED_MASKS:
            self._masks.popitem(last=False)
        return mask

    def passes(self, item_filter: ItemFilter, item_ids: Iterable[str]) -> list[bool]:
        """Return for each item whether it passes a filter; unknown items pass `NO_FILTER` only."""
        if item_filter == NO_FILTER:
            return [True for _ in item_ids]
        mask, rows = self.mask(item_filter), self.rows
        return [(row := rows.get(item_id)) is not None and bool(mask[row]) for item_id in item_ids]

    def popular(self, item_filter: ItemFilter = NO_FILTER, now_ms: int | None = None) -> Iterator[str]:
        """Return the available items that pass a filter, most popular first.

        With `now_ms`, Unix milliseconds, items outside their validity are left out.
        """
        if item_filter == NO_FILTER:
            item_ids = (item_id for item_id in self.ids if item_id not in self.unavailable)
        else:
            rows = np.flatnonzero(self.mask(item_filter) & self.offers.available)
            item_ids = (self.ids[row] for row in rows)
        if now_ms is None or not self.offers.has_validity:
            return item_ids
        return (item_id for item_id in item_ids if self.is_valid(item_id, now_ms))

    def is_valid(self, item_id: str, now_ms: int) -> bool:
        """Return whether an item is offered at a time in Unix milliseconds; an unknown item always is."""
        row = self.rows.get(item_id)
        return row is None or self.offers.is_valid(row, now_ms)

    def put(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Set facts of some items; an unknown item is added as the least popular one."""
        self._append([item_id for item_id in changes if item_id not in self.rows])
        offers = {item_id: facts for item_id, facts in changes.items() if not OFFER_DTYPES.keys().isdisjoint(facts)}
        self._put_offers(offers)
        for item_id, facts in changes.items():
            row = self.rows[item_id]
            if PRICE in facts:
                self.price[row] = np.nan if facts[PRICE] is None else facts[PRICE]
            if BRAND in facts:
                self.brands.codes[row] = self.brands.names.encode(facts[BRAND])
            if TITLE in facts:
                self._new_titles[item_id] = facts[TITLE]
        self.labels.put_titles({self.rows[each]: facts[TITLE] for each, facts in changes.items() if TITLE in facts})
        self._put_paths({item_id: _joined_paths(facts) for item_id, facts in changes.items() if CATEGORY in facts})
        self.attributes.put(
            {self.rows[item_id]: facts[ATTRIBUTES] for item_id, facts in changes.items() if ATTRIBUTES in facts}
        )
        self._update_not_recommendable(changes)
        self.groups.put({item_id: facts[GROUP_ID] for item_id, facts in changes.items() if GROUP_ID in facts})
        self._masks.clear()

    def paths(self, item_id: str) -> list[str]:
        """Return the category paths of an item, joined; none for an unknown one."""
        row = self.rows.get(item_id)
        if row is None or (first := self.categories.name(row)) is None:
            return []
        return self._paths.list(row) or [first]

    def set_unavailable(self, item_ids: Collection[str]) -> None:
        """Mark items as unavailable, also those that are not in the catalogue."""
        self._put_offers({item_id: {AVAILABLE: False} for item_id in item_ids if item_id in self.rows})
        unknown = [item_id for item_id in item_ids if item_id not in self.rows]
        if unknown:
            self.unavailable.update(unknown)
            self._unknown.update(unknown)
            self.offers.changes += 1

    def would_be_available(self, item_id: str, facts: Mapping[str, Any]) -> bool:
        """Return whether an item is available once facts are put, without putting them."""
        row = self.rows.get(item_id)
        return is_available_with(facts) if row is None else self.offers.would_be_available(row, facts)

    def changed_offers(self) -> pl.DataFrame:
        """Return what was changed online as a table of `item_id` and `OFFER_DTYPES`, one row for each item.

        May be called in a thread.
        """
        rows = sorted(list(self.offers.changed))  # noqa: C414 the copy is atomic
        unknown = sorted(item_id for item_id in list(self._unknown) if item_id not in self.rows)
        ids = pl.Series(ITEM_ID, [self.ids[row] for row in rows], dtype=pl.String).to_frame()
        switched_off = pl.DataFrame(
            {ITEM_ID: unknown, AVAILABLE: [False] * len(unknown)},
            schema={ITEM_ID: pl.String, AVAILABLE: pl.Boolean},
        )
        return pl.concat([ids.hstack(self.offers.table(rows)), switched_off], how="diagonal")

    def put_offers(self, offers: pl.DataFrame) -> None:
        """Set what `changed_offers` returned; an unknown item is not added, but may be unavailable."""
        times = [name for name, dtype in OFFER_DTYPES.items() if isinstance(dtype, pl.Datetime)]
        facts = offers.with_columns(pl.col(times).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f%:z"))
        by_item = facts.rows_by_key(ITEM_ID, named=True, unique=True)
        self._put_offers({item_id: row for item_id, row in by_item.items() if item_id in self.rows})
        self.set_unavailable(
            [item_id for item_id, row in by_item.items() if item_id not in self.rows and row[AVAILABLE] is False]
        )

    def _put_offers(self, offers: Mapping[str, Mapping[str, Any]]) -> None:
        if not offers:
            return
        rows = [self.rows[item_id] for item_id in offers]
        for row, facts in zip(rows, offers.values(), strict=True):
            self.offers.put(row, facts)
        available = self.offers.update(rows)
        self.unavailable.difference_update(compress(offers, available))
        self.unavailable.update(compress(offers, ~available))

    def _put_paths(self, changes: Mapping[str, Sequence[str]]) -> None:
        names = self.categories.names
        for item_id, paths in changes.items():
            self.categories.codes[self.rows[item_id]] = names.encode(paths[0] if paths else None)
        self.labels.put_paths({self.rows[item_id]: paths for item_id, paths in changes.items()})
        self._paths.put({self.rows[item_id]: paths if len(paths) > 1 else () for item_id, paths in changes.items()})

    def _in_categories(self, paths: Sequence[str]) -> NDArray[np.bool_]:
        names = self.categories.names.names
        paths = split_paths(paths, names)
        below = tuple(path + CATEGORY_SEPARATOR for path in paths)
        inside = np.array([name in paths or name.startswith(below) for name in names] + [False], bool)
        # The code of null, -1, is the last.
        return inside[self.categories.codes] | self._paths.mask(inside, len(self.ids))

    def _find_not_recommendable(self) -> set[str]:
        """Return the items whose id, title or a name in a category matches the pattern."""
        if self._pattern is None:
            return set()
        search, ids = self._pattern.search, pl.Series(self.ids, dtype=pl.String)
        paths = [path.split(CATEGORY_SEPARATOR) for path in self.categories.names.names]
        is_path = np.array([any(map(search, path)) for path in paths] + [False], bool)
        found = is_path[self.categories.codes] | self._paths.mask(is_path, len(ids))
        for texts in (ids, self._titles):
            found |= texts.str.contains(self._pattern.pattern).fill_null(value=False).to_numpy()
        return set(compress(self.ids, found))

    def _update_not_recommendable(self, item_ids: Iterable[str]) -> None:
        if self._pattern is None:
            return
        for item_id in item_ids:
            levels = (level for path in self.paths(item_id) for level in path.split(CATEGORY_SEPARATOR))
            if any(map(self._pattern.search, (item_id, self.title(item_id), *levels))):
                self.not_recommendable.add(item_id)
            else:
                self.not_recommendable.discard(item_id)

    def _append(self, new: list[str]) -> None:
        if not new:
            return
        self.rows |= {item_id: len(self.ids) + number for number, item_id in enumerate(new)}
        self.ids += new
        none = np.full(len(new), np.nan)
        self.price = np.append(self.price, none)
        self.repeat_days = np.append(self.repeat_days, none.astype(np.float32))
        self.offers.append(len(new))
        self.groups.append(len(new))
        self.labels.append(len(new))
        for labels in (self.categories, self.brands):
            labels.append(len(new))
        if self.vectors is not None:
            self.vectors = np.append(self.vectors, np.zeros((len(new), self.vectors.shape[1]), np.int8), axis=0)


def _joined_paths(facts: Mapping[str, Any]) -> list[str]:
    """Return the category paths of changed facts, joined; `category` alone was changed by an earlier version."""
    paths = facts.get(CATEGORIES) or [facts[CATEGORY]]
    return [CATEGORY_SEPARATOR.join(path) for path in paths if path]


def catalogue_without_facts(version: str, item_ids: list[str], not_recommendable: str | None = None) -> Catalogue:
    """Return a catalogue of popular items without facts, for a version that was published without a catalogue."""
    texts = dict.fromkeys((TITLE, CATEGORY, BRAND), pl.String)
    schema = {ITEM_ID: pl.String, **texts, PRICE: pl.Float64, AVAILABLE: pl.Boolean, REPEAT_DAYS: pl.Float32}
    return Catalogue(
        version,
        pl.DataFrame({ITEM_ID: item_ids})
        .with_columns(pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name != ITEM_ID)
        .cast({ITEM_ID: pl.String}),
        not_recommendable,
    )
