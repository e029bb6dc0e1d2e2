"""What the process knows of every item of a version: enough to filter, to fill an answer, and to say why."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.schema import AVAILABLE, BRAND, CATEGORY, CATEGORY_SEPARATOR, ITEM_ID, PRICE, REPEAT_DAYS, TITLE, VECTOR

KEPT_MASKS: Final = 64


@dataclass(frozen=True)
class ItemFilter:
    """What an item has to be to be in an answer; None for anything."""

    category: str | None = None
    brand: str | None = None
    price_min: float | None = None
    price_max: float | None = None


NO_FILTER: Final = ItemFilter()


class _Labels:
    """Texts as numbers, -1 for none."""

    def __init__(self, column: pl.Series) -> None:
        distinct = column.drop_nulls().unique().sort()
        self.names: list[str] = distinct.to_list()
        self._codes = {name: code for code, name in enumerate(self.names)}
        self.of_items = (
            column.replace_strict(distinct, np.arange(len(distinct)), default=-1, return_dtype=pl.Int32)
            .to_numpy()
            .copy()
        )

    def code(self, name: str | None) -> int:
        """The number of a text, a new one where it is new."""
        if name is None:
            return -1
        code = self._codes.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def find(self, name: str) -> int:
        """The number of a text, -2 where no item has it."""
        return self._codes.get(name, -2)

    def column(self) -> pl.Series:
        """The texts of all items."""
        return pl.Series([*self.names, None], dtype=pl.String).gather(
            np.where(self.of_items < 0, len(self.names), self.of_items)
        )

    def name(self, row: int) -> str | None:
        """The text of an item."""
        code = int(self.of_items[row])
        return None if code < 0 else self.names[code]


class Catalogue:
    """The items of one version, the most popular first, as arrays; changes made online are put over them."""

    def __init__(self, version: str, items: pl.DataFrame) -> None:
        """`items` has the columns that `store.catalogue` publishes."""
        self.version = version
        self.as_of = as_of(version)
        self.as_of_ms = max(0, int((self.as_of.timestamp() if self.as_of.year > 1970 else 0) * 1_000))
        self.ids: list[str] = items[ITEM_ID].to_list()
        self.rows: dict[str, int] = {item_id: row for row, item_id in enumerate(self.ids)}
        self._titles = items[TITLE]
        self._new_titles: dict[str, str | None] = {}
        self.categories = _Labels(items[CATEGORY])
        self.brands = _Labels(items[BRAND])
        self.price = items[PRICE].cast(pl.Float64).fill_null(np.nan).to_numpy().copy()
        self.available = items[AVAILABLE].fill_null(True).to_numpy().copy()
        self.repeat_days = items[REPEAT_DAYS].cast(pl.Float32).fill_null(np.nan).to_numpy().copy()
        self.vectors: NDArray[np.int8] | None = items[VECTOR].to_numpy() if VECTOR in items.columns else None
        self.unavailable: set[str] = set(items.filter(~pl.col(AVAILABLE))[ITEM_ID])
        self._masks: OrderedDict[ItemFilter, NDArray[np.bool_]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    def title(self, item_id: str) -> str:
        """What an item is called, its id where that is not known."""
        row = self.rows.get(item_id, -1)
        if item_id in self._new_titles or not 0 <= row < len(self._titles):
            return self._new_titles.get(item_id) or item_id
        title: str | None = self._titles[row]
        return title or item_id

    def table(self) -> pl.DataFrame:
        """All of it, in the columns that it was made of.

        May be called in a thread: items that are new meanwhile, of which some columns are longer, are left out.
        """
        vectors, brands = self.vectors, self.brands.column()  # what a new item is put into last
        count = len(brands) if vectors is None else len(vectors)
        ids = self.ids[:count]
        columns: dict[str, Any] = {
            ITEM_ID: pl.Series(ids, dtype=pl.String),
            TITLE: self._all_titles(count),
            CATEGORY: self.categories.column()[:count],
            BRAND: brands[:count],
            PRICE: pl.Series(self.price[:count]).fill_nan(None),
            AVAILABLE: self.available[:count],
            REPEAT_DAYS: pl.Series(self.repeat_days[:count]).fill_nan(None),
        }
        return pl.DataFrame(columns | ({} if vectors is None else {VECTOR: vectors}))

    def _all_titles(self, count: int) -> pl.Series:
        """The titles of the first so many items."""
        titles = self._titles.extend_constant(None, count - len(self._titles))
        new = [
            (row, title) for item_id, title in list(self._new_titles.items()) if (row := self.rows[item_id]) < count
        ]
        return titles.scatter([row for row, _ in new], [title for _, title in new]) if new else titles

    def facts(self, item_id: str) -> dict[str, Any]:
        """What is known of an item."""
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

    def mask(self, wanted: ItemFilter) -> NDArray[np.bool_]:
        """True for each row that is as wanted, available or not."""
        kept = self._masks.get(wanted)
        if kept is not None:
            self._masks.move_to_end(wanted)
            return kept
        mask = np.ones(len(self.ids), bool)
        if wanted.category is not None:
            mask &= self._in_category(wanted.category)
        if wanted.brand is not None:
            mask &= self.brands.of_items == self.brands.find(wanted.brand)
        if wanted.price_min is not None:
            mask &= self.price >= wanted.price_min
        if wanted.price_max is not None:
            mask &= self.price <= wanted.price_max
        self._masks[wanted] = mask
        if len(self._masks) > KEPT_MASKS:
            self._masks.popitem(last=False)
        return mask

    def passes(self, wanted: ItemFilter, item_ids: Iterable[str]) -> list[bool]:
        """Whether each item is as wanted; one that is not known is not, unless anything is."""
        if wanted == NO_FILTER:
            return [True for _ in item_ids]
        mask, rows = self.mask(wanted), self.rows
        return [(row := rows.get(item_id)) is not None and bool(mask[row]) for item_id in item_ids]

    def popular(self, wanted: ItemFilter = NO_FILTER) -> Iterator[str]:
        """Available items as wanted, the most popular first."""
        if wanted == NO_FILTER:
            return (item_id for item_id in self.ids if item_id not in self.unavailable)
        rows = np.flatnonzero(self.mask(wanted) & self.available)
        return (self.ids[row] for row in rows)

    def put(self, changes: Mapping[str, Mapping[str, Any]]) -> None:
        """Put facts that were changed online over those of some items; an unknown item is a new one, the last."""
        self._append([item_id for item_id in changes if item_id not in self.rows])
        for item_id, facts in changes.items():
            row = self.rows[item_id]
            if AVAILABLE in facts:
                self._set_available(item_id, row, facts[AVAILABLE])
            if PRICE in facts:
                self.price[row] = np.nan if facts[PRICE] is None else facts[PRICE]
            if CATEGORY in facts:
                path = facts[CATEGORY]
                self.categories.of_items[row] = self.categories.code(
                    CATEGORY_SEPARATOR.join(path) if path else None
                )
            if BRAND in facts:
                self.brands.of_items[row] = self.brands.code(facts[BRAND])
            if TITLE in facts:
                self._new_titles[item_id] = facts[TITLE]
        self._masks.clear()

    def set_unavailable(self, item_ids: Collection[str]) -> None:
        """Items that are not to be shown, whether or not anything else is known of them."""
        self.unavailable.update(item_ids)
        rows = [row for item_id in item_ids if (row := self.rows.get(item_id)) is not None]
        self.available[rows] = False

    def _set_available(self, item_id: str, row: int, available: bool) -> None:
        self.available[row] = available
        if available:
            self.unavailable.discard(item_id)
        else:
            self.unavailable.add(item_id)

    def _in_category(self, path: str) -> NDArray[np.bool_]:
        below = path + CATEGORY_SEPARATOR
        names = self.categories.names
        inside = np.array([name == path or name.startswith(below) for name in names] + [False], bool)
        return inside[self.categories.of_items]  # -1, for none, is the last

    def _append(self, new: list[str]) -> None:
        if not new:
            return
        self.rows |= {item_id: len(self.ids) + number for number, item_id in enumerate(new)}
        self.ids += new
        none = np.full(len(new), np.nan)
        self.price = np.append(self.price, none)
        self.repeat_days = np.append(self.repeat_days, none.astype(np.float32))
        self.available = np.append(self.available, np.ones(len(new), bool))
        for labels in (self.categories, self.brands):
            labels.of_items = np.append(labels.of_items, np.full(len(new), -1, np.int32))
        if self.vectors is not None:
            self.vectors = np.append(self.vectors, np.zeros((len(new), self.vectors.shape[1]), np.int8), axis=0)


def catalogue_without_facts(version: str, item_ids: list[str]) -> Catalogue:
    """The catalogue of a version that was published without one: its popular items, of which nothing is known."""
    texts = dict.fromkeys((TITLE, CATEGORY, BRAND), pl.String)
    schema = {ITEM_ID: pl.String, **texts, PRICE: pl.Float64, AVAILABLE: pl.Boolean, REPEAT_DAYS: pl.Float32}
    return Catalogue(
        version,
        pl.DataFrame({ITEM_ID: item_ids})
        .with_columns(pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name != ITEM_ID)
        .with_columns(pl.lit(True).alias(AVAILABLE))
        .cast({ITEM_ID: pl.String}),
    )


def as_of(version: str) -> datetime:
    """The moment up to which a version knows what happened; the beginning of time where its name does not tell."""
    try:
        return datetime.strptime(version, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
