"""Declaration of a feature: a named Polars expression with dtype, unit and meaning."""

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Feature:
    """A column of a feature table.

    `expression` is evaluated on the frame that the table's function prepares: an aggregation where the function
    groups, an element-wise expression where it selects.
    """

    name: str
    dtype: pl.DataType
    unit: str
    meaning: str
    expression: pl.Expr


def columns(features: Iterable[Feature]) -> list[pl.Expr]:
    """Return the expressions of `features`, cast to their dtypes and named."""
    return [feature.expression.cast(feature.dtype).alias(feature.name) for feature in features]
