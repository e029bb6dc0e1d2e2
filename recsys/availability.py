"""Which items of a catalogue the shop can sell: the only place that decides it, for lists and for answers."""

from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from recsys.schema import AVAILABLE, STOCK, TIMESTAMP_DTYPE, VALID_FROM, VALID_UNTIL

NOT_GIVEN: Final = -1
"""Availability of an item of which the shop has said nothing."""
LIST_AHEAD: Final = timedelta(days=7)
"""Time before an item's `valid_from` from which it may be in lists; the engine shows it from `valid_from` on."""


def decide_availability(given: Any, stock: Any) -> Any:
    """Return whether items are available: as `given` says; where that is `NOT_GIVEN`, unless `stock` is 0.

    The arguments are numbers, arrays or expressions: `given` 1, 0 or `NOT_GIVEN`; `stock` at least 0, NaN for none.

    >>> [decide_availability(1, 0.0), decide_availability(0, 5.0), decide_availability(NOT_GIVEN, 0.0)]
    [True, False, False]
    >>> [decide_availability(NOT_GIVEN, 0.5), decide_availability(NOT_GIVEN, float("nan"))]
    [True, True]
    """
    return (given == 1) | ((given != 0) & (stock != 0))


def is_available() -> pl.Expr:
    """Return whether items of a table are available, by `decide_availability`."""
    given = pl.col(AVAILABLE).cast(pl.Int8).fill_null(NOT_GIVEN)
    available: pl.Expr = decide_availability(given, pl.col(STOCK).fill_null(float("nan")))
    return available.alias(AVAILABLE)


def is_valid(time: datetime) -> pl.Expr:
    """Return whether an item is offered at a time: from `valid_from` on, before `valid_until`."""
    return _is_begun(time) & _is_not_over(time)


def may_be_listed(as_of: datetime) -> pl.Expr:
    """Return whether lists of `as_of` may hold an item: available, not over, and beginning within `LIST_AHEAD`."""
    return is_available() & _is_begun(as_of + LIST_AHEAD) & _is_not_over(as_of)


def _is_begun(time: datetime) -> pl.Expr:
    return (pl.col(VALID_FROM) <= pl.lit(time, TIMESTAMP_DTYPE)).fill_null(value=True)


def _is_not_over(time: datetime) -> pl.Expr:
    return (pl.col(VALID_UNTIL) > pl.lit(time, TIMESTAMP_DTYPE)).fill_null(value=True)
