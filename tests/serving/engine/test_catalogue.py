"""The catalogue in memory: filters compared with Polars, changes, and the way back to a table."""

from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from recsys.attributes import decode_member, encode_member
from recsys.availability import is_available
from recsys.name_patterns import regular_expression
from recsys.store.catalogue import CATALOGUE_SCHEMA
from serving.engine.catalogue import Catalogue, catalogue_without_facts
from serving.engine.item_groups import NO_GROUP
from serving.requests import AttributeCondition, InvalidValueError, ItemFilter

VERSION = "20180101T000000Z"
STOCKS = st.none() | st.sampled_from([0.0, 0.5, 3.0])
GROUP_IDS = st.sampled_from(["g", "h", None])
ADDED_COLUMNS = (
    "group_id",
    "stock",
    "valid_from",
    "valid_until",
    "changed_online_at",
    "categories",
    "attributes",
    "product_type",
)
PATHS = ("DAIRY", "DAIRY>CHEESE", "DAIRY>CHEESE>HARD", "DAIRYLESS", "DEALS")
VALUES = (
    ("color", "red"),
    ("color", "blue"),
    ("volume", 0.5),
    ("volume", 2.0),
    ("organic", True),
    ("organic", False),
)
CONDITIONS = (
    ("color:red", lambda value: value == "red"),
    ("color:green", lambda value: value == "green"),
    ("volume:2", lambda value: value == 2.0),
    ("volume:>=0.5", lambda value: value >= 0.5),
    ("volume:<2", lambda value: value < 2.0),
    ("organic:true", lambda value: value is True),
    ("size:9", lambda value: value == "9"),
)
"""A condition, and the values of its attribute that meet it."""


