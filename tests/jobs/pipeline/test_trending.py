"""The trending list from the lake is the one that the model gives on all of it."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from jobs.pipeline.interactions import compute_interactions
from jobs.pipeline.steps.popular_lists import trending_list, unlisted_items
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


def add_files(lake: Lake, *paths: Path) -> Lake:
    ingest(tuple(map(str, paths)), SETTINGS.sources, lake, datetime(2030, 1, 1, tzinfo=UTC))
    return lake


@pytest.fixture(scope="module")
def shop_lake_of_three_buckets(shop_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's lake in three buckets, which tests copy."""
    return add_files(Lake(tmp_path_factory.mktemp("buckets") / "lake", 3), shop_files).directory


@pytest.fixture
def lake(shop_lake: Path, tmp_path: Path) -> Lake:
    """A copy of the shop's lake."""
    return Lake(shutil.copytree(shop_lake, tmp_path / "lake"))


@pytest.mark.parametrize(("buckets", "source"), [(1, "shop_lake"), (3, "shop_lake_of_three_buckets")])
@pytest.mark.parametrize("moment", [NOW, NOW - timedelta(days=20, hours=5, minutes=1)])
def test_it_is_the_list_of_the_model(
    request: pytest.FixtureRequest, tmp_path: Path, buckets: int, source: str, moment: datetime
) -> None:
    lake = Lake(shutil.copytree(request.getfixturevalue(source), tmp_path / "lake"), buckets)
    now_bought = [(f"user{user}", item, "purchase", moment - timedelta(hours=user)) for user in range(30)
                  for item in ("item9", "new", UNAVAILABLE)]  # fmt: skip
    refunded = [("user1", "item5", "refund", moment - timedelta(hours=1))] * 30
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(now_bought + refunded, schema=columns, orient="row").write_parquet(tmp_path / "events_now.parquet")
    add_files(lake, tmp_path / "events_now.parquet")
    known = compute_interactions(lake, SETTINGS.sources, moment)
    trend = Trending(CONFIG).fit(known).item_trend
    unavailable = unlisted_items(known.items, lake.items().collect(), moment)
    result = trending_items(lake, SETTINGS, moment)
    assert result == trending_list(trend, known.items, unavailable, 200)
    assert set(result[:2]) == {"item9", "new"}
    assert UNAVAILABLE not in result
    shorter = Settings(models=SETTINGS.models, lists=Lists(popular_items=1))
    assert trending_items(lake, shorter, moment) == result[:1]


def test_only_the_days_that_count_are_read(lake: Lake) -> None:
    result = trending_items(lake, SETTINGS, NOW)
    first_day = NOW - timedelta(days=USUAL_HALF_LIVES * CONFIG.usual_days)
    parts = {part.parent.name: part for part in (lake.directory / "events").rglob("*.parquet")}
    parts[f"date={first_day - timedelta(days=1):%Y-%m-%d}"].write_bytes(b"no longer")
    assert trending_items(lake, SETTINGS, NOW) == result
    parts[f"date={first_day:%Y-%m-%d}"].write_bytes(b"no longer")
    with pytest.raises(pl.exceptions.ComputeError):
        trending_items(lake, SETTINGS, NOW)


def test_where_nothing_rises_the_list_is_empty(lake: Lake, tmp_path: Path) -> None:
    assert trending_items(Lake(tmp_path / "empty"), SETTINGS, NOW) == []
    assert trending_items(lake, SETTINGS, FIRST_DAY) == []
    assert trending_items(lake, SETTINGS, NOW + timedelta(days=40)) == []
    endless = Settings(model_settings={"trending": {"usual_days": 1e12}})
    assert trending_items(lake, endless, FIRST_DAY) == []


KNOWN = [f"user{number}" for number in range(50)]


def attack(lake: Lake, directory: Path) -> Lake:
    """50 new accounts want one item and 50 of the shop's users another, 20 clicks each within a second."""
    burst = [
        (user, item, "click", NOW - timedelta(seconds=10, milliseconds=50 * click))
        for users, item in ((KNOWN, "pushed"), ([f"new{number}" for number in range(50)], "fake"))
        for user in users
        for click in range(20)
    ]
    columns = ["user_id", "item_id", "event", "timestamp"]
    pl.DataFrame(burst, schema=columns, orient="row").write_parquet(directory / "events_burst.parquet")
    pl.DataFrame({"item_id": ["pushed", "fake"]}).write_parquet(directory / "items_burst.parquet")
    return add_files(lake, directory / "events_burst.parquet", directory / "items_burst.parquet")


def test_a_burst_of_new_accounts_is_no_trend(lake: Lake, tmp_path: Path) -> None:
    attack(lake, tmp_path)
    usual_prior = Settings(model_settings={"trending": {"usual_days": 15.0, "recent_days": 3.0}})
    assert trending_items(lake, usual_prior, NOW) == ["pushed"]


def test_flagged_users_do_not_count_until_they_are_released(
    shop_lake: Path, tmp_path: Path, data_directory: Path
) -> None:
    attack(Lake(shutil.copytree(shop_lake, data_directory / "lake")), tmp_path)
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
