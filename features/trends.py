"""Trend: growth of an item's event rate, or of a user's spend, relative to the shop's, with a confidence bound.

R is the number of the item's events decayed with a quarter of the half-life, L the number decayed with the full
half-life, so that R of L are recent. The recent share of the shop is s = sum R / sum L; an item that follows the
shop has the same share. Recent and older events are Poisson counts; the gamma priors of their rates have the
weight of `PRIOR_EVENTS` events with the shop's recent share:

    recent = PRIOR_EVENTS * s + R          older = PRIOR_EVENTS * (1 - s) + L - R

    growth = log(recent / older) - log(s / (1 - s))
    error  = sqrt(1 / recent + 1 / older)
    trend  = growth - 1.645 * error        (the lower end of a one-sided 95 % interval)

The error follows from the delta method for the logarithm of a ratio of two gamma variables. It is conservative: a
decayed sum has a smaller variance than a count of the same size, and the two sums share events. With a constant
rate of the shop, s is a quarter, and three sales of an item without earlier sales have a trend of -0.13: no trend.
"""

from typing import Final

import polars as pl

from features.feature import Feature
from features.pairs import LONG, RECENT

PRIOR_EVENTS: Final = 10.0
LOWER_BOUND_Z: Final = 1.645

# Keeps the logarithms finite if all events of the shop are very recent or very old.
_MIN_SHARE: Final = 0.01


def recent_share(recent: pl.Expr, long: pl.Expr) -> pl.Expr:
    """Return the recent share of the shop, from the shop's sums of events decayed in both ways."""
    return (recent.cast(pl.Float64) / long.cast(pl.Float64)).clip(_MIN_SHARE, 1 - _MIN_SHARE)


def growth(recent: pl.Expr, long: pl.Expr, share: pl.Expr) -> pl.Expr:
    """Return the growth of a decayed rate of events relative to the shop, whose recent share is `share`."""
    newer, older = _with_prior(recent, long, share)
    return (newer / older).log() - (share / (1 - share)).log()


def growth_error(recent: pl.Expr, long: pl.Expr, share: pl.Expr) -> pl.Expr:
    """Return the standard error of `growth`."""
    newer, older = _with_prior(recent, long, share)
    return (1 / newer + 1 / older).sqrt()


def _with_prior(recent: pl.Expr, long: pl.Expr, share: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Return the recent and the older events, each with the events of its prior."""
    number, total = recent.cast(pl.Float64), long.cast(pl.Float64)
    return PRIOR_EVENTS * share + number, PRIOR_EVENTS * (1 - share) + (total - number)


_SHOP_EVENTS: Final = pl.col(LONG).sum().cast(pl.Float64)
_SHARE: Final = recent_share(pl.col(RECENT).sum(), pl.col(LONG).sum())
_GROWTH: Final = growth(pl.col(RECENT), pl.col(LONG), _SHARE)
_ERROR: Final = growth_error(pl.col(RECENT), pl.col(LONG), _SHARE)


def _if_shop_has_events(value: pl.Expr) -> pl.Expr:
    return pl.when(_SHOP_EVENTS > 0).then(value)


TREND: Final = (
    Feature(
        "growth",
        pl.Float64(),
        "log ratio",
        "Growth of the item's decayed event rate relative to the shop's, shrunk to 0 by a prior with the weight of "
        f"{PRIOR_EVENTS:.0f} events; null if the shop has no events",
        _if_shop_has_events(_GROWTH),
    ),
    Feature("growth_error", pl.Float64(), "log ratio", "Standard error of growth", _if_shop_has_events(_ERROR)),
    Feature(
        "trend",
        pl.Float64(),
        "log ratio",
        f"Lower bound of the one-sided 95 % confidence interval, growth - {LOWER_BOUND_Z} * growth_error; positive "
        "for a rising item",
        _if_shop_has_events(_GROWTH - LOWER_BOUND_Z * _ERROR),
    ),
)
