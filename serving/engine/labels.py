"""Columns of texts in memory: one label for each item, or several, as numbers that stand for the texts."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

NO_LABEL: Final = -1
UNKNOWN_LABEL: Final = -2
"""Code of a text that no item has."""

Mask = NDArray[np.bool_]


class LabelNames:
    """The texts that the items of a catalogue have, and the code of each."""

    def __init__(self, names: pl.Series) -> None:
        """Give a code to each different text of a column, in their order."""
        self.names: list[str] = names.drop_nulls().unique().sort().to_list()
        self._code_by_name = {name: code for code, name in enumerate(self.names)}

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self.names)

    def encode(self, name: str | None) -> int:
        """Return the code of a text; a new text gets a new code."""
        if name is None:
            return NO_LABEL
        code = self._code_by_name.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def find(self, name: str) -> int:
        """Return the code of a text."""
        return self._code_by_name.get(name, UNKNOWN_LABEL)

    def encode_column(self, column: pl.Series) -> NDArray[np.int32]:
        """Return the codes of a column whose texts all have one."""
        known = pl.Series(self.names, dtype=pl.String)
        codes = column.replace_strict(known, np.arange(len(known)), default=NO_LABEL, return_dtype=pl.Int32)
        return codes.to_numpy().copy()

    def decode(self, codes: NDArray[np.int32]) -> pl.Series:
        """Return the texts of codes, null for `NO_LABEL`."""
        names = list(self.names)
        return pl.Series([*names, None], dtype=pl.String).gather(np.where(codes < 0, len(names), codes))


class Labels:
    """A column with one text for each item, or none."""

    def __init__(self, column: pl.Series, names: LabelNames | None = None) -> None:
        """Encode a column; `names` has its texts if it is given."""
        self.names = LabelNames(column) if names is None else names
        self.codes = self.names.encode_column(column)

    def append(self, count: int) -> None:
        """Add items without a text."""
        self.codes = np.append(self.codes, np.full(count, NO_LABEL, np.int32))

    def column(self) -> pl.Series:
        """Return the texts of all items."""
        return self.names.decode(self.codes)

    def name(self, row: int) -> str | None:
        """Return the text of an item."""
        code = int(self.codes[row])
        return None if code < 0 else self.names.names[code]


class LabelLists:
    """A column with a list of texts for some items: in memory only for these, and by text, so that few are read."""

    def __init__(self, column: pl.Series, names: LabelNames | None = None) -> None:
        """Encode a column of lists; `names` has their texts if it is given."""
        pairs = pl.DataFrame({"name": column}).with_row_index("row").explode("name").drop_nulls()
        self.names = LabelNames(pairs["name"]) if names is None else names
        self._rows, self._codes = pairs["row"].cast(pl.Int32).to_numpy(), self.names.encode_column(pairs["name"])
        order = np.argsort(self._codes, kind="stable")
        self._rows_by_code = self._rows[order]
        self._starts = np.searchsorted(self._codes[order], np.arange(len(self.names) + 1))
        """Place in `_rows_by_code` of the first row of each code, and the end."""
        self._changed: dict[int, list[int]] = {}
        """Codes of the items whose lists were replaced, by row."""

    def put(self, texts: Mapping[int, Sequence[str]]) -> None:
        """Replace the lists of some items, by row."""
        self._changed |= {row: [self.names.encode(text) for text in names] for row, names in texts.items()}

    def mask(self, is_wanted: Mask, count: int) -> Mask:
        """Return whether each of `count` items has a wanted label; `is_wanted` holds a truth for each code."""
        mask = np.zeros(count, bool)
        wanted = np.flatnonzero(is_wanted[: len(self._starts) - 1]) if len(self._rows) else ()
        for code in wanted:
            mask[self._rows_by_code[self._starts[code] : self._starts[code + 1]]] = True
        for row, codes in self._changed.items():
            mask[row] = any(is_wanted[code] for code in codes)
        return mask

    def list(self, row: int) -> list[str]:
        """Return the texts of an item."""
        return [self.names.names[code] for code in self._codes_of(row)]

    def column(self, count: int) -> pl.Series:
        """Return the lists of `count` items, null for those without one. May be called in a thread."""
        changed = dict(self._changed)
        kept = ~np.isin(self._rows, list(changed))
        added = [(row, code) for row, codes in changed.items() for code in codes]
        rows, codes = np.concatenate(
            [np.stack([self._rows[kept], self._codes[kept]]), np.array(added, np.int32).reshape(-1, 2).T], axis=1
        )
        lists = pl.DataFrame({"row": rows, "name": self.names.decode(codes)}).group_by("row", maintain_order=True)
        every = pl.DataFrame({"row": np.arange(count, dtype=np.int32)})
        return every.join(lists.agg("name"), on="row", how="left", maintain_order="left")["name"]

    def _codes_of(self, row: int) -> Sequence[int]:
        if row in self._changed:
            return self._changed[row]
        start, end = np.searchsorted(self._rows, [row, row + 1])
        return self._codes[start:end].tolist()
