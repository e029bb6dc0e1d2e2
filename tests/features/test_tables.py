"""Test properties of all tables: independence of future events, of row order and of the split into buckets."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from features.behavior import behavior
from features.behavior_partials import add_ip_counts, add_item_counts, ip_counts, item_counts
from features.bought_with import bought_with
from features.interactions import interactions, sequences
from features.item_features import item_features
from features.registry import OTHER_TABLES, TABLES, describe
from features.repurchase.due_items import due_items
from features.tables import feature_tables
from features.user_profile import user_profile
from recsys.contract import Events, Items, Users
from recsys.schema import DEFAULT_WEIGHTS

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
HALF_LIFE = 14.0
EXAMPLES = settings(max_examples=20, deadline=None)

ITEMS = pl.DataFrame(
    [
        {"item_id": "x", "category": ["food", "bread"], "brand": "A", "price": 1.0},
        {"item_id": "y", "category": ["food", "milk"], "brand": "B"},
        {"item_id": "żółty", "category": [], "created_at": AS_OF + timedelta(days=3)},
        {"item_id": "unseen", "category": ["toys"], "price": 3.0},
    ],
    schema=Items.create_empty().schema,
).lazy()
USERS = pl.DataFrame(
    [{"user_id": "u1", "attributes": "{}"}, {"user_id": "idle", "attributes": "{}"}],
    schema=Users.create_empty().schema,
).lazy()

AMOUNTS = st.none() | st.floats(min_value=0, max_value=1e6, allow_nan=False)
EVENT_FIELDS = {
    "user_id": st.sampled_from(["u1", "u2", "u3", "ユーザー"]),
    "item_id": st.sampled_from(["x", "y", "żółty", "not-listed"]),
    "event": st.sampled_from([*DEFAULT_WEIGHTS, "purchase", "purchase", "unknown"]),
    "price": AMOUNTS,
    "quantity": AMOUNTS,
    "value": st.none() | st.sampled_from([1.0, 2.5, 5.0]),
    "session_id": st.none() | st.sampled_from(["s", "t"]),
    "ip": st.none() | st.sampled_from(["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
}
MICROSECONDS = st.integers(min_value=1, max_value=120 * 86_400_000_000) | st.sampled_from([1, 86_400_000_000])
SECONDS = st.integers(min_value=1, max_value=9).map(lambda seconds: seconds * 1_000_000)


def rows(age: st.SearchStrategy[int]) -> st.SearchStrategy[list[dict[str, Any]]]:
    times = age.map(lambda microseconds: AS_OF - timedelta(microseconds=microseconds))
    return st.lists(st.fixed_dictionaries({**EVENT_FIELDS, "timestamp": times}), max_size=40)


PAST = rows(MICROSECONDS | SECONDS)
FUTURE = rows((MICROSECONDS | st.just(0)).map(lambda microseconds: -microseconds))


def frame(events: list[dict[str, Any]], prefix: str = "e") -> pl.DataFrame:
    named = [{**event, "event_id": f"{prefix}{number:03d}"} for number, event in enumerate(events)]
    return pl.DataFrame(named, schema=Events.create_empty().schema)


def all_tables(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    lazy = events.lazy()
    tables = {
        "user_profile": user_profile(lazy, ITEMS, USERS, AS_OF, HALF_LIFE),
        "user_segments": segments(lazy),
        "item_features": item_features(lazy, ITEMS, AS_OF, HALF_LIFE),
        "bought_with": bought_with(lazy, AS_OF, 3, min_users=1),
        "interactions": interactions(lazy, AS_OF, DEFAULT_WEIGHTS, HALF_LIFE),
        "sequences": sequences(lazy, AS_OF, DEFAULT_WEIGHTS),
        "behavior": behavior_by_bucket([lazy]),
    }
    tables["due_items"] = due_items(tables["interactions"], tables["item_features"], AS_OF)
    return {name: table.collect(engine="streaming") for name, table in tables.items()}


def segments(events: pl.LazyFrame) -> pl.LazyFrame:
    *_, shop = feature_tables([events], ITEMS, USERS, AS_OF, HALF_LIFE)
    return shop["user_segments"]


def behavior_by_bucket(buckets: list[pl.LazyFrame]) -> pl.LazyFrame:
    items = add_item_counts(pl.concat([item_counts(bucket, AS_OF) for bucket in buckets])).collect().lazy()
    ips = add_ip_counts(pl.concat([ip_counts(bucket, AS_OF) for bucket in buckets])).collect().lazy()
    return pl.concat([behavior(bucket, AS_OF, items, ips) for bucket in buckets]).sort("user_id")


def assert_same(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> None:
    assert left.keys() == right.keys()
    for name, table in left.items():
        assert_frame_equal(table, right[name], check_exact=True)


def assert_finite_and_in_range(tables: dict[str, pl.DataFrame]) -> None:
    """Check that numbers are finite and that shares are between 0 and 1."""
    units = describe().filter(pl.col("dtype") == "Float64").rows_by_key(["table", "unit"], named=True)
    for (table, unit), features in units.items():
        if table in ("item_categories", "user_forecasts"):  # computed from fitted models, in later steps
            continue
        values = tables[table].select(feature["name"] for feature in features)
        assert values.select(pl.all().is_finite().all()).row(0) == (True,) * values.width
        if unit in ("share", "0..1"):
            assert values.select(pl.all().is_between(0, 1).all()).row(0) == (True,) * values.width


@EXAMPLES
@given(PAST, FUTURE, st.integers(min_value=0, max_value=2**32))
def test_future_events_and_the_order_of_rows_change_nothing(
    past: list[dict[str, Any]], future: list[dict[str, Any]], seed: int
):
    events = frame(past)
    tables = all_tables(events)
    assert_finite_and_in_range(tables)
    mixed = pl.concat([frame(future, "a"), events]).sample(fraction=1, shuffle=True, seed=seed)
    assert_same(tables, all_tables(mixed))


@EXAMPLES
@given(PAST, st.lists(st.integers(min_value=0, max_value=2), min_size=4, max_size=4))
def test_splitting_users_into_buckets_changes_nothing(past: list[dict[str, Any]], buckets: list[int]):
    events = frame(past)
    bucket_of = dict(zip(["u1", "u2", "u3", "ユーザー"], buckets, strict=True))
    parts = [[user for user, bucket in bucket_of.items() if bucket == number] for number in range(3)]
    split = [events.lazy().filter(pl.col("user_id").is_in(users)) for users in parts]
    assert_same(by_table(split), by_table([events.lazy()]))
    assert_frame_equal(
        behavior_by_bucket(split).collect(), behavior_by_bucket([events.lazy()]).collect(), check_exact=True
    )


def by_table(buckets: list[pl.LazyFrame]) -> dict[str, pl.DataFrame]:
    """Collect the tables of `feature_tables`, with those of the buckets concatenated."""
    parts: dict[str, list[pl.DataFrame]] = {}
    for together in feature_tables(buckets, ITEMS, USERS, AS_OF, HALF_LIFE, n=3, min_users=1):
        for name, table in together.items():
            parts.setdefault(name.partition("/")[0], []).append(table.collect(engine="streaming"))
    return {
        name: pl.concat(tables).sort("user_id", maintain_order=True) if len(tables) > 1 else tables[0]
        for name, tables in parts.items()
    }


def test_the_registry_lists_exactly_the_columns_of_the_tables():
    some = [
        {"user_id": "u1", "item_id": "x", "event": event, "timestamp": AS_OF - timedelta(days=day)}
        for event in DEFAULT_WEIGHTS
        for day in (1, 2, 3)
    ]
    for name, table in all_tables(frame(some)).items():
        listed = describe().filter(table=name)
        columns = [(column, str(dtype)) for column, dtype in table.schema.items()]
        assert listed.select("name", "dtype").rows() == columns
    assert describe()["table"].unique().sort().to_list() == sorted({*TABLES, *OTHER_TABLES})
    assert describe().select(pl.all().str.len_chars().min()).min_horizontal().item() > 0


def test_feature_tables_yields_every_table_of_the_registry():
    # Due items are computed from these tables.
    assert by_table([frame([]).lazy()]).keys() == TABLES.keys() - {"due_items"}
    *buckets, shop = feature_tables([frame([]).lazy()] * 2, ITEMS, USERS, AS_OF, HALF_LIFE)
    of_users = ("user_profile", "interactions", "sequences")
    assert [set(tables) for tables in buckets] == [{f"{name}/bucket=0{n}" for name in of_users} for n in (0, 1)]
    assert set(shop) == {"bought_with", "item_features", "user_segments"}


def test_without_events_tables_have_all_columns_and_no_rows():
    for name, table in all_tables(frame([])).items():
        assert table.schema == pl.Schema(
            {feature.name: feature.dtype for feature in {**TABLES, **OTHER_TABLES}[name]}
        )
        assert table.height == (4 if name == "item_features" else 0)


def test_profiles_take_prices_from_the_events_where_the_catalogue_has_none():
    bought = {"user_id": "u1", "event": "purchase", "timestamp": AS_OF - timedelta(days=1)}
    seen = [
        {**bought, "item_id": item, "price": price}
        for item, price in [("dear", 9.0), ("dear", 9.0), ("cheap", 2.0)]
    ]
    items = pl.DataFrame(
        [{"item_id": "dear", "category": ["c"]}, {"item_id": "cheap", "category": ["c"]}],
        schema=Items.create_empty().schema,
    ).lazy()
    tables = next(feature_tables([frame(seen).lazy()], items, USERS, AS_OF, HALF_LIFE))
    ranks = tables["user_profile/bucket=00"].collect()["price_rank_mean"]
    assert ranks.to_list() == [(2 * 0.75 + 0.25) / 3]