def as_row(facts: dict[str, Any], paths: list[str], values: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the row of an item in a catalogue."""
    several = paths if len(paths) > 1 else None
    members = [encode_member(name, value) for name, value in values] or None
    return {**facts, "category": paths[0] if paths else None, "categories": several, "attributes": members}


rows = st.builds(
    as_row,
    st.fixed_dictionaries(
        {
            "title": st.sampled_from(["A", None]),
            "brand": st.sampled_from(["x", "y", None]),
            "group_id": GROUP_IDS,
            "price": st.none() | st.floats(0, 10),
            "available": st.none() | st.booleans(),
            "stock": STOCKS,
            "repeat_days": st.none() | st.floats(0, 100, width=32),
        }
    ),
    st.lists(st.sampled_from(PATHS), max_size=3, unique=True),
    st.lists(st.sampled_from(VALUES), max_size=4, unique=True),
)
tables = st.lists(rows, max_size=12).map(
    lambda rows: pl.DataFrame(
        [{"item_id": f"i{number}", **row} for number, row in enumerate(rows)], schema=CATALOGUE_SCHEMA
    )
)
item_filters = st.builds(
    ItemFilter,
    st.lists(st.sampled_from([*PATHS, "CHEESE", "DAIRY>"]), max_size=2).map(tuple),
    st.lists(st.sampled_from(["x", "z"]), max_size=2).map(tuple),
    st.none() | st.floats(0, 10),
    st.none() | st.floats(0, 10),
    st.lists(st.sampled_from(CONDITIONS), max_size=3).map(
        lambda chosen: tuple(AttributeCondition.decode(text) for text, _ in chosen)
    ),
)


def passes(row: dict[str, Any], item_filter: ItemFilter) -> bool:
    """Return whether an item passes a filter, one condition after the other."""
    paths = row.get("categories") or [row.get("category") or ""]
    inside = [f"{path}>".startswith(f"{wanted}>") for path in paths for wanted in item_filter.categories]
    price = row.get("price")
    above = item_filter.price_min is None or (price is not None and price >= item_filter.price_min)
    below = item_filter.price_max is None or (price is not None and price <= item_filter.price_max)
    return (
        (any(inside) or not item_filter.categories)
        and (row.get("brand") in item_filter.brands or not item_filter.brands)
        and above
        and below
        and has_attributes(row, item_filter.attributes)
    )


def has_attributes(row: dict[str, Any], conditions: tuple[AttributeCondition, ...]) -> bool:
    """Return whether for each attribute one value is named, or within all comparisons."""
    has_value = dict(CONDITIONS)
    for name in {condition.name for condition in conditions}:
        values = [value for key, value in map(decode_member, row.get("attributes") or ()) if key == name]
        tests = [(has_value[str(each)], each) for each in conditions if each.name == name]
        named = any(test(value) for test, each in tests if each.comparison is None for value in values)
        comparisons = [test for test, each in tests if each.comparison is not None]
        if not named and not (comparisons and any(all(test(value) for test in comparisons) for value in values)):
            return False
    return True


def matching(table: pl.DataFrame, item_filter: ItemFilter) -> list[str]:
    """Return the available items that pass a filter."""
    available = table.filter(is_available())
    return [row["item_id"] for row in available.iter_rows(named=True) if passes(row, item_filter)]


@given(tables, item_filters)
def test_filtered_items_are_those_that_pass_one_by_one(table: pl.DataFrame, item_filter: ItemFilter) -> None:
    assert list(Catalogue(VERSION, table).popular(item_filter)) == matching(table, item_filter)


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


@given(tables, changes, st.booleans(), item_filters)
def test_changes_are_as_if_the_table_had_had_them(
    table: pl.DataFrame, changed: dict[str, dict[str, Any]], is_in_deals: bool, item_filter: ItemFilter
) -> None:
    """The changed category is the first path of several, if the items are in DEALS too."""
    catalogue = Catalogue(VERSION, table)
    list(catalogue.popular(item_filter))  # the cached mask must not outlive the change
    rows = {row["item_id"]: row for row in table.iter_rows(named=True)}
    for item_id, facts in changed.items():
        row = rows.setdefault(item_id, {"item_id": item_id})
        row |= facts
        if "category" in facts:
            joined = ">".join(facts["category"]) if facts["category"] else None
            row |= {"category": joined, "categories": [joined, "DEALS"] if joined and is_in_deals else None}
        row |= {"valid_until": datetime.fromisoformat(facts["valid_until"])} if facts.get("valid_until") else {}
    paths = {
        item_id: {"categories": [facts["category"], ["DEALS"]]} if facts.get("category") and is_in_deals else {}
        for item_id, facts in changed.items()
    }
    catalogue.put({item_id: facts | paths[item_id] for item_id, facts in changed.items()})
    expected = pl.DataFrame(list(rows.values()), schema=CATALOGUE_SCHEMA)
    assert list(catalogue.popular(item_filter)) == matching(expected, item_filter)
    assert catalogue.unavailable == set(expected.filter(~is_available())["item_id"])
    assert_frame_equal(catalogue.table(), expected)
    for item_id, group_id in expected.select("item_id", "group_id").rows():
        group = catalogue.groups.group(item_id)
        if group_id is None:
            assert group == NO_GROUP
        else:
            assert catalogue.groups.variants(group) == expected.filter(group_id=group_id)["item_id"].to_list()
    titles = expected.select(pl.coalesce("title", "item_id")).to_series().to_list()
    assert [catalogue.title(item_id) for item_id in expected["item_id"]] == titles


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (["color:red"], "ab"),
        (["color:blue", "color:green"], "b"),
        (["volume:>=0.5", "volume:<2"], "a"),
        (["volume:>0.5", "volume:<=2"], "b"),
        (["volume:0.5", "volume:>1"], "ab"),
        (["volume:>5", "volume:<1"], ""),
        (["color:red", "organic:1"], "a"),
        (["volume:0.50"], "a"),
    ],
)
def test_conditions_on_one_attribute_are_alternatives_and_comparisons_hold_together(
    conditions: list[str], expected: str
) -> None:
    values = {"a": [("color", "red"), ("volume", 0.5), ("organic", True)], "b": [*VALUES[:2], VALUES[3]], "c": []}
    rows = [{"item_id": item_id, **as_row({}, [], list(given))} for item_id, given in values.items()]
    attributes = tuple(map(AttributeCondition.decode, conditions))
    catalogue = Catalogue(VERSION, pl.DataFrame(rows, schema=CATALOGUE_SCHEMA))
    assert "".join(catalogue.popular(ItemFilter(attributes=attributes))) == expected
    # Changed attributes take the place of those before; a value of another type than the catalogue has is left out.
    objects = {"a": '{"size":9}', "b": "{}", "c": '{"color":["blue","red"],"volume":"0.5","organic":"no"}'}
    catalogue.put({item_id: {"attributes": text} for item_id, text in objects.items()})
    again = Catalogue(VERSION, catalogue.table())
    for condition, items in {"color:red": "c", "volume:<1": "c", "organic:true": "", "size:9": "a"}.items():
        item_filter = ItemFilter(attributes=(AttributeCondition.decode(condition),))
        assert "".join(catalogue.popular(item_filter)) == "".join(again.popular(item_filter)) == items


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("size:9", "name:value with one of the attributes color, organic, volume"),
        ("volume:much", "volume: a number, or >=, <=, > or < and a number"),
        ("organic:maybe", "organic: true or false"),
        ("color:>5", "color: a text of its values, no comparison"),
    ],
)
def test_a_condition_fits_the_attributes_of_the_catalogue(condition: str, expected: str) -> None:
    row = {"item_id": "a", **as_row({}, [], list(VALUES))}
    attributes = Catalogue(VERSION, pl.DataFrame([row], schema=CATALOGUE_SCHEMA)).attributes
    attributes.check([AttributeCondition.decode("color:none"), AttributeCondition.decode("volume:>1")])
    with pytest.raises(InvalidValueError) as error:
        attributes.check([AttributeCondition.decode(condition)])
    assert (error.value.field, error.value.value, error.value.expected) == ("attribute", condition, expected)


@given(tables, changes)
def test_no_goods_are_found_at_the_start_and_after_changes(table: pl.DataFrame, changed: dict[str, Any]) -> None:
    pattern = regular_expression(["b", "hard", "i3", "new2"])
    catalogue = Catalogue(VERSION, table, pattern)
    catalogue.put(changed)
    again = Catalogue(VERSION, catalogue.table(), pattern)
    assert catalogue.not_recommendable == again.not_recommendable
    named = {row["item_id"] for row in again.table().iter_rows(named=True) if row["title"] == "B"}
    paths = {item_id for item_id in again.ids if any(path.endswith("HARD") for path in again.paths(item_id))}
    assert again.not_recommendable == named | paths | ({"i3", "new2"} & set(again.ids))


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


def test_without_limits_in_time_no_item_is_checked_for_them() -> None:
    rows = [{"item_id": "tea", "available": True}, {"item_id": "mug", "available": True}]
    before = Catalogue(VERSION, pl.DataFrame(rows, schema=CATALOGUE_SCHEMA))
    before.put({"tea": {"available": False, "valid_until": None}})
    after = Catalogue(VERSION, before.table())
    after.put_offers(before.changed_offers())
    assert (before.offers.has_validity, after.offers.has_validity) == (False, False)
    after.put({"mug": {"valid_until": "2018-01-01T12:00:00Z"}})
    assert after.offers.has_validity
