from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from recsys.contract import Events, Items, Users

MakeFrame = Callable[..., pl.LazyFrame]


@pytest.fixture(scope="session")
def as_of() -> datetime:
    return datetime(2024, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def make_events(as_of: datetime) -> MakeFrame:
    """Make events from rows (user, event, item, days before `as_of`) with an optional dict of other columns."""

    def make(rows: Iterable[tuple[Any, ...]]) -> pl.LazyFrame:
        columns = [
            {
                "event_id": f"e{number:05d}",
                "user_id": user,
                "event": event,
                "item_id": item,
                "timestamp": as_of - timedelta(days=days),
                **(others[0] if others else {}),
            }
            for number, (user, event, item, days, *others) in enumerate(rows)
        ]
        return pl.DataFrame(columns, schema=Events.create_empty().schema).lazy()

    return make


@pytest.fixture(scope="session")
def make_items() -> MakeFrame:
    """Make items from rows of any columns of `Items`."""

    def make(*rows: dict[str, Any]) -> pl.LazyFrame:
        return pl.DataFrame(list(rows), schema=Items.create_empty().schema).lazy()

    return make


@pytest.fixture(scope="session")
def make_users() -> MakeFrame:
    """Make users from rows of any columns of `Users`."""

    def make(*rows: dict[str, Any]) -> pl.LazyFrame:
        return pl.DataFrame(list(rows), schema=Users.create_empty().schema).lazy()

    return make


@pytest.fixture(scope="session")
def row_of() -> Callable[..., dict[str, Any]]:
    """Return the first row of a table where the named columns have the given values."""

    def row(table: pl.LazyFrame, **keys: str) -> dict[str, Any]:
        result = table.filter(pl.col(name) == key for name, key in keys.items())
        return result.collect(engine="streaming").row(0, named=True)

    return row
