"""Bootstrap confidence intervals of means over users."""

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.evaluation.metrics.ranking import Values

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles
MAX_BATCH_DRAWS = 1 << 21  # draws in one batch of resamples


def bootstrap_means(values: Values, resamples: int, seed: int) -> Values:
    """Resample U users with replacement and return the means of `values` (U, M), (resamples, M).

    NaN values are ignored: each mean is over the drawn users that have a value in the column, NaN where there is
    none. The draws depend only on U and `seed`, so results for the same users are paired.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993).
    """
    generator = np.random.default_rng(seed)
    users = len(values)
    absent = np.isnan(values)
    partial = absent.any(axis=0)
    present = (~absent[:, partial]).astype(np.float64)
    filled = np.where(absent, 0.0, values)
    batch = max(1, MAX_BATCH_DRAWS // users)
    means = np.empty((resamples, values.shape[1]))
    # The matrix product is small, so that threads would spend more time on synchronization than on arithmetic.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, resamples, batch):
            size = min(batch, resamples - start)
            drawn = generator.integers(users, size=(size, users)) + np.arange(size)[:, None] * users
            times_drawn = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
            times_drawn = times_drawn.astype(np.float64)
            counted = np.full((size, values.shape[1]), float(users))
            counted[:, partial] = times_drawn @ present
            sums = times_drawn @ filled
            means[start : start + size] = np.divide(
                sums, counted, out=np.full_like(sums, np.nan), where=counted > 0
            )
    return means


def confidence_interval(resampled: Values) -> tuple[float, float]:
    """Return the 95 % percentile interval of bootstrap means (resamples,); NaN values are ignored."""
    low, high = np.nanpercentile(resampled, INTERVAL)
    return float(low), float(high)
