"""Forecasts of every customer: learned from the orders before a moment, and made for any block of customers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl

from recsys.models.artifacts import save_model
from recsys.models.customer_forecasts.category_propensity import (
    CategoryModel,
    category_rates,
    top_categories,
    train_categories,
)
from recsys.models.customer_forecasts.cuts import AGE, MIN_HISTORY, before, training_cuts
from recsys.models.customer_forecasts.next_order import NextOrderModel, train_next_order
from recsys.models.customer_forecasts.order_features import AMOUNT, order_features
from recsys.models.customer_forecasts.spend import SpendModel, train_spend
from recsys.models.customer_forecasts.survival import EDGES, Values, quantile, survival_at
from recsys.models.customer_forecasts.trees import TreeSettings
from recsys.schema import CATEGORY_SEPARATOR, TIMESTAMP_DTYPE, USER_ID

SHORT_DAYS: Final = 7
LONG_DAYS: Final = 28
SPEND_DAYS: Final = 90
SECONDS_PER_DAY: Final = 86_400
MIN_USERS: Final = 100
"""Users with an order that forecasts are learned from, at least."""
MAX_NAMED_CATEGORIES: Final = 5
TYPICAL_GAP: Final = 0.9
"""Share of the shop's gaps between orders that its typical longest gap covers."""

NEXT_ORDER: Final = "next_order"
SPEND: Final = "spend"
CATEGORIES: Final = "categories"
CHURN: Final = "churn"
MODELS: Final = (NEXT_ORDER, SPEND, CATEGORIES)

Reasons = Mapping[str, str]


@dataclass(frozen=True)
class ForecastConfig:
    """Settings of the training."""

    max_users: int = 10_000
    """Maximum number of users to learn from, drawn at random."""
    cuts: int = 8
    """Maximum number of earlier moments to learn from."""
    trees: int = 100
    leaves: int = 15
    learning_rate: float = 0.07
    categories: int = 50
    """Number of categories with a propensity: those that most users bought."""
    category_examples: int = 100_000
    """Maximum number of pairs of user and category to learn from."""
    seed: int = 0


@dataclass(frozen=True)
class OrderHistory:
    """The orders before a moment of some users."""

    orders: pl.DataFrame
    """A row for each order: `user_id`, `AGE` in days, `AMOUNT` (null without a price) and `ITEMS`."""
    lines: pl.DataFrame
    """A row for each order and category in it: `user_id`, `AGE` and `category`, a joined path."""
    days: float
    """Age of the first order of the shop, in days."""

    def before(self, cut: float) -> "OrderHistory":
        """Return the history before a cut, as it was known then."""
        return OrderHistory(before(self.orders, cut), before(self.lines, cut), self.days - cut)

    @property
    def users(self) -> int:
        """Return the number of users with an order."""
        return self.orders[USER_ID].n_unique()

    def sample(self, max_users: int, seed: int) -> "OrderHistory":
        """Return the orders of at most `max_users` users, drawn at random."""
        users = self.orders[USER_ID].unique().sort()
        if len(users) <= max_users:
            return self
        drawn = users.sample(max_users, seed=seed).to_frame()
        orders, lines = (
            rows.join(drawn, on=USER_ID, how="semi", maintain_order="left") for rows in (self.orders, self.lines)
        )
        return OrderHistory(orders, lines, self.days)


@dataclass(frozen=True)
class CustomerForecasts:
    """Fitted models of what customers do next; None for one that could not be learned."""

    config: ForecastConfig
    next_order: NextOrderModel | None = None
    spend: SpendModel | None = None
    categories: CategoryModel | None = None
    rates: pl.DataFrame | None = None
    """As of `category_rates`, at the moment of the forecasts."""
    churn_days: int | None = None
    """Days without an order after which a customer counts as lost; None if none can be told."""
    reasons: Reasons = field(default_factory=dict[str, str])
    """Why a model could not be learned."""

    def forecast(self, orders: pl.DataFrame, lines: pl.DataFrame, as_of: datetime) -> pl.DataFrame:
        """Return one row per user with an order, sorted by user, in the columns of `features.user_forecasts`.

        `orders` and `lines` are as of `OrderHistory`, all before `as_of`, the moment that ages count from.
        """
        features = order_features(orders)
        columns: dict[str, pl.Series | pl.Expr] = {}
        if self.next_order is not None:
            columns |= self._next_order_columns(self.next_order.survival(features), as_of)
        if self.spend is not None:
            columns["expected_spend_90d"] = pl.Series(self.spend.predict(features))
        if self.categories is not None and self.rates is not None:
            probabilities = self.categories.predict(orders, lines, self.rates)
            columns["category_propensity"] = best_categories(self.categories.categories, probabilities)
        return features.select(USER_ID).with_columns(**columns)

    def _next_order_columns(self, curve: Values, as_of: datetime) -> dict[str, pl.Series | pl.Expr]:
        columns: dict[str, pl.Series | pl.Expr] = {
            "p_order_7d": pl.Series(1 - survival_at(curve, SHORT_DAYS)),
            "p_order_28d": pl.Series(1 - survival_at(curve, LONG_DAYS)),
        }
        if self.churn_days is not None:
            columns["churn_risk"] = pl.Series(survival_at(curve, self.churn_days))
        for name, probability in (("next_order_from", 0.1), ("next_order_at", 0.5), ("next_order_until", 0.9)):
            seconds = pl.Series(np.ceil(quantile(curve, probability) * SECONDS_PER_DAY)).fill_nan(None)
            since = (seconds.cast(pl.Int64) * 1_000_000).cast(pl.Duration("us"))
            columns[name] = pl.lit(as_of, dtype=TIMESTAMP_DTYPE) + since
        return columns

    def save(self, directory: Path) -> None:
        """Write the models to a directory."""
        models = {NEXT_ORDER: self.next_order, SPEND: self.spend, CATEGORIES: self.categories}
        arrays = {name: model.trees.array() for name, model in models.items() if model is not None}
        save_model(directory, "customer_forecasts", self.config, arrays)


