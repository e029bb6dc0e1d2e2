"""The catalogue in the process: filters as Polars would, changes over it, and back to a table."""

from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue, catalogue_without_facts
from serving.requests import ItemFilter

VERSION = "20180101T000000Z"
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
                    "price": st.none() | st.floats(0, 10),
                    "available": st.booleans(),
                    "repeat_days": st.none() | st.floats(0, 100, width=32),
                }
            ),
            max_size=12,
        )
    )
    return pl.DataFrame(
        [{"item_id": f"i{number}", **row} for number, row in enumerate(rows)], schema=CATALOGUE_SCHEMA
    )


wanted = st.builds(
    ItemFilter,
    st.sampled_from([*CATEGORIES, "CHEESE", "DAIRY>"]),
    st.sampled_from(["x", "z", None]),
    st.none() | st.floats(0, 10),
    st.none() | st.floats(0, 10),
)


def as_polars(table: pl.DataFrame, asked: ItemFilter) -> list[str]:
    """The items as wanted, said otherwise."""
    passes = pl.lit(True)
    if asked.category is not None:
        levels = asked.category.split(">")
        path = pl.col("category").str.split(">")
        passes &= path.list.head(len(levels)).eq(pl.lit(levels, dtype=pl.List(pl.String))).fill_null(False)
    if asked.brand is not None:
        passes &= pl.col("brand").eq_missing(pl.lit(asked.brand))
    if asked.price_min is not None:
        passes &= (pl.col("price") >= asked.price_min).fill_null(False)
    if asked.price_max is not None:
        passes &= (pl.col("price") <= asked.price_max).fill_null(False)
    return table.filter(passes, pl.col("available"))["item_id"].to_list()


@given(tables(), wanted)
def test_what_is_wanted_is_what_polars_would_keep(table: pl.DataFrame, asked: ItemFilter) -> None:
    assert list(Catalogue(VERSION, table).popular(asked)) == as_polars(table, asked)


changes = st.dictionaries(
    st.sampled_from(["i0", "i1", "new1", "new2"]),
    st.fixed_dictionaries(
        {},
        optional={
            "available": st.booleans(),
            "price": st.none() | st.floats(0, 10),
            "category": st.none() | st.sampled_from([["DAIRY"], ["DAIRY", "MILK"]]),
            "brand": st.none() | st.just("new"),
            "title": st.none() | st.just("B"),
        },
    ),
)


@given(tables(), changes, wanted)
def test_changes_are_as_if_the_table_had_had_them(
    table: pl.DataFrame, changed: dict[str, dict[str, Any]], asked: ItemFilter
) -> None:
    catalogue = Catalogue(VERSION, table)
    list(catalogue.popular(asked))  # what is kept of it must not outlive the change
    catalogue.put(changed)
    rows = {row["item_id"]: row for row in table.iter_rows(named=True)}
    for item_id, facts in changed.items():
        row = rows.setdefault(item_id, {"item_id": item_id, "available": True})
        row |= {**facts, **({"category": ">".join(facts["category"])} if facts.get("category") else {})}
    expected = pl.DataFrame(list(rows.values()), schema=CATALOGUE_SCHEMA)
    assert list(catalogue.popular(asked)) == as_polars(expected, asked)
    assert catalogue.unavailable == set(expected.filter(~pl.col("available"))["item_id"])
    assert_frame_equal(catalogue.table().select(expected.columns), expected)
    titles = expected.select(pl.coalesce("title", "item_id")).to_series().to_list()
    assert [catalogue.title(item_id) for item_id in expected["item_id"]] == titles


def test_a_version_catalogue_without_facts_has_its_popular_items() -> None:
    catalogue = catalogue_without_facts(VERSION, ["b", "a"])
    assert list(catalogue.popular()) == ["b", "a"]
    assert catalogue.facts("a")["price"] is None
    assert catalogue.title("a") == "a"
