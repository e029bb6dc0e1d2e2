"""How a feature is declared."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Feature:
    """One column of a feature table.

    `expression` reads the frame that the function below the declaration prepares: an aggregate where it groups,
    a plain expression where it selects.
    """

    name: str
    dtype: pl.DataType
    unit: str
    meaning: str
    expression: pl.Expr


def columns(features: Iterable[Feature]) -> list[pl.Expr]:
    """The expressions of `features`, each under its name and with its dtype."""
    return [feature.expression.cast(feature.dtype).alias(feature.name) for feature in features]
