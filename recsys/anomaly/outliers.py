"""Who behaves like nobody else: two detectors that need no labels, rank-averaged and explained per feature.

ECOD adds, over features, how far out in a tail of the feature a user lies; Isolation Forest counts how few random
cuts set a user apart. ECOD sees one feature at a time and explains itself, the forest sees features together; the
mean of their ranks is steadier than either. A score says how unusual a user is among the given ones, not that
anything is wrong: somebody is always the most unusual.

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
SAMPLE: Final = 256  # users a tree is grown on
FIT_ROWS: Final = 20_000
BLOCK: Final = 100_000
USUAL: Final = (0.05, 0.95)  # between these quantiles a value is called usual
REASONS: Final = 3


@dataclass(frozen=True)
class Outliers:
    """How unusual each of U users is, and in which of F features."""

    scores: Scores
    """(U,), 0 to 1, 1 the most unusual; not a number for all of fewer than `MIN_USERS` users."""
    names: tuple[str, ...]
    """The features, without those in which all users are alike."""
    values: NDArray[np.float32]
    """(U, F), not a number where unknown."""
    tails: NDArray[np.float32]
    """(U, F), how far out each value lies: the negative logarithm of the share of users that lie as far, which is
    what ECOD adds up; 0 where the value is unknown."""
    usual: NDArray[np.float64]
    """(F, 2), what 90 % of the known values lie between; without bounds where nobody is scored."""

    def reasons(self, row: int, most: int = REASONS, words: Mapping[str, str] = FEATURE_PHRASES) -> list[str]:
        """The features outside the usual range that put a user the furthest out, in words, the furthest first."""
        values, tails = self.values[row], self.tails[row]
        outside = (values < self.usual[:, 0]) | (values > self.usual[:, 1])
        order = np.argsort(-tails, kind="stable")
        named: list[int] = order[outside[order]][:most].tolist()
        return [
            describe_value(self.names[column], float(values[column]), self._usual(column), words)
            for column in named
        ]

    def _usual(self, column: int) -> tuple[float, float]:
        return float(self.usual[column, 0]), float(self.usual[column, 1])


def find_outliers(features: pl.DataFrame, seed: int) -> Outliers:
    """Score every row of `features`, of which the numeric columns count, one row a user.

    Range 0 to 1, the higher the more unusual. Warm-up: `MIN_USERS` users, below which nobody is scored. A value
    that is null is no evidence: the median stands for it, and it adds nothing in ECOD. Memory is bounded by a few
    numbers a user and feature: ECOD is computed a feature at a time, the forest scores users in blocks.
    """
    numbers = features.select(cs.numeric().cast(pl.Float64).fill_nan(None))
    alike = numbers.select(pl.all().drop_nulls().n_unique() < 2)
    numbers = numbers.drop([name for name in numbers.columns if alike[name].item()])
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
    usual = numbers.select(pl.concat_list(pl.all().quantile(share, "nearest")).alias(f"{share}") for share in USUAL)
    forest = isolation_forest_scores(filled.cast(pl.Float32).to_numpy(), seed)
    scores = (normalize_ranks(tails.sum(axis=1, dtype=np.float64)) + normalize_ranks(forest)) / 2
    return Outliers(
        scores, names, values, tails, np.column_stack([usual[column].item() for column in usual.columns])
    )


def ecod_tails(values: Scores) -> Scores:
    """ECOD of one feature, (U,): 0 or more, the higher the fewer users lie as far out."""
    from pyod.models.ecod import ECOD  # imports matplotlib and compiles, which takes seconds

    return ECOD().fit(values[:, None]).O[:, 0]


def isolation_forest_scores(values: NDArray[np.float32], seed: int) -> Scores:
    """Isolation Forest of all features, (U,), the higher the fewer cuts it takes."""
    from pyod.models.iforest import IForest  # see above

    drawn = np.random.default_rng(seed).permutation(len(values))[:FIT_ROWS]
    sample = min(SAMPLE, len(drawn))
    # One job: several add up the trees in no fixed order.
    forest = IForest(n_estimators=TREES, max_samples=sample, random_state=seed, n_jobs=1).fit(
        values[np.sort(drawn)]
    )
    blocks = [forest.decision_function(values[start : start + BLOCK]) for start in range(0, len(values), BLOCK)]
    return np.concatenate(blocks)


def normalize_ranks(values: Scores) -> Scores:
    """Ranks as 0 to 1, ties at their mean, (U,) for at least two."""
    return (rankdata(values) - 1) / (len(values) - 1)
