"""How far a mean over users would move if other users of the same kind had come: the bootstrap."""

import numpy as np
from threadpoolctl import threadpool_limits

from recsys.evaluation.metrics.ranking import Values

RESAMPLES = 500
INTERVAL = (2.5, 97.5)  # percentiles
RESAMPLED_ENTRIES = 1 << 21  # users drawn at a time, over all resamples of a batch


def bootstrap_means(values: Values, resamples: int, seed: int) -> Values:
    """Means of `values` (U, M) over `resamples` draws of U users with replacement, (resamples, M).

    A user whose value is not a number does not count in that column: its mean is over the other users drawn,
    not a number where none is. The draws depend on U and `seed` alone. (Efron and Tibshirani, "An Introduction
    to the Bootstrap", 1993.)
    """
    generator = np.random.default_rng(seed)
    users = len(values)
    absent = np.isnan(values)
    partial = absent.any(axis=0)
    present = (~absent[:, partial]).astype(np.float64)
    known = np.where(absent, 0.0, values)
    batch = max(1, RESAMPLED_ENTRIES // users)
    means = np.empty((resamples, values.shape[1]))
    # The product is thin: threads spend longer on waiting for each other than on it.
    with threadpool_limits(1, user_api="blas"):
        for start in range(0, resamples, batch):
            size = min(batch, resamples - start)
            drawn = generator.integers(users, size=(size, users)) + np.arange(size)[:, None] * users
            times_drawn = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
            times_drawn = times_drawn.astype(np.float64)
            counted = np.full((size, values.shape[1]), float(users))
            counted[:, partial] = times_drawn @ present
            sums = times_drawn @ known
            means[start : start + size] = np.divide(
                sums, counted, out=np.full_like(sums, np.nan), where=counted > 0
            )
    return means


def confidence_interval(resampled: Values) -> tuple[float, float]:
    """The 95 % interval that resampled means (resamples,) span; those that are not a number do not count."""
    low, high = np.nanpercentile(resampled, INTERVAL)
    return float(low), float(high)
