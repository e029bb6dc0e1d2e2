"""The columns of a source are mapped to the contract."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import pytest

from jobs.ingest.mapping import check_table, map_rows, map_source
from recsys.contract import Events, Items
from recsys.errors import SettingsError, SourceError
from recsys.settings import ColumnMapping, Kind, Sources, Table

ORDER = {"user_id": "customer", "item_id": "sku", "event": "'purchase'", "timestamp": "time"}
TIME = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def orders(**columns: list[object]) -> pl.DataFrame:
    """Rows of a shop's orders; a column that is not given has the same value in each."""
    rows = max(map(len, columns.values()))
    usual = {"customer": ["ann"] * rows, "sku": ["tea"] * rows, "time": [TIME] * rows}
    return pl.DataFrame(usual | columns)


def map_orders(rows: pl.DataFrame, **columns: ColumnMapping) -> pl.DataFrame:
    return map_rows(rows, Table("orders", "events", "*", {**ORDER, **columns}), Sources())


def map_items(rows: pl.DataFrame, **columns: ColumnMapping) -> pl.DataFrame:
    return map_rows(rows, Table("articles", "items", "*", {"item_id": "sku", **columns}), Sources())


def test_rows_come_in_the_columns_of_the_contract_whatever_the_file_has():
    mapped = map_orders(orders(margin=[1, 2]))
    assert mapped.columns == list(Events.column_names())
    assert (
        mapped.select("user_id", "item_id", "event", "timestamp", "price").rows()
        == [("ann", "tea", "purchase", TIME, None)] * 2
    )


@pytest.mark.parametrize(
    ("customers", "users"),
    [
        (pl.Series([17850, None]), ["17850", None]),
        (pl.Series([17850.0, 0.5]), ["17850", "0.5"]),
        (pl.Series([float("nan"), float("inf")]), [None, None]),
        (pl.Series([1e15, -3.0]), ["1000000000000000", "-3"]),
        (pl.Series(["00017850", "17850.0", "007.00"]), ["00017850", "17850", "007"]),
        (pl.Series([Decimal("17850.00"), Decimal("0.50")]), ["17850", "0.50"]),
        (pl.Series([2**63], dtype=pl.UInt64), ["9223372036854775808"]),
        (pl.Series(["ann", "bob"], dtype=pl.Categorical), ["ann", "bob"]),
    ],
)
def test_numbers_as_ids_are_their_decimal_text(customers: pl.Series, users: list[str | None]):
    mapped = map_orders(orders(customer=customers.to_list()).with_columns(customers.alias("customer")))
    assert mapped["user_id"].to_list() == users


def test_a_session_number_is_read_like_an_id_whatever_its_type():
    whole = map_orders(orders(basket=[1, 2]), session_id="basket")
    with_a_gap = map_orders(orders(basket=[1.0, None]), session_id="basket")
    assert whole["session_id"].to_list() == ["1", "2"]
    assert with_a_gap["session_id"].to_list() == ["1", None]


def test_event_names_are_translated_and_others_stay():
    table = Table("log", "events", "*", {**ORDER, "event": "action"}, events={"buy": "purchase", "2": "cart"})
    named = map_rows(orders(action=["buy", "view", "2", None]), table, Sources())
    numbered = map_rows(orders(action=[2, 3]), table, Sources())
    assert named["event"].to_list() == ["purchase", "view", "cart", None]
    assert numbered["event"].to_list() == ["cart", "3"]


def test_a_column_is_an_sql_expression_over_the_columns_of_the_file():
    rows = orders(total=[6.0, 5.0, 1.0], pieces=[3, 0, -1], number=["A1", "C2", "C3"])
    mapped = map_orders(
        rows,
        event="CASE WHEN number LIKE 'C%' THEN 'refund' ELSE 'purchase' END",
        price="CASE WHEN pieces <> 0 THEN ABS(total / pieces) END",
        quantity="ABS(pieces)",
        item_id="UPPER(sku)",
    )
    assert mapped.select("event", "price", "quantity", "item_id").rows() == [
        ("purchase", 2.0, 3, "TEA"),
        ("refund", None, 0, "TEA"),
        ("refund", 1.0, 1, "TEA"),
    ]


def test_a_column_whose_name_is_no_sql_is_meant_by_its_name():
    rows = orders(**{"order-id": ["o1"], "Unit Price": [2.5], "select": [3]})
    mapped = map_orders(rows, session_id="order-id", price="Unit Price", quantity="select")
    assert mapped.select("session_id", "price", "quantity").row(0) == ("o1", 2.5, 3)


