"""The trending list from the lake is the one that the model gives on all of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake import Lake
from jobs.pipeline.interactions import compute_interactions
from jobs.pipeline.steps.lists import trending_list, unavailable_items
from jobs.pipeline.trending import USUAL_HALF_LIVES, renew_trending, trending_items
from jobs.progress import LogProgress
from recsys.models.trending import Trending, TrendingConfig
from recsys.settings import Lists, Settings
from recsys.store import read
from recsys.store.client.connect import connect
from recsys.store.flags import Flag, put_flags, release_user
from recsys.store.keys import Keys
from tests.shop import DAYS, FIRST_DAY, UNAVAILABLE

NOW = FIRST_DAY + timedelta(days=DAYS)
SETTINGS = Settings(model_settings={"trending": {"prior_events": 1.0, "usual_days": 15.0, "recent_days": 3.0}})
CONFIG = TrendingConfig(prior_events=1.0, usual_days=15.0, recent_days=3.0)


def lake_of_shop(shop: Path, directory: Path, buckets: int = 1) -> Lake:
    lake = Lake(directory, buckets)
    ingest((str(shop),), SETTINGS.sources, lake, datetime(2030, 1, 1, tzinfo=UTC))
    return lake


@pytest.mark.parametrize("buckets", [1, 3])
@pytest.mark.parametrize("moment", [NOW, NOW - timedelta(days=20, hours=5, minutes=1)])
def test_it_is_the_list_of_the_model(shop: Path, tmp_path: Path, buckets: int, moment: datetime) -> None:
    now_bought = [(f"user{user}", item, "purchase", moment - timedelta(hours=user)) for user in range(30)
                  for item in ("item9", "new", UNAVAILABLE)]  # fmt: skip
    refunded = [("user1", "item5", "refund", moment - timedelta(hours=1))] * 30
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(now_bought + refunded, schema=columns, orient="row").write_parquet(shop / "events_now.parquet")
    lake = lake_of_shop(shop, tmp_path / "lake", buckets)
    known = compute_interactions(lake, SETTINGS.sources, moment)
    trend = Trending(CONFIG).fit(known).item_trend
    unavailable = unavailable_items(known.items, lake.items().collect())
    result = trending_items(lake, SETTINGS, moment)
    assert result == trending_list(trend, known.items, unavailable, 200)
    assert set(result[:2]) == {"item9", "new"}
    assert UNAVAILABLE not in result
    shorter = Settings(models=SETTINGS.models, lists=Lists(popular_items=1))
    assert trending_items(lake, shorter, moment) == result[:1]


def test_only_the_days_that_count_are_read(shop: Path, tmp_path: Path) -> None:
    lake = lake_of_shop(shop, tmp_path / "lake")
    result = trending_items(lake, SETTINGS, NOW)
    first_day = NOW - timedelta(days=USUAL_HALF_LIVES * CONFIG.usual_days)
    parts = {part.parent.name: part for part in (lake.directory / "events").rglob("*.parquet")}
    parts[f"date={first_day - timedelta(days=1):%Y-%m-%d}"].write_bytes(b"no longer")
    assert trending_items(lake, SETTINGS, NOW) == result
    parts[f"date={first_day:%Y-%m-%d}"].write_bytes(b"no longer")
    with pytest.raises(pl.exceptions.ComputeError):
        trending_items(lake, SETTINGS, NOW)


def test_where_nothing_rises_the_list_is_empty(shop: Path, tmp_path: Path) -> None:
    assert trending_items(Lake(tmp_path / "empty"), SETTINGS, NOW) == []
    lake = lake_of_shop(shop, tmp_path / "lake")
    assert trending_items(lake, SETTINGS, FIRST_DAY) == []
    assert trending_items(lake, SETTINGS, NOW + timedelta(days=40)) == []
    endless = Settings(model_settings={"trending": {"usual_days": 1e12}})
    assert trending_items(lake, endless, FIRST_DAY) == []


KNOWN = [f"user{number}" for number in range(50)]


def lake_of_attacked_shop(shop: Path, directory: Path) -> Lake:
    """50 new accounts want one item and 50 of the shop's users another, 20 clicks each within a second."""
    burst = [
        (user, item, "click", NOW - timedelta(seconds=10, milliseconds=50 * click))
        for users, item in ((KNOWN, "pushed"), ([f"new{number}" for number in range(50)], "fake"))
        for user in users
        for click in range(20)
    ]
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(burst, schema=columns, orient="row").write_parquet(shop / "events_burst.parquet")
    return lake_of_shop(shop, directory)


def test_a_burst_of_new_accounts_is_no_trend(shop: Path, tmp_path: Path) -> None:
    lake = lake_of_attacked_shop(shop, tmp_path / "lake")
    usual_prior = Settings(model_settings={"trending": {"usual_days": 15.0, "recent_days": 3.0}})
    assert trending_items(lake, usual_prior, NOW) == ["pushed"]


def test_flagged_users_do_not_count_until_they_are_released(shop: Path, data_directory: Path) -> None:
    lake_of_attacked_shop(shop, data_directory / "lake")
    settings = Settings(
        directory=data_directory, model_settings={"trending": {"usual_days": 15.0, "recent_days": 3.0}}
    )
    client, keys = connect(settings.redis, settings.directory), Keys(settings.redis.namespace)
    client.set(keys.live, "version")

    def renewed(now: datetime) -> list[str]:
        renew_trending(settings, now, LogProgress())
        return read.trending_items(client, keys, 9)

    until = datetime.now(UTC) + timedelta(days=365)
    put_flags(client, keys, [Flag(user, 99.0, ("a click each 50 ms",), "online", NOW, until) for user in KNOWN])
    assert renewed(NOW) == []
    for user in KNOWN:
        release_user(client, keys, user)
    assert renewed(NOW) == ["pushed"]
