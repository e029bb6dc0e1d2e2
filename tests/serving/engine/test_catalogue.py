"""The catalogue in memory: filters compared with Polars, changes, and the way back to a table."""

from datetime import datetime
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from recsys.availability import is_available
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue, catalogue_without_facts
from serving.engine.item_groups import NO_GROUP
from serving.requests import ItemFilter

VERSION = "20180101T000000Z"
STOCKS = st.none() | st.sampled_from([0.0, 0.5, 3.0])
GROUP_IDS = st.sampled_from(["g", "h", None])
ADDED_COLUMNS = ("group_id", "stock", "valid_from", "valid_until", "changed_online_at")
CATEGORIES = ("DAIRY", "DAIRY>CHEESE", "DAIRY>CHEESE>HARD", "DAIRYLESS", None)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "title": st.sampled_from(["A", None]),
                    "category": st.sampled_from(CATEGORIES),
                    "brand": st.sampled_from(["x", "y", None]),
                    "group_id": GROUP_IDS,
                    "price": st.none() | st.floats(0, 10),
                    "available": st.none() | st.booleans(),
                    "stock": STOCKS,
                    "repeat_days": st.none() | st.floats(0, 100, width=32),
                }
            ),
            max_size=12,
        )
    )
    return pl.DataFrame(
        [{"item_id": f"i{number}", **row} for number, row in enumerate(rows)], schema=CATALOGUE_SCHEMA
    )


item_filters = st.builds(
    ItemFilter,
    st.sampled_from([*CATEGORIES, "CHEESE", "DAIRY>"]),
    st.sampled_from(["x", "z", None]),
    st.none() | st.floats(0, 10),
    st.none() | st.floats(0, 10),
)


def as_polars(table: pl.DataFrame, item_filter: ItemFilter) -> list[str]:
    """Return the items that pass a filter, computed by Polars."""
    passes = pl.lit(True)
    if item_filter.category is not None:
        levels = item_filter.category.split(">")
        path = pl.col("category").str.split(">")
        passes &= path.list.head(len(levels)).eq(pl.lit(levels, dtype=pl.List(pl.String))).fill_null(False)
    if item_filter.brand is not None:
        passes &= pl.col("brand").eq_missing(pl.lit(item_filter.brand))
    if item_filter.price_min is not None:
        passes &= (pl.col("price") >= item_filter.price_min).fill_null(False)
    if item_filter.price_max is not None:
        passes &= (pl.col("price") <= item_filter.price_max).fill_null(False)
    return table.filter(passes, is_available())["item_id"].to_list()


@given(tables(), item_filters)
def test_filtered_items_are_those_that_polars_keeps(table: pl.DataFrame, item_filter: ItemFilter) -> None:
    assert list(Catalogue(VERSION, table).popular(item_filter)) == as_polars(table, item_filter)


changes = st.dictionaries(
    st.sampled_from(["i0", "i1", "new1", "new2"]),
    st.fixed_dictionaries(
        {},
        optional={
            "available": st.none() | st.booleans(),
            "stock": STOCKS,
            "valid_until": st.none() | st.just("2018-01-02T03:04:05.000006Z"),
            "price": st.none() | st.floats(0, 10),
            "category": st.none() | st.sampled_from([["DAIRY"], ["DAIRY", "MILK"]]),
            "brand": st.none() | st.just("new"),
            "title": st.none() | st.just("B"),
            "group_id": GROUP_IDS,
        },
    ),
)


@given(tables(), changes, item_filters)
def test_changes_are_as_if_the_table_had_had_them(
    table: pl.DataFrame, changed: dict[str, dict[str, Any]], item_filter: ItemFilter
) -> None:
    catalogue = Catalogue(VERSION, table)
    list(catalogue.popular(item_filter))  # the cached mask must not outlive the change
    catalogue.put(changed)
    rows = {row["item_id"]: row for row in table.iter_rows(named=True)}
    for item_id, facts in changed.items():
        row = rows.setdefault(item_id, {"item_id": item_id})
        row |= {**facts, **({"category": ">".join(facts["category"])} if facts.get("category") else {})}
        row |= {"valid_until": datetime.fromisoformat(facts["valid_until"])} if facts.get("valid_until") else {}
    expected = pl.DataFrame(list(rows.values()), schema=CATALOGUE_SCHEMA)
    assert list(catalogue.popular(item_filter)) == as_polars(expected, item_filter)
    assert catalogue.unavailable == set(expected.filter(~is_available())["item_id"])
    assert_frame_equal(catalogue.table().select(expected.columns), expected)
    for item_id, group_id in expected.select("item_id", "group_id").rows():
        group = catalogue.groups.group(item_id)
        if group_id is None:
            assert group == NO_GROUP
        else:
            assert catalogue.groups.variants(group) == expected.filter(group_id=group_id)["item_id"].to_list()
    titles = expected.select(pl.coalesce("title", "item_id")).to_series().to_list()
    assert [catalogue.title(item_id) for item_id in expected["item_id"]] == titles


def test_a_version_catalogue_without_facts_has_its_popular_items() -> None:
    catalogue = catalogue_without_facts(VERSION, ["b", "a"])
    assert list(catalogue.popular()) == ["b", "a"]
    assert catalogue.facts("a")["price"] is None
    assert catalogue.title("a") == "a"


def test_a_catalogue_of_an_earlier_version_offers_what_is_available() -> None:
    schema = {name: dtype for name, dtype in CATALOGUE_SCHEMA.items() if name not in ADDED_COLUMNS}
    rows = [{"item_id": "a", "available": True}, {"item_id": "b", "available": False}]
    catalogue = Catalogue(VERSION, pl.DataFrame(rows, schema=schema))
    assert list(catalogue.popular(now_ms=0)) == ["a"]
    catalogue.put({"a": {"valid_until": "2018-01-01T00:00:00Z"}, "b": {"available": True}})
    assert list(catalogue.popular(now_ms=1_514_764_800_000)) == ["b"]
    assert catalogue.table().schema == CATALOGUE_SCHEMA
