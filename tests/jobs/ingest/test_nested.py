"""Nested columns are read by paths; the lines of an order, or the items of an event, are rows."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import TypeAdapter

from jobs.ingest.mapping import map_source
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Settings, Sources, Table
from tests.docs.pages import code_blocks
from tests.ingests import ingest_files, read_quarantined_rows

MICROSECONDS = 1_609_459_200_123_456
FIELDS = ("event_id", "user_id", "item_id", "event", "price", "quantity", "session_id")


def parameter(key: str, **value: Any) -> dict[str, Any]:
    empty = {"string_value": None, "int_value": None, "float_value": None, "double_value": None}
    return {"key": key, "value": empty | value}


GA4 = [
    {
        "event_name": "purchase",
        "event_timestamp": MICROSECONDS,
        "user_pseudo_id": "ga.1",
        "event_params": [parameter("page", string_value="/thanks"), parameter("ga_session_id", int_value=77)],
        "ecommerce": {"transaction_id": "T1"},
        "items": [
            {"item_id": "tea", "price": 2.5, "quantity": 2},
            {"item_id": "mug", "price": 7.0, "quantity": 1},
        ],
    },
    {
        "event_name": "session_start",
        "event_timestamp": MICROSECONDS,
        "user_pseudo_id": "ga.1",
        "event_params": [],
        "ecommerce": {"transaction_id": None},
        "items": [],
    },
]
GA4_COLUMNS: dict[str, ColumnMapping] = {
    "event_id": "ecommerce.transaction_id",
    "user_id": "user_pseudo_id",
    "item_id": "items.item_id",
    "event": "event_name",
    "timestamp": "event_timestamp",
    "price": "items.price * 2",
    "quantity": "items.quantity",
    "session_id": "event_params.ga_session_id.value.int_value",
}
SEGMENT = {
    "messageId": "m1",
    "userId": "ann",
    "event": "Order Completed",
    "timestamp": "2021-01-01T00:00:00.123456Z",
    "properties": {
        "order_id": "O1",
        "products": [{"sku": "tea", "price": 5.0, "quantity": 2}, {"sku": "mug", "price": 14.0, "quantity": 1}],
    },
}
SEGMENT_COLUMNS: dict[str, ColumnMapping] = {
    "event_id": "messageId",
    "user_id": "userId",
    "item_id": "properties.products.sku",
    "event": "event",
    "timestamp": "timestamp",
    "price": "properties.products.price",
    "quantity": "CAST(properties.products.quantity AS DOUBLE)",
    "session_id": "properties.order_id",
}


def write_json_lines(file: Path, *rows: dict[str, Any]) -> Path:
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def table(columns: dict[str, ColumnMapping], explode: str, files: str, **settings: Any) -> Table:
    return Table("log", "events", files, columns, explode=explode, **settings)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_the_items_of_an_event_of_google_analytics_are_rows(lake: Lake, tmp_path: Path, suffix: str):
    if suffix == "jsonl":
        file = write_json_lines(tmp_path / "ga4.jsonl", *GA4)
    else:
        file = tmp_path / "ga4.parquet"
        pl.DataFrame(GA4).write_parquet(file)
    (count,) = ingest_files(lake, file, sources=Sources(tables=(table(GA4_COLUMNS, "items", "ga4*"),)))
    assert (count.rows, count.accepted, count.quarantined) == (2, 2, 0)
    events = lake.events().collect().sort("event_id")
    assert events.select(FIELDS).rows() == [
        ("T1-1", "ga.1", "tea", "purchase", 5.0, 2.0, "77"),
        ("T1-2", "ga.1", "mug", "purchase", 14.0, 1.0, "77"),
    ]
    assert set(events["timestamp"].dt.timestamp("us")) == {MICROSECONDS}


@pytest.mark.parametrize("basket", [["tea", "5"], '["tea", "5"]', '["tea", 5, null]'])
def test_the_elements_may_be_ids(basket: list[str] | str):
    rows = pl.DataFrame({"basket": [basket]})
    columns: dict[str, ColumnMapping] = {"user_id": "'ann'", "item_id": "basket", "event": "'view'"}
    mapped = map_source(rows, table(columns | {"timestamp": "'2024-01-01'"}, "basket", "*"), Sources())
    assert mapped.rows["item_id"].drop_nulls().to_list() == ["tea", "5"]


def test_an_event_without_items_is_counted():
    mapped = map_source(pl.DataFrame(GA4), table(GA4_COLUMNS, "items", "ga4*"), Sources())
    assert (mapped.rows.height, mapped.counts.without_elements) == (2, 1)
    assert mapped.counts.time_formats == {"epoch_us": 2}


def test_the_products_of_an_order_of_segment_are_rows(lake: Lake, tmp_path: Path):
    file = write_json_lines(tmp_path / "segment.jsonl", SEGMENT)
    names = table(SEGMENT_COLUMNS, "properties.products", "segment*", events={"Order Completed": "purchase"})
    ingest_files(lake, file, sources=Sources(tables=(names,)))
    assert lake.events().collect().sort("event_id").select(FIELDS).rows() == [
        ("m1-1", "ann", "tea", "purchase", 5.0, 2.0, "O1"),
        ("m1-2", "ann", "mug", "purchase", 14.0, 1.0, "O1"),
    ]


SNOWPLOW = {
    "schema": "iglu:com.shop/order/1-0-0",
    "data": {"lines": [{"sku": "tea", "cost": "5,00"}, {"sku": 12345678901234567890}]},
}
SNOWPLOW_COLUMNS: dict[str, ColumnMapping] = {
    "user_id": "domain_userid",
    "item_id": "unstruct_event.data.lines.sku",
    "event": "CASE WHEN unstruct_event.schema LIKE '%order%' THEN 'purchase' ELSE 'view' END",
    "timestamp": "collector_tstamp",
    "price": "unstruct_event.data.lines.cost",
}


def snowplow_rows(*payloads: str | None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "domain_userid": ["ann"] * len(payloads),
            "unstruct_event": payloads,
            "collector_tstamp": ["2021-01-01 00:00:00.123456"] * len(payloads),
        },
        schema_overrides={"unstruct_event": pl.String},
    )


def test_json_text_in_a_cell_of_snowplow_is_nested_too(lake: Lake, tmp_path: Path):
    snowplow_rows(json.dumps(SNOWPLOW)).write_csv(tmp_path / "snowplow.csv")
    lines = table(SNOWPLOW_COLUMNS, "unstruct_event.data.lines", "snowplow*", decimal=",")
    ingest_files(lake, tmp_path / "snowplow.csv", sources=Sources(tables=(lines,)))
    rows = lake.events().collect().sort("item_id", descending=True)
    assert rows.select("item_id", "event", "price").rows() == [
        ("tea", "purchase", 5.0),
        ("12345678901234567890", "purchase", None),
    ]


def test_cells_without_an_array_are_counted_and_broken_ones_are_quarantined(lake: Lake, tmp_path: Path):
    one = json.dumps({"data": {"lines": {"sku": "cup"}}})
    empty = [json.dumps({"data": {"lines": lines}}) for lines in ([], None)]
    lines = table(SNOWPLOW_COLUMNS, "unstruct_event.data.lines", "*.parquet")
    mapped = map_source(snowplow_rows(one, *empty, None, "", "{", '{"data": {"lines": 5}}'), lines, Sources())
    assert mapped.counts.without_elements == 4
    assert mapped.rows["item_id"].to_list() == ["cup", None, None]
    snowplow_rows('{"data": {"lines": 5}}').write_parquet(tmp_path / "snowplow.parquet")
    (count,) = ingest_files(lake, tmp_path / "snowplow.parquet", sources=Sources(tables=(lines,), max_bad_rows=1))
    assert (count.rows, count.rules) == (1, {"item_id_is_given": 1})


def test_equal_lines_of_one_event_without_an_id_are_two_events():
    rows = snowplow_rows(json.dumps({"data": {"lines": [{"sku": "tea"}] * 2}}))
    mapped = map_source(rows, table(SNOWPLOW_COLUMNS, "unstruct_event.data.lines", "*"), Sources())
    assert mapped.rows["event_id"].n_unique() == 2
    again = map_source(rows, table(SNOWPLOW_COLUMNS, "unstruct_event.data.lines", "*"), Sources())
    assert again.rows["event_id"].to_list() == mapped.rows["event_id"].to_list()


def test_the_rows_of_the_source_stay_beside_the_mapped_rows():
    mapped = map_source(pl.DataFrame(GA4), table(GA4_COLUMNS, "items", "ga4*"), Sources())
    assert mapped.source_rows.height == mapped.rows.height == mapped.given.height == 2
    assert mapped.source_rows["event_name"].to_list() == ["purchase"] * 2


@pytest.mark.parametrize(
    ("explode", "problem"),
    [
        ("lines", r"sources\.tables\.log\.explode = 'lines': there is no such column; the source has user, sku"),
        ("user", r"explode = 'user': expected lists, or JSON arrays as text, not Struct"),
    ],
)
def test_a_column_that_cannot_be_exploded_is_named(explode: str, problem: str):
    columns: dict[str, ColumnMapping] = {
        "user_id": "sku",
        "item_id": "sku",
        "event": "'view'",
        "timestamp": "'2024-01-01'",
    }
    with pytest.raises(SourceError, match=problem):
        map_source(pl.DataFrame({"user": [{"id": 7}], "sku": ["tea"]}), table(columns, explode, "*"), Sources())


def test_a_condition_may_name_paths_and_the_fields_of_elements():
    names = table(GA4_COLUMNS, "items", "*", where="items.quantity > 1 AND event_name <> 'session_start'")
    mapped = map_source(pl.DataFrame(GA4), names, Sources())
    assert (mapped.rows["item_id"].to_list(), mapped.counts.filtered) == (["tea"], 1)


def test_quarantined_lines_are_those_of_the_elements(lake: Lake, tmp_path: Path):
    bad = GA4[0] | {"items": [{"item_id": None, "price": 1.0, "quantity": 1}, *GA4[0]["items"]]}
    pl.DataFrame([bad]).write_parquet(tmp_path / "ga4.parquet")
    (count,) = ingest_files(
        lake, tmp_path / "ga4.parquet", sources=Sources(tables=(table(GA4_COLUMNS, "items", "ga4*"),))
    )
    assert (count.rows, count.accepted, count.rules) == (3, 2, {"item_id_is_given": 1})
    assert read_quarantined_rows(lake)["event_id"].to_list() == ["T1-1"]


def read_example(name: str) -> Table:
    (block,) = (block for block in code_blocks("toml") if f'name = "{name}"' in block.code)
    sources = TypeAdapter(Settings).validate_python(tomllib.loads(block.code)).sources
    return next(table for table in sources.tables if table.name == name)


def test_the_mappings_of_the_documentation_read_such_exports():
    ga4 = pl.DataFrame([row | {"user_id": None} for row in GA4])
    analytics = map_source(ga4, read_example("analytics"), Sources())
    assert analytics.rows.select("user_id", "item_id", "event", "price", "session_id").rows() == [
        ("ga.1", "tea", "purchase", 2.5, "77"),
        ("ga.1", "mug", "purchase", 7.0, "77"),
    ]
    orders = map_source(pl.DataFrame([SEGMENT | {"anonymousId": "a"}]), read_example("order_lines"), Sources())
    assert orders.rows.select("event_id", "user_id", "item_id", "event", "price", "quantity").rows() == [
        ("m1-1", "ann", "tea", "purchase", 5.0, 2.0),
        ("m1-2", "ann", "mug", "purchase", 14.0, 1.0),
    ]
    till = {
        "kunde": "7",
        "art": "A 1",
        "datum": "31.12.2011",
        "uhrzeit": "17:05",
        "preis": "1.234,50 €",
        "menge": "2",
    }
    sold = map_source(pl.DataFrame([till, till | {"art": "VERSAND"}]), read_example("till"), Sources())
    assert sold.rows.select("item_id", "price", "quantity").rows() == [("A_1", 1234.5, 2.0)]
    assert sold.rows["timestamp"].dt.strftime("%F %T").to_list() == ["2011-12-31 17:05:00"]


VIEWS = pl.DataFrame({"event": ["view"], "anonymous": ["ann"], "properties": [{"sku": "tea"}]})
VIEW_COLUMNS: dict[str, ColumnMapping] = {
    "user_id": "COALESCE(account, anonymous)",
    "item_id": "properties.sku",
    "event": "event",
    "timestamp": "'2024-05-01'",
    "price": "properties.price * 2",
    "session_id": "context.session",
    "quantity": "pieces",
}


def test_what_a_file_lacks_is_null_if_the_table_says_so():
    lenient = Table("log", "events", "*", VIEW_COLUMNS, missing_columns="null", where="kind IS NULL")
    (row,) = map_source(VIEWS, lenient, Sources()).rows.rows(named=True)
    assert (row["user_id"], row["item_id"]) == ("ann", "tea")
    assert (row["price"], row["session_id"], row["quantity"]) == (None, None, None)
    with pytest.raises(SourceError, match="there is no column 'kind'"):
        map_source(VIEWS, replace(lenient, missing_columns="error"), Sources())
    with pytest.raises(SourceError, match=r"'properties\.price' has no field 'price'"):
        map_source(VIEWS, replace(lenient, missing_columns="error", where=None), Sources())


@pytest.mark.parametrize("explode", ["properties.products", "lines", "context.lines"])
def test_rows_of_a_file_without_the_list_to_explode_have_no_elements(explode: str):
    columns = VIEW_COLUMNS | {"item_id": f"{explode}.sku"}
    lines = Table("log", "events", "*", columns, missing_columns="null", explode=explode, where="event = 'order'")
    mapped = map_source(VIEWS, lines, Sources())
    assert (mapped.rows.height, mapped.counts.without_elements, mapped.counts.filtered) == (0, 1, 0)