def test_the_same_constant_stands_in_every_row_and_in_no_row_of_an_empty_file():
    everything: dict[str, ColumnMapping] = {
        "user_id": "'ann'",
        "item_id": "'tea'",
        "event": "'view'",
        "timestamp": "'2024-01-02'",
    }
    table = Table("constants", "events", "*", everything)
    rows = orders(margin=[1, 2])
    assert map_rows(rows, table, Sources())["user_id"].to_list() == ["ann", "ann"]
    assert map_rows(rows.clear(), table, Sources()).is_empty()


@pytest.mark.parametrize(
    "expression", ["price +", "foo(price)", "SELECT price", "price, price", "", "price; DROP x"]
)
def test_bad_sql_is_shown_with_its_table_and_column(expression: str):
    with pytest.raises(SettingsError) as error:
        map_orders(orders(price=[1]), value=expression)
    assert str(error.value) == (
        f"sources.tables.orders.columns.value = {expression!r}: expected a column or an SQL expression"
    )


@pytest.mark.parametrize("mapped", ["cost", "cost / 2", "UPPER(cost)"])
def test_a_column_that_the_file_lacks_is_named_with_those_it_has(mapped: str):
    with pytest.raises(
        SourceError, match=r"column 'cost' of table 'orders' is missing; the file has customer, sku"
    ):
        map_orders(orders(margin=[1]), value=mapped)


def test_an_optional_column_of_the_contract_under_its_own_name_may_be_missing():
    assert map_orders(orders(margin=[1]), price="price")["price"].to_list() == [None]


def test_a_required_column_of_the_contract_may_not_be_missing():
    with pytest.raises(SourceError, match="column 'user_id' of table 'orders' is missing"):
        map_orders(orders(margin=[1]), user_id="user_id")


def test_only_a_category_and_attributes_are_made_of_several_columns():
    with pytest.raises(
        SettingsError, match=r"columns\.title = \['a', 'b'\]: expected a column or an SQL expression"
    ):
        map_items(pl.DataFrame({"sku": ["tea"], "a": ["x"], "b": ["y"]}), title=("a", "b"))


LEVELS = [["Food", " Tea ", "Green"], ["Food", None, ""], [None, " ", None]]
PATHS = [["Food", "Tea", "Green"], ["Food"], None]


def test_a_category_is_made_of_columns_root_first():
    rows = pl.DataFrame([["tea", *levels] for levels in LEVELS], schema=["sku", "a", "b", "c"], orient="row")
    assert map_items(rows, category=("a", "b", "c"))["category"].to_list() == PATHS


def test_a_category_is_read_from_a_text():
    rows = pl.DataFrame({"sku": ["tea"] * 4, "path": ["Food > Tea>Green", "Food>>", " > ", None]})
    assert map_items(rows, category="path")["category"].to_list() == [*PATHS, None]


def test_a_category_is_read_from_a_list():
    rows = pl.DataFrame({"sku": ["tea"] * 4, "path": [*LEVELS, []]})
    assert map_items(rows, category="path")["category"].to_list() == [*PATHS, None]


def test_a_category_is_split_by_an_expression():
    rows = pl.DataFrame({"sku": ["tea"] * 3, "code": ["food.tea", "food", None]})
    mapped = map_items(rows, category="STRING_TO_ARRAY(code, '.')")
    assert mapped["category"].to_list() == [["food", "tea"], ["food"], None]


def test_a_number_is_a_level_of_a_category_by_its_text():
    assert map_items(pl.DataFrame({"sku": ["tea"], "a": [7]}), category=("a",))["category"].to_list() == [["7"]]


def test_attributes_are_a_json_object_of_their_columns():
    rows = pl.DataFrame({"sku": ["tea", "mug"], "colour": ['gr"ün', None], "grams": [100, 2]})
    attributes = map_items(rows, attributes=("colour", "grams"))["attributes"].to_list()
    assert [json.loads(text) for text in attributes] == [
        {"colour": 'gr"ün', "grams": 100},
        {"colour": None, "grams": 2},
    ]


def test_attributes_are_taken_from_an_object_or_from_its_text():
    given = {"colour": "green"}
    nested = pl.DataFrame({"sku": ["tea"], "about": [given]})
    written = pl.DataFrame({"sku": ["tea"], "about": [json.dumps(given)]})
    for rows in (nested, written):
        assert json.loads(map_items(rows, attributes="about")["attributes"][0]) == given


def test_a_given_event_id_is_kept_and_a_missing_one_is_made_of_the_row():
    mapped = map_orders(orders(number=["a1", None, None], pieces=[1, 1, 2]), event_id="number", quantity="pieces")
    given, first, second = mapped["event_id"].to_list()
    assert given == "a1"
    assert len({given, first, second}) == 3
    assert first.isdigit()


