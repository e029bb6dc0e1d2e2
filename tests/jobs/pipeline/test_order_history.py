"""The orders that forecasts learn from: known answers, and no order on both sides of a day."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from jobs.ingest.ingest import ingest
from jobs.lake.lake import open_lake
from jobs.pipeline.order_history import item_categories, read_bucket, read_sample
from recsys.settings import Settings

AS_OF = datetime(2026, 4, 11, tzinfo=UTC)


def test_orders_and_their_categories(tmp_path: Path):
    shop = tmp_path / "shop"
    shop.mkdir()
    rows = [  # user, item, event, hours before `as_of`, price, quantity, session
        ("a", "tea", "purchase", 54.0, 2.0, 3.0, "s1"),
        ("a", "jam", "purchase", 51.0, 1.0, None, "s1"),
        ("a", "tea", "purchase", 45.0, 2.0, 1.0, "s1"),  # the session goes on after midnight
        ("a", "jam", "purchase", 30.0, None, 1.0, None),
        ("a", "tea", "purchase", 29.0, 5.0, 0.0, None),  # nothing was bought
        ("a", "tea", "view", 1.0, None, None, None),
        ("b", "tea", "purchase", -1.0, 2.0, 1.0, None),  # after `as_of`
    ]
    names = ["user_id", "item_id", "event", "hours", "price", "quantity", "session_id"]
    events = pl.DataFrame(rows, schema=names, orient="row")
    times = [AS_OF - timedelta(hours=hours) for hours in events["hours"]]
    events.drop("hours").with_columns(timestamp=pl.Series(times)).write_parquet(shop / "events.parquet")
    pl.DataFrame({"item_id": ["tea", "jam"], "category": [["drinks", "hot", "black"], ["spreads"]]}).write_parquet(
        shop / "items.parquet"
    )
    settings = Settings(directory=tmp_path / "var")
    ingest((str(shop),), settings.sources, open_lake(settings), AS_OF + timedelta(days=1))
    lake = open_lake(settings)
    categories = item_categories(lake, AS_OF, 2)
    assert categories.rows() == [("jam", "spreads"), ("tea", "drinks>hot")]
    history = read_bucket(lake, 0, AS_OF, categories)
    assert history.orders.rows() == [
        ("a", 30 / 24, None, 1),
        ("a", 45 / 24, 2.0, 1),
        ("a", 54 / 24, 7.0, 2),
    ]
    assert history.lines.rows() == [
        ("a", 30 / 24, "spreads"),
        ("a", 45 / 24, "drinks>hot"),
        ("a", 51 / 24, "spreads"),
        ("a", 54 / 24, "drinks>hot"),
    ]
    assert history.days == 54 / 24
    assert read_sample(lake, AS_OF, categories, 10, 0).orders.equals(history.orders)
