"""Expressions and helpers that the behavior features share."""

import polars as pl

from features.events import COUNT, exact_sum
from features.feature import Feature, columns
from recsys.schema import USER_ID


def count_feature(name: str, unit: str, meaning: str, expression: pl.Expr) -> Feature:
    """Declare a feature that counts."""
    return Feature(name, pl.UInt32(), unit, meaning, expression)


def number_feature(name: str, unit: str, meaning: str, expression: pl.Expr) -> Feature:
    """Declare a feature that is a real number."""
    return Feature(name, pl.Float64(), unit, meaning, expression)


def exact_mean(value: pl.Expr) -> pl.Expr:
    """Return the mean of the values that are not null; null without any."""
    return pl.when(value.count() > 0).then(exact_sum(value).cast(pl.Float64) / value.count())


def exact_deviation(value: pl.Expr) -> pl.Expr:
    """Return the sample standard deviation of the values that are not null; null for fewer than two."""
    total, squares, count = exact_sum(value), exact_sum(value * value), value.count().cast(pl.Int64)
    float_total = total.cast(pl.Float64)
    variance = (squares.cast(pl.Float64) - float_total * float_total / count) / (count - 1)
    return pl.when(count > 1).then(variance.clip(lower_bound=0).sqrt())


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """Return `part / whole`; null where `whole` is 0."""
    return pl.when(whole > 0).then(part / whole)


def entropy(count: pl.Expr) -> pl.Expr:
    """Return the entropy, in nats, of the distribution with these counts."""
    total = count.sum()
    return (total.log() - exact_sum(count * count.log()).cast(pl.Float64) / total).clip(lower_bound=0)


def per_user(rows: pl.LazyFrame, features: tuple[Feature, ...]) -> pl.LazyFrame:
    """Aggregate rows to one row per user, with the columns of `features`."""
    return rows.group_by(USER_ID).agg(columns(features))


def sum_by(counts: pl.LazyFrame, key: pl.Expr) -> pl.LazyFrame:
    """Add up the column `COUNT` of each user and key."""
    return counts.group_by(USER_ID, key).agg(pl.col(COUNT).sum())
