"""Exports in the columns of shops and of public data sets: what is concluded, and the rows that an ingest reads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import xlsxwriter

from tests.inferred_sources import InferredSources, infer_and_ingest
from tests.recipes import read_events, read_items

TA_FENG = """TRANSACTION_DT;CUSTOMER_ID;AGE_GROUP;PIN_CODE;PRODUCT_SUBCLASS;PRODUCT_ID;AMOUNT;ASSET;SALES_PRICE
11/1/2000;01104905;45-49;115;110411;4710199010372;2;24;30
11/1/2000;00418683;45-49;115;120107;4710857472535;1;48;46
11/1/2000;01057331;NA;115;100407;4710043654103;2;142;166
11/13/2000;01849332;NA;Others;120108;4710126092129;1;32;38
11/14/2000;01104905;50-54;115;100205;4710176021445;1;14;18
"""
VIEWS = """sessionId;userId;itemId;timeframe;eventdate
1;NA;81766;526309;2016-05-09
1;NA;31331;1031018;2016-05-09
2;15;9654;75848;2016-05-09
3;NA;32627;1112408;2016-05-10
"""
PURCHASES = """sessionId;userId;timeframe;eventdate;ordernumber;itemId
150;18278;17100868;2016-05-06;16421;81766
151;NA;151200;2016-05-06;16422;9654
"""
PRODUCTS = "itemId;pricelog2;product.name.tokens\n81766;10;4875,776\n9654;5;4875,12\n"
ORDERS = """BestellNr;Kundennr;Artikelnr;Menge;Einzelpreis (EUR);Bestelldatum;Status
1;K01;000501;2;1.234,50;01.03.2024 10:00;bezahlt
1;K01;000502;1;7,90;01.03.2024 10:00;bezahlt
2;K02;000501;1;1.234,50;13.07.2024 11:30;storniert
3;K02;000503;1;19,00;14.07.2024 12:00;zurückgesendet
"""
ARTICLES = """Artikelnr;Bezeichnung;Warengruppe;Marke;VK-Preis;Lagerbestand
000501;Größe L Hemd;Hemden;Müller;1.234,50;3
000502;Socken;Wäsche;Müller;7,90;0
000503;Gürtel;Wäsche;Möbius;19,00;1
"""
CUSTOMERS = "Nr;Kundennr;Vorname;Ort\n1;K01;Ann;Ulm\n2;K02;Bob;Bonn\n3;K03;Eve;Ulm\n"
INVOICES = """Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country
536365,85123A,WHITE HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom
536365,71053,LANTERN,2,2010-12-01 08:26:00,3.39,17850.0,United Kingdom
C536379,85123a,WHITE HEART,-1,2010-12-02 09:41:00,2.55,17850.0,United Kingdom
536370,POST,POSTAGE,3,2010-12-02 08:45:00,18.00,12583.0,France
536371,M,Manual,1,2010-12-02 09:00:00,1.25,12583.0,France
536372,22139,amazon,56,2010-12-02 10:00:00,0.00,,United Kingdom
"""
SHEET = "customer,sku,quantity,ordered at\n7,TEA,1,2023-01-05 10:00\n8,MUG,2,2023-02-05 10:00\n"


def write(directory: Path, files: Mapping[str, str], encoding: str = "utf-8") -> Path:
    """Write files into a new directory."""
    data = directory / "data"
    for name, text in files.items():
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text(text, encoding=encoding)
    return data


def accepted(inferred: InferredSources) -> dict[str, tuple[int, int]]:
    """Return the accepted and quarantined rows of each table."""
    return {name: (count.accepted, count.quarantined) for name, count in inferred.counts.items()}


def test_ta_feng_has_dates_without_times_and_amounts_that_are_pieces(tmp_path: Path) -> None:
    inferred = infer_and_ingest(tmp_path, write(tmp_path, {"ta_feng_all_months_merged.csv": TA_FENG}))
    assert accepted(inferred) == {"ta_feng_all_months_merged": (5, 0), "ta_feng_all_months_merged_items": (5, 0)}
    assert read_events(inferred.lake)[-1] == (
        "01104905", "4710176021445", "purchase", datetime(2000, 11, 14, tzinfo=UTC), 18.0, 1.0, None,
    )  # fmt: skip
    assert inferred.questions == [
        "In which time zone are the times in TRANSACTION_DT of ta_feng_all_months_merged?"
    ]


def test_diginetica_has_sessions_for_users_and_milliseconds_beside_dates(tmp_path: Path) -> None:
    files = {"train-item-views.csv": VIEWS, "train-purchases.csv": PURCHASES, "products.csv": PRODUCTS}
    inferred = infer_and_ingest(tmp_path, write(tmp_path, files))
    assert accepted(inferred) == {"train_item_views": (4, 0), "train_purchases": (2, 0)}
    assert read_events(inferred.lake, "user_id", "item_id", "event", "timestamp") == [
        ("session-151", "9654", "purchase", datetime(2016, 5, 6, 0, 2, 31, 200_000, tzinfo=UTC)),
        ("18278", "81766", "purchase", datetime(2016, 5, 6, 4, 45, 0, 868_000, tzinfo=UTC)),
        ("15", "9654", "view", datetime(2016, 5, 9, 0, 1, 15, 848_000, tzinfo=UTC)),
        ("session-1", "81766", "view", datetime(2016, 5, 9, 0, 8, 46, 309_000, tzinfo=UTC)),
        ("session-1", "31331", "view", datetime(2016, 5, 9, 0, 17, 11, 18_000, tzinfo=UTC)),
        ("session-3", "32627", "view", datetime(2016, 5, 10, 0, 18, 32, 408_000, tzinfo=UTC)),
    ]


def test_a_german_shop_with_commas_states_and_a_catalogue(tmp_path: Path) -> None:
    files = {"2024/bestellungen.csv": ORDERS, "artikel.csv": ARTICLES, "kunden.csv": CUSTOMERS}
    inferred = infer_and_ingest(tmp_path, write(tmp_path, files, "cp1252"), **{"time zone": "Europe/Berlin"})
    assert accepted(inferred) == {"bestellungen": (3, 0), "artikel": (3, 0), "kunden": (3, 0)}
    at = datetime(2024, 3, 1, 9, tzinfo=UTC)
    assert read_events(inferred.lake) == [
        ("K01", "000501", "purchase", at, 1234.5, 2.0, "1"),
        ("K01", "000502", "purchase", at, 7.9, 1.0, "1"),
        ("K02", "000503", "refund", datetime(2024, 7, 14, 10, tzinfo=UTC), 19.0, 1.0, "3"),
    ]
    columns = ("item_id", "title", "category", "brand", "price", "stock")
    assert read_items(inferred.lake, *columns)[0] == ("000501", "Größe L Hemd", ["Hemden"], "Müller", 1234.5, 3.0)
    assert inferred.lake.users().sort("user_id").collect().row(0) == ("K01", '{"Ort":"Ulm"}')


def test_returns_are_refunds_ids_are_written_alike_and_postage_is_no_goods(tmp_path: Path) -> None:
    inferred = infer_and_ingest(tmp_path, write(tmp_path, {"online_retail_II.csv": INVOICES}))
    assert read_events(inferred.lake, "user_id", "item_id", "event", "price", "quantity") == [
        ("17850", "71053", "purchase", 3.39, 2.0),
        ("17850", "85123A", "purchase", 2.55, 6.0),
        ("12583", "POST", "purchase", 18.0, 3.0),
        ("12583", "M", "purchase", 1.25, 1.0),
        ("17850", "85123A", "refund", 2.55, 1.0),
    ]
    assert inferred.settings.lists.not_recommendable == ("POST", "M")
    titles = dict(read_items(inferred.lake, "item_id", "title"))
    assert titles == {"71053": "LANTERN", "85123A": "WHITE HEART", "M": "Manual", "POST": "POSTAGE"}


@pytest.mark.parametrize(
    ("file", "text", "answers", "events"),
    [
        (
            "log.tsv",
            "ts\tuid\tact\tpid\n1700000000\tu1\tseen\t7\n1700000050\tu1\tbought\t7\n1700000100\tu2\tteleported\t8\n",
            {"teleported": "cart"},
            [("u1", "7", "view"), ("u1", "7", "purchase"), ("u2", "8", "cart")],
        ),
        (
            "commandes.json",
            '[{"idCommande": 5, "client": {"idClient": "C1"}, "dateCommande": "2024-02-01T10:00:00+01:00",'
            ' "lignes": [{"reference": "R1", "quantite": 2}, {"reference": "R2", "quantite": 1}]}]',
            {},
            [("C1", "R1", "purchase"), ("C1", "R2", "purchase")],
        ),
        (
            "events.csv",
            "timestamp,visitorid,event,itemid,transactionid\n1433221332117,257597,view,355908,\n"
            "1433224214164,257597,transaction,355908,7\n1433224214165,0,addtocart,355909,\n",
            {},
            [("257597", "355908", "view"), ("257597", "355908", "purchase")],
        ),
        (
            "ratings.csv",
            "userId,movieId,rating,timestamp\n1,0,4.0,964982703\n1,3,3.5,964982804\n2,3,5.0,964982905\n",
            {},
            [("1", "0", "rating"), ("1", "3", "rating"), ("2", "3", "rating")],
        ),
    ],
    ids=["unknown event", "nested lines", "guests", "ratings"],
)
def test_events_of_other_shops(
    tmp_path: Path, file: str, text: str, answers: dict[str, str], events: list[tuple[str, ...]]
) -> None:
    inferred = infer_and_ingest(tmp_path, write(tmp_path, {file: text}), **answers)
    assert read_events(inferred.lake, "user_id", "item_id", "event") == events


def test_files_of_months_are_one_table_and_lines_apart_from_their_orders_are_named(tmp_path: Path) -> None:
    lines = "event_time,event_type,product_id,user_id\n2019-10-01 00:00:00 UTC,remove_from_cart,7,1\n"
    files = {f"{year}-Oct.csv": f"{lines}{year}-10-01 00:00:00 UTC,cart,{year},1\n" for year in (2019, 2020)} | {
        "orders.csv": "order_id,customer_id,purchased_at\n1,7,2024-01-01 10:00:00\n2,8,2024-01-02 10:00:00\n",
        "order_items.csv": "order_id,product_id,price\n1,10,2.50\n2,11,3.50\n",
    }
    inferred = infer_and_ingest(tmp_path, write(tmp_path, files))
    assert [(table.name, table.files) for table in inferred.settings.sources.tables] == [("data", "[0-9]*.csv")]
    assert read_events(inferred.lake, "item_id", "event") == [("2019", "cart"), ("2020", "cart")]
    reasons = {each.name: each.reason for each in inferred.drafted.draft.inference.unused}
    assert reasons["order_items"].startswith("its orders are in orders, by order_id")


def test_each_sheet_of_a_workbook_is_a_table(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with xlsxwriter.Workbook(tmp_path / "data" / "shop.xlsx") as workbook:
        for name, text in (
            ("Orders 2023", SHEET),
            ("Orders 2024", SHEET.replace("2023", "2024")),
            ("Notes", "a\n"),
        ):
            sheet = workbook.add_worksheet(name)
            for number, line in enumerate(text.splitlines()):
                sheet.write_row(number, 0, line.split(","))
    inferred = infer_and_ingest(tmp_path, tmp_path / "data")
    assert accepted(inferred) == {"shop_orders_2023": (2, 0), "shop_orders_2024": (2, 0)}
    assert inferred.lake.events().collect().height == 4


def test_a_price_of_all_pieces_becomes_that_of_one(tmp_path: Path) -> None:
    rows = [
        f"{n},u{n % 5},i{n % 3},{1 + n % 4},{(1 + n % 4) * (2.5 + n % 3):.2f},2024-01-01T10:00:00Z"
        for n in range(96)
    ]
    text = "\n".join(["id,user,item,qty,price,time", *rows])
    inferred = infer_and_ingest(tmp_path, write(tmp_path, {"sales.csv": text}))
    prices = inferred.lake.events().group_by("item_id").agg(pl.col("price").unique()).sort("item_id").collect()
    assert prices.rows() == [("i0", [2.5]), ("i1", [3.5]), ("i2", [4.5])]


def test_repeats_are_of_goods_in_all_tables_of_events(tmp_path: Path) -> None:
    orders = "\n".join(
        f"{n},u{n % 4},{sku},2024-01-{1 + n // 4:02}T10:00:00Z" for n in range(16) for sku in (f"i{n}", "POSTAGE")
    )
    reviews = "review_id,user,sku,stars,time\n1,u1,i1,5,2024-02-01T10:00:00Z\n2,u1,i2,3,2024-02-01T10:00:00Z\n"
    files = {"orders.csv": f"order_id,user,sku,time\n{orders}\n", "reviews.csv": reviews}
    inferred = infer_and_ingest(tmp_path, write(tmp_path, files))
    assert accepted(inferred) == {"orders": (32, 0), "reviews": (2, 0)}
    assert inferred.settings.lists.not_recommendable == ("POSTAGE",)
    assert inferred.drafted.draft.repeat_reason.startswith("0% of the purchases")
    assert inferred.settings.repeat == "exclude"


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (("Action|Drama", "Drama|Comedy", "Comedy"), [["Action"], ["Drama"]]),
        (("Home|Tables", "Home|Chairs", "Garden|Chairs"), [["Home", "Tables"]]),
        (("Men > Hats, Sale", "Sale, Men > Hats", "Men > Hats, Men > New"), [["Men", "Hats"], ["Sale"]]),
        (("Men > Hats, Caps", "Women > Hats, Caps", "Men > Shoes"), [["Men", "Hats, Caps"]]),
    ],
    ids=["list", "path", "list of paths", "comma in a name"],
)
def test_several_categories_in_a_cell_are_told_from_levels(
    tmp_path: Path, cells: tuple[str, ...], first: list[list[str]]
) -> None:
    rows = "".join(f"sku{number};Thing {number};{cell}\n" for number, cell in enumerate(cells))
    inferred = infer_and_ingest(tmp_path, write(tmp_path, {"products.csv": f"sku;name;category\n{rows}"}))
    assert read_items(inferred.lake, "categories")[0] == (first,)


def test_files_without_rows_and_unreadable_ones_are_named_once(tmp_path: Path) -> None:
    files = {"products.csv": "sku,name\nA,Tea\n", "orders.csv": "user,sku,time\n", "empty.csv": ""}
    inferred = infer_and_ingest(tmp_path, write(tmp_path, files))
    assert [(each.name, each.reason) for each in inferred.drafted.draft.inference.unused] == [
        ("orders", "it has no rows")
    ]
    assert [skipped.reason for skipped in inferred.drafted.skipped] == ["the file is empty"]
