"""Acceptance of a candidate in place of what is used now, on users that did not choose the candidate."""

from typing import Final

import numpy as np

from recsys.evaluation.comparison.bootstrap import bootstrap_means, confidence_interval
from recsys.evaluation.metrics.ranking import Values

RESAMPLES: Final = 1_000
MIN_USERS: Final = 10  # users below which a bootstrap interval is too narrow


def is_accepted(candidate: Values, incumbent: Values, min_relative_gain: float, seed: int) -> bool:
    """Decide whether `candidate` replaces `incumbent`, given one metric of the same users for both, (users,).

    The gain of each user is the candidate's value minus the incumbent's. The candidate is accepted if the 95 %
    bootstrap interval of the mean gain lies above 0, and if the mean gain is at least `min_relative_gain` times the
    incumbent's mean. The test holds only for users that had no part in the choice of the candidate. With
    fewer than `MIN_USERS` users, the incumbent stays.
    """
    gains = candidate - incumbent
    if len(gains) < MIN_USERS or gains.mean() <= 0 or gains.mean() < min_relative_gain * incumbent.mean():
        return False
    low, _ = confidence_interval(bootstrap_means(gains[:, np.newaxis], RESAMPLES, seed)[:, 0])
    return low > 0
