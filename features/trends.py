"""Is an item on the rise? The growth of its event rate against the shop's, with how sure that is.

With R an item's events decayed with a quarter of the half-life and L with all of it, R of L are recent. Over the
whole shop the recent share is s = sum R / sum L: an item that only follows the shop has the same. Recent and older
events are Poisson counts whose rates have gamma priors worth `PRIOR_EVENTS` events that came as the shop's did:

    recent = PRIOR_EVENTS * s + R          older = PRIOR_EVENTS * (1 - s) + L - R

    growth = log(recent / older) - log(s / (1 - s))
    error  = sqrt(1 / recent + 1 / older)
    trend  = growth - 1.645 * error        (the lower end of a one-sided 95 % interval)

The error is the delta method's for the logarithm of a ratio of two gamma variables. A decayed sum varies less than
a count of the same size, and the two sums share events, so the error is on the safe side. Where the shop's rate is
steady, s is a quarter, and three sales of an item that never sold have a trend of -0.13: none.
"""

from typing import Final

import polars as pl

from features.feature import Feature
from features.pairs import LONG, RECENT

PRIOR_EVENTS: Final = 10.0
LOWER_BOUND_Z: Final = 1.645

# Keeps the logarithms finite in a shop whose events are all of the last minutes or all long ago.
_MIN_SHARE: Final = 0.01


def _number(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Float64)


_SHOP_EVENTS: Final = pl.col(LONG).sum().cast(pl.Float64)
_SHARE: Final = (pl.col(RECENT).sum().cast(pl.Float64) / _SHOP_EVENTS).clip(_MIN_SHARE, 1 - _MIN_SHARE)
_RECENT: Final = PRIOR_EVENTS * _SHARE + _number(RECENT)
_OLDER: Final = PRIOR_EVENTS * (1 - _SHARE) + (_number(LONG) - _number(RECENT))
_GROWTH: Final = (_RECENT / _OLDER).log() - (_SHARE / (1 - _SHARE)).log()
_ERROR: Final = (1 / _RECENT + 1 / _OLDER).sqrt()


def _where_known(value: pl.Expr) -> pl.Expr:
    return pl.when(_SHOP_EVENTS > 0).then(value)


TREND: Final = (
    Feature(
        "growth",
        pl.Float64(),
        "log ratio",
        "Growth of the item's decayed event rate against the shop's, shrunk to none by "
        f"{PRIOR_EVENTS:.0f} events' worth of prior; null where the shop has no event",
        _where_known(_GROWTH),
    ),
    Feature("growth_error", pl.Float64(), "log ratio", "Standard error of growth", _where_known(_ERROR)),
    Feature(
        "trend",
        pl.Float64(),
        "log ratio",
        f"Lower confidence bound of growth, growth - {LOWER_BOUND_Z} * growth_error: above 0 it rises",
        _where_known(_GROWTH - LOWER_BOUND_Z * _ERROR),
    ),
)