def learn_forecasts(
    history: OrderHistory, config: ForecastConfig, *, models: Collection[str] = MODELS
) -> CustomerForecasts:
    """Learn the `models` of what customers of a history do next; the reasons say what could not be learned."""
    history = history.sample(config.max_users, config.seed)
    users = history.users
    if users < MIN_USERS:
        reason = f"forecasts need {MIN_USERS} users with an order, and the shop has {users}"
        return CustomerForecasts(config, reasons=dict.fromkeys(models, reason))
    reasons: dict[str, str] = {}
    next_order, churn_days, spend, categories = None, None, None, None
    if NEXT_ORDER in models:
        next_order, churn_days = _learn_next_order(history, config, reasons)
    if SPEND in models:
        spend = _learn_spend(history, config, reasons)
    if CATEGORIES in models:
        categories = _learn_categories(history, config, reasons)
    rates = None if categories is None else category_rates(history.lines, users, categories.categories)
    return CustomerForecasts(config, next_order, spend, categories, rates, churn_days, reasons)


def typical_longest_gap(orders: pl.DataFrame) -> float | None:
    """Return the days that `TYPICAL_GAP` of the gaps between orders do not exceed; None without a gap."""
    gaps = orders.sort(USER_ID, AGE).select(pl.col(AGE).diff().over(USER_ID).alias("gap"))["gap"]
    return gaps.quantile(TYPICAL_GAP)


def best_categories(categories: tuple[str, ...], probabilities: Values) -> pl.Series:
    """Return for each user the most probable categories with their probabilities, the highest first."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :MAX_NAMED_CATEGORIES]
    names = pl.Series(list(categories), dtype=pl.String)
    ranked = pl.DataFrame(
        {
            "user": np.repeat(np.arange(len(best)), best.shape[1]),
            "path": names.gather(best.ravel()).str.split(CATEGORY_SEPARATOR),
            "probability": np.take_along_axis(probabilities, best, axis=1).ravel(),
        }
    )
    listed = ranked.group_by("user", maintain_order=True).agg(pl.struct("path", "probability"))
    return listed["path"]


def _learn_next_order(
    history: OrderHistory, config: ForecastConfig, reasons: dict[str, str]
) -> tuple[NextOrderModel | None, int | None]:
    cuts = training_cuts(history.days, SHORT_DAYS, config.cuts)
    if not cuts or max(cuts) < LONG_DAYS:
        reasons[NEXT_ORDER] = _too_short(history.days, LONG_DAYS)
        return None, None
    model = train_next_order(history.orders, cuts, _settings(config, "binary"))
    if model is None:
        reasons[NEXT_ORDER] = "no user ordered again, or every user did at once"
        return None, None
    gap = typical_longest_gap(history.orders)
    days = max(LONG_DAYS, ceil(gap)) if gap is not None else LONG_DAYS
    if days <= EDGES[model.intervals]:
        return model, days
    reasons[CHURN] = (
        f"{TYPICAL_GAP:.0%} of the gaps between orders last up to {days} days, and the history tells of "
        f"{EDGES[model.intervals]:.0f}"
    )
    return model, None


def _learn_spend(history: OrderHistory, config: ForecastConfig, reasons: dict[str, str]) -> SpendModel | None:
    cuts = training_cuts(history.days, SPEND_DAYS, config.cuts)
    if history.orders[AMOUNT].count() == 0:
        reasons[SPEND] = "no order has a price"
    elif not cuts:
        reasons[SPEND] = _too_short(history.days, SPEND_DAYS)
    else:
        model = train_spend(history.orders, cuts, SPEND_DAYS, _settings(config, "tweedie"))
        if model is None:
            reasons[SPEND] = "nothing was spent"
        return model
    return None


def _learn_categories(
    history: OrderHistory, config: ForecastConfig, reasons: dict[str, str]
) -> CategoryModel | None:
    names = top_categories(history.lines, config.categories)
    cuts = training_cuts(history.days, LONG_DAYS, config.cuts)
    if len(names) < 2:
        reasons[CATEGORIES] = "fewer than two categories were ordered from"
    elif not cuts:
        reasons[CATEGORIES] = _too_short(history.days, LONG_DAYS)
    else:
        sampled = history.sample(config.category_examples // (len(names) * len(cuts)), config.seed)
        settings = _settings(config, "binary")
        model = train_categories(sampled.orders, sampled.lines, names, cuts, LONG_DAYS, settings)
        if model is None:
            reasons[CATEGORIES] = "no category was ordered from again, or every one was"
        return model
    return None


def _too_short(days: float, horizon: int) -> str:
    return f"orders go back {days:.0f} days, and {MIN_HISTORY + horizon} are needed"


def _settings(config: ForecastConfig, objective: Literal["binary", "tweedie"]) -> TreeSettings:
    return TreeSettings(objective, config.trees, config.leaves, config.learning_rate, config.seed)
