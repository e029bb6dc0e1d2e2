"""Every feature of a generated shop, against the same written in SQL and in pandas, without our code."""

from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from features.registry import TABLES
from tests.benchmarks.features import read_table, write_data, write_features
from tests.benchmarks.generate import Shop, Size, generate_events

# Sums of doubles, added in another order than ours, which are exact.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("shop")
    write_data(made, Size(100_000, users=3_000, items=800), buckets=3)
    write_features("ours", made)
    return made


@pytest.mark.parametrize("peer", ["duckdb", "pandas"])
def test_every_table_has_the_same_rows_and_values(directory: Path, peer: str):
    write_features(peer, directory)
    for name, features in TABLES.items():
        ours = read_table(directory, "ours", name).collect()
        if name in ("user_profile", "interactions", "sequences"):
            ours = ours.sort("user_id", maintain_order=True)
        # Null for another reason than a value is a null of any dtype; whole numbers may be of another width.
        theirs = read_table(directory, peer, name).collect().select(ours.columns).cast(ours.schema)
        assert ours.height > 0
        assert_frame_equal(ours, theirs, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        assert all(ours[feature.name].null_count() < ours.height for feature in features[:-1])


def test_a_shop_is_the_same_however_its_days_are_put_together():
    shop = Shop.of(Size(5_000, users=100, items=60))
    events = pl.concat(generate_events(shop))
    assert events.height == events["event_id"].n_unique() == 5_000
    again = Shop.of(Size(5_000, users=100, items=60)).day(200, 0, 17)
    assert again.drop("event_id").equals(shop.day(200, 99, 17).drop("event_id"))
    assert (
        pl.concat(generate_events(Shop.of(Size(5_000, 100, 60, seed=1))))["item_id"].equals(events["item_id"])
        is False
    )
