from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.item_features import item_features
from jobs.pipeline.steps.catalogue import write_catalogue_file
from recsys.data.interactions import Interactions, build_interactions
from recsys.data.item_vectors import item_vectors
from recsys.models.popularity import Popularity
from recsys.schema import ONLINE_CHANGE_DTYPES
from recsys.store.catalogue import CATALOGUE_SCHEMA, VECTOR_SCHEMA
from tests.tables import make_events, make_items

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)
CHANGES = pl.DataFrame([("cup", AS_OF), ("sold long ago", AS_OF)], schema=dict(ONLINE_CHANGE_DTYPES), orient="row")


def interactions_from_pairs(pairs: dict[tuple[str, str], float]) -> Interactions:
    """Return interactions with a confidence for each pair of user and item."""
    rows = [(user, item, AS_OF, confidence) for (user, item), confidence in pairs.items()]
    table = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "weight"], orient="row")
    return build_interactions(table.rename({"weight": "confidence"}), table, AS_OF)


@pytest.fixture
def items() -> pl.DataFrame:
    return make_items(
        item_id=["new", "cup", "also-new", "tea"],
        title=["A new thing", "Cup", None, None],
        category=[["Home", "More"], ["Home"], [], None],
        brand=[None, "Åse", None, None],
        price=[9.5, 2.5, None, None],
        available=[None, False, True, None],
        stock=[None, 3.0, None, None],
        valid_from=[AS_OF, None, None, None],
        valid_until=[None, None, AS_OF, None],
        categories=[[["Home", "More"], ["Sale"]], [["Home"]], None, None],
        attributes=['{"color":["red","blue"],"volume":"0.5"}', '{"color":1,"volume":2}', None, "{}"],
    )


def test_items_are_in_order_of_popularity_with_what_is_known_of_them(tmp_path: Path, items: pl.DataFrame) -> None:
    # Tea is bought by two, by ann again after ten days; the jug is in no catalogue.
    events = make_events(
        [
            ("ann", "tea", "purchase", "2024-02-01T00:00:00Z"),
            ("ann", "tea", "purchase", "2024-02-11T00:00:00Z"),
            ("bob", "tea", "purchase", "2024-02-11T00:00:00Z"),
            ("bob", "jug", "view", "2024-02-11T00:00:00Z"),
            ("bob", "cup", "cart", "2024-02-11T00:00:00Z"),
        ],
        price=[1.0, 1.25, None, 7.0, 99.0],
    )
    known = interactions_from_pairs(
        {("ann", "tea"): 9.0, ("bob", "tea"): 5.0, ("bob", "jug"): 1.0, ("bob", "cup"): 3.0}
    )
    popularity = Popularity().fit(known).item_popularity
    features = item_features(events.lazy(), items.lazy(), AS_OF, 30.0)
    write_catalogue_file(tmp_path, known, popularity, items, features, CHANGES, None)
    written = pl.read_parquet(tmp_path / "catalogue.parquet")
    assert written.schema == CATALOGUE_SCHEMA
    paths, members = ["Home>More", "Sale"], ['"color":"red"', '"color":"blue"', '"volume":0.5']
    assert written["product_type"].to_list() == [None] * written.height  # no level has two items
    assert written.drop("group_id", "product_type").rows() == [
        ("tea", None, None, None, 1.25, None, None, None, None, 10.0, None, None, None),
        (
            "cup",
            "Cup",
            "Home",
            "Åse",
            2.5,
            False,
            3.0,
            None,
            None,
            10.0,
            AS_OF,
            None,
            ['"color":"1"', '"volume":2.0'],
        ),
        ("jug", None, None, None, 7.0, None, None, None, None, 10.0, None, None, None),
        ("also-new", None, None, None, None, True, None, None, AS_OF, 10.0, None, None, None),
        ("new", "A new thing", "Home>More", None, 9.5, None, None, AS_OF, None, 10.0, None, paths, members),
    ]

    # Without a second purchase nobody's cycle is known.
    once = item_features(events.slice(2).lazy(), items.lazy(), AS_OF, 30.0)
    write_catalogue_file(tmp_path, known, popularity, items, once, CHANGES, None)
    assert pl.read_parquet(tmp_path / "catalogue.parquet")["repeat_days"].null_count() == 5


def test_vectors_go_with_their_items(tmp_path: Path, items: pl.DataFrame) -> None:
    known = interactions_from_pairs({("ann", "tea"): 1.0, ("bob", "cup"): 2.0, ("zoe", "cup"): 1.0})
    features = item_features(
        make_events([("ann", "tea", "view", "2024-02-11T00:00:00Z")]).lazy(), items.lazy(), AS_OF, 30.0
    )
    popularity = Popularity().fit(known).item_popularity
    vectors = item_vectors(known.positives, 0)
    write_catalogue_file(tmp_path, known, popularity, items, features, CHANGES, vectors)
    written = pl.read_parquet(tmp_path / "catalogue.parquet")
    assert written.schema == pl.Schema({**CATALOGUE_SCHEMA, **VECTOR_SCHEMA})
    assert written["item_id"].to_list() == ["cup", "tea", "also-new", "new"]
    by_item = dict(zip(written["item_id"], written["vector"].to_numpy(), strict=True))
    for row, item in enumerate(known.items.values):
        np.testing.assert_array_equal(by_item[item], vectors[row])
    assert not by_item["new"].any()
    assert not by_item["also-new"].any()
