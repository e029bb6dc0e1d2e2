"""Outlier detection without labels: the mean rank of two detectors, explained by feature.

ECOD adds up, over the features, how far in a tail a user lies; Isolation Forest counts how few random cuts isolate
a user. ECOD looks at one feature at a time and explains itself, the forest looks at features together; the mean of
their ranks is more stable than either. A score says how unusual a user is among the given users, not that anything
is wrong: one of them is always the most unusual.

Li et al., "ECOD: Unsupervised Outlier Detection Using Empirical Cumulative Distribution Functions" (TKDE 2022).
Liu, Ting, Zhou, "Isolation Forest" (ICDM 2008).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray
from scipy.stats import rankdata

from recsys.anomaly.reason_texts import FEATURE_PHRASES, describe_value

Scores = NDArray[np.float64]

MIN_USERS: Final = 20
TREES: Final = 100
SAMPLE: Final = 256  # users that each tree is grown on
FIT_ROWS: Final = 20_000
BLOCK: Final = 100_000
USUAL_QUANTILES: Final = (0.05, 0.95)  # values between them are called usual
MAX_REASONS: Final = 3


@dataclass(frozen=True)
class Outliers:
    """How unusual each of U users is, and in which of F features."""

    scores: Scores
    """(U,), 0 to 1, 1 for the most unusual; nan if there are fewer than `MIN_USERS` users."""
    names: tuple[str, ...]
    """The features, without those that are constant."""
    values: NDArray[np.float32]
    """(U, F), nan where unknown."""
    tails: NDArray[np.float32]
    """(U, F), the tail scores that ECOD adds up: minus the logarithm of the share of users at least as far out; 0
    where the value is unknown."""
    usual: NDArray[np.float64]
    """(F, 2), the bounds of 90 % of the known values; infinite where nobody is scored."""

    def reasons(
        self, row: int, maximum: int = MAX_REASONS, words: Mapping[str, str] = FEATURE_PHRASES
    ) -> list[str]:
        """Describe the user's features outside the usual range, those with the greatest tail scores first."""
        values, tails = self.values[row], self.tails[row]
        outside = (values < self.usual[:, 0]) | (values > self.usual[:, 1])
        order = np.argsort(-tails, kind="stable")
        columns: list[int] = order[outside[order]][:maximum].tolist()
        return [
            describe_value(self.names[column], float(values[column]), self._usual(column), words)
            for column in columns
        ]

    def _usual(self, column: int) -> tuple[float, float]:
        return float(self.usual[column, 0]), float(self.usual[column, 1])


def find_outliers(features: pl.DataFrame, seed: int) -> Outliers:
    """Score every row of `features`, one row per user, of which the numeric columns are used.

    Scores range from 0 to 1, higher for more unusual users; fewer than `MIN_USERS` users are not scored. A null is
    replaced by the median, and adds nothing to ECOD. Memory is a few numbers per user and feature: ECOD is computed
    one feature at a time, and the forest scores users in blocks.
    """
    numbers = features.select(cs.numeric().cast(pl.Float64).fill_nan(None))
    constant = numbers.select(pl.all().drop_nulls().n_unique() < 2)
    numbers = numbers.drop([name for name in numbers.columns if constant[name].item()])
    names = tuple(numbers.columns)
    users = numbers.height
    values = numbers.cast(pl.Float32).to_numpy().reshape(users, len(names))
    if users < MIN_USERS or not names:
        unknown = np.full(users, np.nan)
        any_value = np.tile([-np.inf, np.inf], (len(names), 1))
        return Outliers(unknown, names, values, np.zeros_like(values), any_value)
    filled = numbers.select(pl.all().fill_null(pl.all().median()))
    tails = np.column_stack([ecod_tails(filled[name].to_numpy()) for name in names]).astype(np.float32)
    tails[np.isnan(values)] = 0
    usual = numbers.select(
        pl.concat_list(pl.all().quantile(share, "nearest")).alias(f"{share}") for share in USUAL_QUANTILES
    )
    forest = isolation_forest_scores(filled.cast(pl.Float32).to_numpy(), seed)
    scores = (normalize_ranks(tails.sum(axis=1, dtype=np.float64)) + normalize_ranks(forest)) / 2
    return Outliers(
        scores, names, values, tails, np.column_stack([usual[column].item() for column in usual.columns])
    )


def ecod_tails(values: Scores) -> Scores:
    """Compute ECOD of one feature, (U,): 0 or more, higher the fewer users lie as far out."""
    from pyod.models.ecod import ECOD  # imports matplotlib and compiles: takes seconds

    return ECOD().fit(values[:, None]).O[:, 0]


def isolation_forest_scores(values: NDArray[np.float32], seed: int) -> Scores:
    """Compute Isolation Forest scores of all features, (U,), higher the fewer cuts isolate a user."""
    from pyod.models.iforest import IForest  # takes seconds to import, too

    drawn = np.random.default_rng(seed).permutation(len(values))[:FIT_ROWS]
    sample = min(SAMPLE, len(drawn))
    # One job: several would add up the trees in no fixed order.
    forest = IForest(n_estimators=TREES, max_samples=sample, random_state=seed, n_jobs=1).fit(
        values[np.sort(drawn)]
    )
    blocks = [forest.decision_function(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)]
    return np.concatenate(blocks)


def normalize_ranks(values: Scores) -> Scores:
    """Scale the ranks of at least two values to 0 to 1, (U,); ties get their mean rank."""
    return (rankdata(values) - 1) / (len(values) - 1)
