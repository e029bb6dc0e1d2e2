"""Growth of a decayed sum: the one definition of a trend, of items in features and lists, and of users' spend.

`recent` and `usual` are sums of amount * 0.5 ** (age / half-life), with a short and a long half-life.
`recent_share` is the ratio of the two that is expected without growth: over the whole shop, sum recent / sum usual,
so that a busy week of the shop is no trend; for an amount alone in a long history, the short half-life divided by
the long one.

    growth = log((recent + prior) / (recent_share * usual + prior))
    error  = 1 / sqrt(recent + prior)
    trend  = growth - error

The prior shrinks the growth of small sums to 0. The error is the standard error of the logarithm of a Poisson
count, so the amounts and the prior must be in units of events; amounts of money are divided by the mean value of an
order first.
"""

from typing import Final, TypeVar

import polars as pl

Values = TypeVar("Values", pl.Expr, pl.Series)

RECENT_DAYS: Final = 7.0
"""Half-life of the recent sum."""
USUAL_DAYS: Final = 60.0
"""Half-life of the usual sum."""
PRIOR_EVENTS: Final = 10.0
"""Events added to both sums, so that a handful of events does not make a trend."""


def growth(recent: Values, usual: Values, recent_share: Values | float, prior: float = PRIOR_EVENTS) -> Values:
    """Return the logarithm of a recent sum over its expected value, 0 without growth."""
    return ((recent + prior) / (usual * recent_share + prior)).log()


def growth_error(recent: Values, prior: float = PRIOR_EVENTS) -> Values:
    """Return the standard error of `growth`, for sums in units of events."""
    return 1 / (recent + prior).sqrt()


def trend(recent: Values, usual: Values, recent_share: Values | float, prior: float = PRIOR_EVENTS) -> Values:
    """Return `growth` less its error: positive for what rises beyond chance."""
    return growth(recent, usual, recent_share, prior) - growth_error(recent, prior)
