"""Facts of the catalogue that the ranker reads: the category of each item at several levels, brand and price."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.metrics.diversity import encode_paths
from recsys.ids import UNKNOWN, IdMap, Rows
from recsys.models.artifacts import Array
from recsys.schema import BRAND, CATEGORY, ITEM_ID, PRICE

MAX_LEVELS: Final = 4  # of the category path, from the root
FACT_COLUMNS: Final = (ITEM_ID, CATEGORY, BRAND, PRICE)


@dataclass(frozen=True)
class ItemFacts:
    """Codes and prices of the items of a shop, by item row."""

    level_names: tuple[str, ...]
    codes: NDArray[
        np.int32
    ]  # (items, levels) of the category down to each level, and the brand; the last is unknown
    log_prices: NDArray[np.float32]  # (items,) natural logarithm, NaN where the price is unknown

    @property
    def sizes(self) -> Rows:
        """Return the number of codes of each level, (levels,)."""
        return self.codes.max(axis=0, initial=0) + 1

    def arrays(self) -> dict[str, Array]:
        """Return every array by name; the names of the levels are one of them."""
        names = np.frombuffer("\n".join(self.level_names).encode(), np.uint8)
        return {"facts.names": names, "facts.codes": self.codes, "facts.log_prices": self.log_prices}

    @classmethod
    def from_arrays(cls, arrays: dict[str, Array]) -> "ItemFacts":
        """Rebuild the facts from what `arrays` returned."""
        names = arrays["facts.names"].tobytes().decode()
        return cls(tuple(names.split("\n")) if names else (), arrays["facts.codes"], arrays["facts.log_prices"])


def item_facts(catalogue: pl.DataFrame | None, items: IdMap) -> ItemFacts:
    """Look up the items in a catalogue with the column `item_id`, and any of `category` (paths), `brand`, `price`.

    A level at which all items have the same code is left out. Without a catalogue there are no levels.
    """
    rows = pl.DataFrame({ITEM_ID: items.values})
    if catalogue is not None:
        columns = [name for name in FACT_COLUMNS if name in catalogue.columns]
        known = (
            catalogue.select(columns).with_columns(pl.col(ITEM_ID).cast(pl.String)).unique(ITEM_ID, keep="first")
        )
        rows = rows.join(known, on=ITEM_ID, how="left", maintain_order="left")
    levels = _category_levels(rows[CATEGORY]) if CATEGORY in rows.columns else {}
    if BRAND in rows.columns:
        levels["brand"] = IdMap.from_ids(rows[BRAND]).rows(rows[BRAND])
    levels = {name: _with_unknown_last(codes) for name, codes in levels.items() if len(np.unique(codes)) > 1}
    codes = np.column_stack(list(levels.values())) if levels else np.zeros((len(items), 0), np.int32)
    return ItemFacts(tuple(levels), codes.astype(np.int32), _log_prices(rows))


def _category_levels(paths: pl.Series) -> dict[str, Rows]:
    """Return the code of each item's category down to each level; below a path's end, that of the whole path."""
    codes = encode_paths(paths)[:, :MAX_LEVELS]
    levels: dict[str, Rows] = {}
    offset, previous = 0, np.full(len(paths), UNKNOWN, np.int32)
    for number in range(codes.shape[1]):
        own = codes[:, number] + offset
        offset += int(own.max(initial=0)) + 1
        previous = np.where(codes[:, number] == UNKNOWN, previous, own).astype(np.int32)
        levels[f"category level {number + 1}"] = previous
    return levels


def _with_unknown_last(codes: Rows) -> Rows:
    """Renumber the codes from 0 without gaps, `UNKNOWN` after all others."""
    shifted = np.where(codes == UNKNOWN, np.iinfo(np.int32).max, codes)
    return np.unique(shifted, return_inverse=True)[1].astype(np.int32)


def _log_prices(rows: pl.DataFrame) -> NDArray[np.float32]:
    if PRICE not in rows.columns:
        return np.full(rows.height, np.nan, np.float32)
    prices = rows[PRICE].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return np.log(np.where((prices > 0) & np.isfinite(prices), prices, np.nan)).astype(np.float32)
