"""Which items of a catalogue are offered: what the shop says of each, as arrays over the rows of the catalogue."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.availability import NOT_GIVEN, decide_availability
from recsys.schema import AVAILABLE, STOCK, TIMESTAMP_DTYPE, VALID_FROM, VALID_UNTIL

OFFER_DTYPES: Final[Mapping[str, pl.DataType]] = {
    AVAILABLE: pl.Boolean(),
    STOCK: pl.Float64(),
    VALID_FROM: TIMESTAMP_DTYPE,
    VALID_UNTIL: TIMESTAMP_DTYPE,
}
"""Columns that decide whether an item is offered; null where the shop has said nothing."""
AVAILABILITY: Final = frozenset((AVAILABLE, STOCK))
"""Columns that decide whether an item is available."""
ALWAYS: Final = np.iinfo(np.int64).min
"""`valid_from` of an item without one, in Unix microseconds."""
FOREVER: Final = np.iinfo(np.int64).max
"""`valid_until` of an item without one."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)


class Offers:
    """Availability, stock and validity of the items of a catalogue, and which rows were changed online."""

    def __init__(self, items: pl.DataFrame) -> None:
        """Build the arrays from a table of items; a column that it lacks is null."""
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in OFFER_DTYPES.items() if name not in items]
        facts = items.with_columns(missing).select(*OFFER_DTYPES)
        self.given = facts[AVAILABLE].cast(pl.Int8).fill_null(NOT_GIVEN).to_numpy().copy()
        """1 and 0 as the shop says, -1 where it says nothing."""
        self.stock = facts[STOCK].fill_null(np.nan).to_numpy().copy()
        self.valid_from = facts[VALID_FROM].to_physical().fill_null(ALWAYS).to_numpy().copy()
        self.valid_until = facts[VALID_UNTIL].to_physical().fill_null(FOREVER).to_numpy().copy()
        self.available: NDArray[np.bool_] = decide_availability(self.given, self.stock)
        """Whether each item can be sold, whatever its validity."""
        self.has_validity = bool((self.valid_from != ALWAYS).any() or (self.valid_until != FOREVER).any())
        self.changed: set[int] = set()
        self.changes = 0
        """Number of changes, which tells whether there were any since it was read last."""

    def is_valid(self, row: int, now_ms: int) -> bool:
        """Return whether an item is offered at a time in Unix milliseconds."""
        now = now_ms * 1_000
        return bool(self.valid_from[row] <= now < self.valid_until[row])

    def put(self, row: int, facts: Mapping[str, Any]) -> None:
        """Set facts of an item, times as ISO 8601 with a zone; `update` then decides whether it is available."""
        if AVAILABLE in facts:
            self.given[row] = NOT_GIVEN if facts[AVAILABLE] is None else facts[AVAILABLE]
        if STOCK in facts:
            self.stock[row] = np.nan if facts[STOCK] is None else facts[STOCK]
        if VALID_FROM in facts:
            self.valid_from[row] = _microseconds(facts[VALID_FROM], ALWAYS)
        if VALID_UNTIL in facts:
            self.valid_until[row] = _microseconds(facts[VALID_UNTIL], FOREVER)
        self.has_validity |= facts.get(VALID_FROM) is not None or facts.get(VALID_UNTIL) is not None

    def update(self, rows: Sequence[int]) -> NDArray[np.bool_]:
        """Decide whether changed items are available, (rows,)."""
        available: NDArray[np.bool_] = decide_availability(self.given[rows], self.stock[rows])
        self.available[rows] = available
        self.changed.update(rows)
        self.changes += 1
        return available

    def would_be_available(self, row: int, facts: Mapping[str, Any]) -> bool:
        """Return whether an item is available once facts are set, without setting them."""
        known = {AVAILABLE: None if self.given[row] == NOT_GIVEN else self.given[row], STOCK: self.stock[row]}
        return is_available_with({**known, **facts})

    def is_ever_valid(self, row: int, facts: Mapping[str, Any]) -> bool:
        """Return whether an item is offered at any time once facts are set, without setting them."""
        return is_ever_valid(facts, self.valid_from[row], self.valid_until[row])

    def append(self, count: int) -> None:
        """Add items of which nothing is said."""
        self.given = np.append(self.given, np.full(count, NOT_GIVEN, np.int8))
        self.stock = np.append(self.stock, np.full(count, np.nan))
        self.valid_from = np.append(self.valid_from, np.full(count, ALWAYS))
        self.valid_until = np.append(self.valid_until, np.full(count, FOREVER))
        self.available = np.append(self.available, np.ones(count, bool))

    def table(self, rows: Sequence[int] | slice) -> pl.DataFrame:
        """Return what the shop says of some items, as `OFFER_DTYPES`."""
        columns = (self.given[rows], self.stock[rows], self.valid_from[rows], self.valid_until[rows])
        return pl.DataFrame(dict(zip(OFFER_DTYPES, columns, strict=True))).select(
            pl.when(pl.col(AVAILABLE) != NOT_GIVEN).then(pl.col(AVAILABLE).cast(pl.Boolean)),
            pl.col(STOCK).fill_nan(None),
            pl.when(pl.col(VALID_FROM) != ALWAYS).then(pl.col(VALID_FROM).cast(TIMESTAMP_DTYPE)),
            pl.when(pl.col(VALID_UNTIL) != FOREVER).then(pl.col(VALID_UNTIL).cast(TIMESTAMP_DTYPE)),
        )


def is_available_with(facts: Mapping[str, Any]) -> bool:
    """Return whether an item with these facts is available; a fact that is not given is null."""
    given, stock = facts.get(AVAILABLE), facts.get(STOCK)
    return bool(decide_availability(NOT_GIVEN if given is None else given, np.nan if stock is None else stock))


def is_ever_valid(facts: Mapping[str, Any], starts: int = ALWAYS, ends: int = FOREVER) -> bool:
    """Return whether there is a time between `valid_from` and `valid_until`.

    What facts do not give is `starts` and `ends`, in Unix microseconds.
    """
    if VALID_FROM in facts:
        starts = _microseconds(facts[VALID_FROM], ALWAYS)
    if VALID_UNTIL in facts:
        ends = _microseconds(facts[VALID_UNTIL], FOREVER)
    return starts < ends


def _microseconds(time: str | None, missing: int) -> int:
    return missing if time is None else (datetime.fromisoformat(time) - EPOCH) // MICROSECOND
