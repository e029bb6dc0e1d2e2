"""Codes of categories and brands, and prices, of items by row."""

import numpy as np
import polars as pl

from recsys.ids import IdMap
from recsys.models.ranker.item_facts import ItemFacts, item_facts

ITEMS = IdMap.from_ids(pl.Series(["a", "b", "c", "d"]))


def test_levels_and_prices_follow_the_rows_of_the_items():
    catalogue = pl.DataFrame(
        {
            "item_id": ["c", "a", "b", "x"],
            "category": [["food", "cheese"], ["food"], ["toys"], ["other"]],
            "brand": ["own", "own", None, "own"],
            "price": [np.e, None, 1.0, 5.0],
        }
    )
    facts = item_facts(catalogue, ITEMS)
    assert facts.level_names == ("category level 1", "category level 2", "brand")
    food, toys, unknown = 0, 1, 2
    assert facts.codes[:, 0].tolist() == [food, toys, food, unknown]
    # At the second level, "food" without a category below it differs from "food > cheese".
    assert len(set(facts.codes[:, 1].tolist())) == 4
    assert facts.codes[3, 1] == 3
    assert facts.codes[:, 2].tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(facts.log_prices, [np.nan, 0, 1, np.nan], rtol=1e-6)
    assert facts.sizes.tolist() == [3, 4, 2]


def test_without_a_catalogue_there_are_no_levels():
    facts = item_facts(None, ITEMS)
    assert facts.level_names == ()
    assert facts.codes.shape == (4, 0)
    assert np.isnan(facts.log_prices).all()
    assert ItemFacts.from_arrays(facts.arrays()).level_names == ()
