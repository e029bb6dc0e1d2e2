"""Small shops for the conformance suite, and models fitted on them."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from recsys.data.interactions import Interactions, build_interactions
from recsys.models.base import ItemModel, Model
from recsys.schema import CONFIDENCE, ITEM_ID, TIMESTAMP, TIMESTAMP_DTYPE, USER_ID, WEIGHT
from tests.conformance.models import build

AS_OF = datetime(2024, 1, 1, tzinfo=UTC)

Event = tuple[int, int, float]
Build = Callable[[Sequence[Event]], Interactions]
Fitted = Callable[[str, Interactions], Model]


@pytest.fixture(scope="session")
def shop_of() -> Build:
    """Interactions of events (user, item, weight), one a day up to yesterday; a pair's confidence is their sum."""

    def build_shop(events: Sequence[Event]) -> Interactions:
        rows = [
            (f"u{user:02}", f"i{item:02}", AS_OF - timedelta(days=len(events) - number), float(weight))
            for number, (user, item, weight) in enumerate(events)
        ]
        schema = {USER_ID: pl.String, ITEM_ID: pl.String, TIMESTAMP: TIMESTAMP_DTYPE, WEIGHT: pl.Float64}
        sequences = pl.DataFrame(rows, schema=schema, orient="row")
        pairs = sequences.group_by(USER_ID, ITEM_ID).agg(pl.col(WEIGHT).sum().alias(CONFIDENCE))
        return build_interactions(pairs, sequences, AS_OF)

    return build_shop


@pytest.fixture(scope="session")
def checkerboard(shop_of: Build) -> Interactions:
    """24 users and 20 items; even users have 8 of the 10 even items, odd users 8 of the 10 odd ones."""
    return shop_of(
        [
            (user, item, 5.0)
            for user in range(24)
            for item in range(user % 2, 20, 2)
            if (item // 2 - user // 2) % 10 > 1
        ]
    )


@pytest.fixture(scope="session")
def shop(shop_of: Build) -> Interactions:
    """30 users and 18 items, views and purchases of uneven popularity, some of them refunded."""
    events: list[Event] = []
    for user in range(30):
        for item in range(18):
            mixed = (user * 7 + item * 11 + user * item) % 13
            if mixed < 6 - item // 4:
                events.append((user, item, 1.0 if mixed % 2 else 5.0))
            if mixed == 0:
                events += [(user, item, 5.0), (user, item, -5.0), (user, item, -5.0)]
    return shop_of(events)


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    """Models fitted once for each shop that lives as long as the session. Tests must not fit or change them."""
    models: dict[tuple[str, int], tuple[Interactions, Model]] = {}

    def fit_once(name: str, interactions: Interactions) -> Model:
        key = name, id(interactions)
        if key not in models:  # the shop is kept with its model, so that no other one gets its id
            models[key] = interactions, build(name).fit(interactions)
        return models[key][1]

    return fit_once


@pytest.fixture(scope="session")
def fitted_item_model(fitted: Fitted) -> Callable[[str, Interactions], ItemModel]:
    """Like `fitted`, for models that rank similar items."""

    def fit_once(name: str, interactions: Interactions) -> ItemModel:
        model = fitted(name, interactions)
        assert isinstance(model, ItemModel)
        return model

    return fit_once
