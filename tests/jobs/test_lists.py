from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from jobs.lists import write_user_lists
from jobs.progress import LogProgress
from recsys.data.interactions import build_interactions
from recsys.models.popularity import Popularity
from recsys.models.top_k import Exclude

AS_OF = datetime(2024, 3, 1, tzinfo=UTC)


def test_every_user_has_a_list_in_order_of_id_however_short(tmp_path: Path):
    # Ann has had everything: no item is left for her, two are for bob and three for zoe, jug the most popular.
    had = {"zoe": ["tea"], "ann": ["cup", "jug", "pot", "tea"], "bob": ["tea", "jug"]}
    rows = [(user, item, 1.0) for user, items in had.items() for item in items]
    pairs = pl.DataFrame(rows, schema=["user_id", "item_id", "confidence"], orient="row")
    events = pairs.select("user_id", "item_id", pl.lit(AS_OF).alias("timestamp"), pl.lit(1.0).alias("weight"))
    known = build_interactions(pairs, events, AS_OF)
    model = Popularity().fit(known)
    write_user_lists(tmp_path, model, known, Exclude(known.user_items), 5, LogProgress())
    table = pl.read_parquet(tmp_path / "user_items.parquet")
    assert table.schema == {"user_id": pl.String, "items": pl.List(pl.String)}
    assert table.rows() == [("ann", []), ("bob", ["cup", "pot"]), ("zoe", ["jug", "cup", "pot"])]
