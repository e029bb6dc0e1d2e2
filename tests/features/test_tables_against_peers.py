"""Test every feature of a generated shop against independent implementations in SQL and in pandas."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.registry import TABLES
from tests.benchmarks.features import read_table, write_data, write_features
from tests.benchmarks.generate import Shop, Size, generate_events

# The peers sum doubles in another order; ours are exact sums.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shop")
    write_data(directory, Size(30_000, users=1_000, items=400), buckets=3)
    write_features("ours", directory)
    return directory


@pytest.mark.parametrize("peer", ["duckdb", "pandas"])
def test_every_table_has_the_same_rows_and_values(directory: Path, peer: str):
    write_features(peer, directory)
    for name, features in TABLES.items():
        ours = read_table(directory, "ours", name).collect()
        if name in ("user_profile", "interactions", "sequences", "due_items"):
            ours = ours.sort("user_id", maintain_order=True)
        # The peers may use other dtypes for all-null columns and other integer widths.
        theirs = read_table(directory, peer, name).collect().select(ours.columns).cast(ours.schema)
        assert ours.height > 0
        assert_frame_equal(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        assert all(ours[feature.name].null_count() < ours.height for feature in features[:-1])


def test_days_of_a_shop_are_generated_independently():
    shop = Shop.of(Size(5_000, users=100, items=60))
    events = pl.concat(generate_events(shop))
    assert events.height == events["event_id"].n_unique() == 5_000
    again = Shop.of(Size(5_000, users=100, items=60)).day(200, 0, 17)
    assert again.drop("event_id").equals(shop.day(200, 99, 17).drop("event_id"))
    other_seed = Shop.of(Size(5_000, users=100, items=60, seed=1)).day(200, 0, 17)
    assert not other_seed["item_id"].equals(shop.day(200, 0, 17)["item_id"])
