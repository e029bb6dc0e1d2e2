import polars as pl

from recsys.product_types import find_product_types, normalized_title

PATHS = pl.List(pl.String)


def test_a_type_is_the_deepest_level_of_several_items_and_at_most_a_tenth():
    paths = [
        *[["Food", "Dairy", "Milk"]] * 3,
        ["Food", "Dairy", "Kefir"],  # alone in its level: with the other one that is alone
        ["Food", "Dairy", None, "Quark"],
        *[["Food", "Dairy", "Cheese", f"Cheese {number}"] for number in range(4)],  # one item for each last level
        *[["Food", f"Shelf {number}"] for number in range(80)],  # Food is the whole shop, a shelf one item
        *[["Bread"]] * 10,  # 10 of 99 items with a category, more than a tenth
        None,
        [],
    ]
    found = find_product_types(pl.DataFrame({"category": paths}, schema={"category": PATHS})).to_list()
    assert found[:5] == ["Food>Dairy>Milk"] * 3 + ["Food>Dairy"] * 2
    assert found[5:9] == ["Food>Dairy>Cheese"] * 4
    assert found[9:] == [None] * 92


def test_titles_that_look_alike_are_equal():
    titles = pl.DataFrame({"title": ["Milk, 1 GA", "MILK  1-ga", "Milk 2 GA", " - ", None, "Käse®"]})
    assert titles.select(normalized_title(pl.col("title"))).to_series().to_list() == [
        "milk 1 ga",
        "milk 1 ga",
        "milk 2 ga",
        None,
        None,
        "käse",
    ]