def test_the_id_made_of_a_row_is_the_same_everywhere():
    mapped = map_orders(orders(pieces=[2]), quantity="pieces", price="1.5")
    assert mapped["event_id"].to_list() == ["10616952645223916907"]


def test_the_id_made_of_a_row_does_not_hang_on_how_the_file_writes_it():
    text = orders(customer=["17850"], pieces=["2"], time=["2024-01-02T03:04:05"])
    numbers = orders(customer=[17850.0], pieces=[2])
    assert (
        map_orders(text, quantity="pieces")["event_id"][0] == map_orders(numbers, quantity="pieces")["event_id"][0]
    )


@pytest.mark.parametrize("name", [name for name in Events.column_names() if name != "event_id"])
def test_every_column_is_part_of_the_id_made_of_a_row(name: str):
    contract: dict[str, ColumnMapping] = {column: column for column in Events.column_names()}
    row = {"user_id": "u", "item_id": "i", "event": "view", "timestamp": TIME, "session_id": "s", "ip": "0"}
    row |= {"value": 1.0, "price": 1.0, "quantity": 1.0, "user_agent": "a"}
    other = TIME.replace(microsecond=1) if name == "timestamp" else 2.0 if isinstance(row[name], float) else "x"
    mapped = map_rows(pl.DataFrame([row, row | {name: other}]), Table("t", "events", "*", contract), Sources())
    assert mapped["event_id"].n_unique() == 2


@pytest.mark.parametrize(
    ("kind", "columns", "problem"),
    [
        (
            "events",
            ORDER | {"colour": "x"},
            "'colour' is not a column of events; expected some of event_id, user_id,",
        ),
        (
            "items",
            {"item_id": "sku", "user_id": "x"},
            "'user_id' is not a column of items; expected some of item_id,",
        ),
        ("events", {"user_id": "a", "item_id": "b", "event": "c"}, "'timestamp' is missing"),
        ("items", {"title": "name"}, "'item_id' is missing"),
        ("users", {"attributes": "name"}, "'user_id' is missing"),
    ],
)
def test_a_table_maps_to_the_contract_and_to_all_of_it_that_is_needed(
    kind: Kind, columns: dict[str, ColumnMapping], problem: str
):
    with pytest.raises(SettingsError) as error:
        check_table(Table("orders", kind, "*", columns))
    assert str(error.value).startswith(f"sources.tables.orders.columns: {problem}")


def test_what_was_done_to_the_rows_is_told():
    columns: dict[str, ColumnMapping] = {**ORDER, "timestamp": "seconds", "price": "price"}
    table = Table("orders", "events", "*", columns, where="sku <> 'fee'")
    rows = orders(
        customer=[" ann", "NA", "ann", "ann"],
        sku=["tea", "tea", "tea", "fee"],
        seconds=[1_512_637_471] * 4,
        price=["1 EUR", "$2", "3", "4"],
    )
    counts = map_source(rows, table, Sources()).counts
    assert counts.messages() == [
        "1 rows are left out by the condition `where`",
        "1 values of user_id were trimmed or rewritten",
        "1 values of user_id mean no id (null_ids)",
        "3 times were read as epoch_s",
        "amounts are in several currencies, and are not converted: 1 in $, 1 in EUR",
    ]
    assert counts.plus(counts).messages()[0].startswith("2 rows")
    nothing = map_source(orders(sku=["tea"]), Table("orders", "events", "*", dict(ORDER)), Sources()).counts
    assert nothing.messages() == []


def test_a_table_with_what_is_needed_is_accepted():
    check_table(Table("orders", "events", "*", dict(ORDER)))
    check_table(Table("articles", "items", "*", {name: name for name in Items.column_names()}))


def test_titles_texts_and_categories_in_html_become_plain_text_and_are_counted():
    rows = pl.DataFrame(
        {
            "sku": ["tea", "mug"],
            "name": ["Green&nbsp;<b>T</b>ea", "Mug < 9 cm"],
            "body": ["<p>Hot</p><p>or cold</p>", "<br>"],
            "category": ["Food &amp; Drink &gt; Tea", "Home"],
        }
    )
    columns: dict[str, ColumnMapping] = {"item_id": "sku", "title": "name", "text": "body", "category": "category"}
    mapped = map_source(rows, Table("articles", "items", "*", columns), Sources())
    assert mapped.rows.select("title", "text", "category").rows() == [
        ("Green Tea", "Hot or cold", ["Food & Drink", "Tea"]),
        ("Mug < 9 cm", None, ["Home"]),
    ]
    assert mapped.counts.markup == {"title": 1, "text": 2, "category": 1}
    assert "2 values of text had HTML, which was removed" in mapped.counts.messages()
