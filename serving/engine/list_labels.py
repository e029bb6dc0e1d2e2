"""What the items of a catalogue have in common that lists limit: their product types and their titles."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.product_types import deepest_type, normalized_title
from recsys.schema import PRODUCT_TYPE, TITLE
from serving.engine.labels import NO_LABEL, LabelNames, Labels

HASH_BITS: Final = 64
TITLE_BITS: Final = 62  # so that a number below 0 remains


class ListLabels:
    """The product type and the title of each item as numbers: of types from 0 up, of titles below `NO_LABEL`."""

    def __init__(self, items: pl.DataFrame) -> None:
        """Build the arrays from a table of items; one without product types has none."""
        no_types = pl.Series([None], dtype=pl.String).new_from_index(0, items.height)
        types = items[PRODUCT_TYPE] if PRODUCT_TYPE in items.columns else no_types
        self._types = Labels(types, LabelNames(types))
        self._names = frozenset(self._types.names.names)
        self._titles = _title_keys(items[TITLE])
        self._view()

    def of(self, row: int) -> tuple[int, int]:
        """Return the numbers of an item's type and title, `NO_LABEL` without one."""
        return self._type_view[row], self._title_view[row]

    def column(self) -> pl.Series:
        """Return the product types of all items; may be called in a thread."""
        return self._types.column()

    def append(self, count: int) -> None:
        """Add items without a type and a title."""
        self._types.append(count)
        self._titles = np.append(self._titles, np.full(count, NO_LABEL, np.int64))
        self._view()

    def put_paths(self, paths: Mapping[int, Sequence[str]]) -> None:
        """Set the product types of some items, by row, from their joined category paths: the deepest known one."""
        for row, of_item in paths.items():
            name = deepest_type(of_item[0] if of_item else None, self._names)
            self._types.codes[row] = self._types.names.encode(name)

    def put_titles(self, titles: Mapping[int, str | None]) -> None:
        """Set the titles of some items, by row."""
        if titles:
            self._titles[list(titles)] = _title_keys(pl.Series(titles.values(), dtype=pl.String))

    def _view(self) -> None:
        # An index into a memory view takes a third of the time of one into an array.
        self._type_view, self._title_view = self._types.codes.data, self._titles.data


def _title_keys(titles: pl.Series) -> NDArray[np.int64]:
    """Return a number below `NO_LABEL` for each title, the same for titles that look alike; `NO_LABEL` for null."""
    normalized = titles.alias(TITLE).to_frame().select(normalized_title(pl.col(TITLE))).to_series()
    keys = -2 - (normalized.hash().to_numpy() >> np.uint64(HASH_BITS - TITLE_BITS)).astype(np.int64)
    keys[normalized.is_null().to_numpy()] = NO_LABEL
    return keys
