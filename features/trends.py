"""Item trend: the growth of the item's event rate relative to the shop's, as `recsys.growth` defines it.

The trending list is ranked by the same trend, of events that are limited further: a user counts once an item and
day there, and new users hardly.
"""

from typing import Final

import polars as pl

from features.feature import Feature
from features.pairs import RECENT, USUAL
from recsys.growth import PRIOR_EVENTS, RECENT_DAYS, USUAL_DAYS, growth, growth_error, trend


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64)


_RECENT: Final = _number(RECENT)
_USUAL: Final = _number(USUAL)
_SHOP_EVENTS: Final = pl.col(USUAL).sum().cast(pl.Float64)
_SHARE: Final = pl.col(RECENT).sum().cast(pl.Float64) / _SHOP_EVENTS


def _if_shop_has_events(value: pl.Expr) -> pl.Expr:
    return pl.when(_SHOP_EVENTS > 0).then(value)


TREND: Final = (
    Feature(
        "growth",
        pl.Float64(),
        "log ratio",
        f"Growth of the item's events decayed with a half-life of {RECENT_DAYS:.0f} days against those with "
        f"{USUAL_DAYS:.0f} days, relative to the shop's, shrunk to 0 by a prior of {PRIOR_EVENTS:.0f} events; null "
        "if the shop has no events",
        _if_shop_has_events(growth(_RECENT, _USUAL, _SHARE)),
    ),
    Feature(
        "growth_error",
        pl.Float64(),
        "log ratio",
        "Standard error of growth",
        _if_shop_has_events(growth_error(_RECENT)),
    ),
    Feature(
        "trend",
        pl.Float64(),
        "log ratio",
        "growth - growth_error: positive for an item that rises beyond chance; the trending list ranks by the same "
        "formula, but counts a user once an item and day, and new users little",
        _if_shop_has_events(trend(_RECENT, _USUAL, _SHARE)),
    ),
)
