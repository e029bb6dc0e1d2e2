"""Amounts and booleans in the forms of many countries are read, or refused with the setting that reads them."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.ingest.amounts import read_amounts, read_booleans
from jobs.ingest.mapping import check_table, map_source
from jobs.lake.lake import Lake
from recsys.errors import SettingsError
from recsys.settings import Sources, Table
from tests.ingests import EVENT, ingest_files, read_quarantined_rows, write_events


def table(decimal: str = ".", thousands: str = "", **settings: object) -> Table:
    columns = {name: name for name in (*EVENT, "price")}
    return Table("log", "events", "*.csv", columns, decimal=decimal, thousands=thousands, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "amount"),
    [
        ("12.50", ".", "", 12.5),
        ("12,50", ",", "", 12.5),
        ("1.234,50", ",", ".", 1234.5),
        ("1.234.567,5", ",", ".", 1234567.5),
        ("1.234", ",", ".", 1234.0),
        ("1,234.50", ".", ",", 1234.5),
        ("12,34,567.50", ".", ",", 1234567.5),
        ("1 234,50", ",", " ", 1234.5),
        ("1\u00a0234,50", ",", " ", 1234.5),
        ("1\u202f234,50 €", ",", " ", 1234.5),
        ("1'234.50", ".", "'", 1234.5),
        ("1’234.50", ".", "'", 1234.5),
        ("€ 12.50", ".", "", 12.5),
        ("€12.50", ".", "", 12.5),
        ("12,50 EUR", ",", "", 12.5),
        ("USD12.50", ".", "", 12.5),
        ("US$ 12.50", ".", "", 12.5),
        ("12,50\u00a0zł", ",", "", 12.5),
        ("Fr. 12.50", ".", "", 12.5),
        ("12.-", ".", "", 12.0),
        ("(12.50)", ".", "", -12.5),
        ("($12.50)", ".", "", -12.5),
        ("-12.50", ".", "", -12.5),
        ("-€12.50", ".", "", -12.5),
        ("€ -12.50", ".", "", -12.5),
        ("12.50-", ".", "", -12.5),
        ("−12,50 €", ",", "", -12.5),
        (" 12.50 ", ".", "", 12.5),
        (",5", ",", "", 0.5),
        ("12,", ",", "", 12.0),
        ("1e3", ".", "", 1000.0),
        ("  ", ".", "", None),
    ],
)
def test_an_amount_is_read_by_the_separators_of_the_table(
    text: str, decimal: str, thousands: str, amount: float | None
):
    reading = read_amounts(pl.Series([text, None]), table(decimal, thousands))
    assert reading.values.to_list() == [amount, None]
    assert reading.advice is None


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "advice"),
    [
        ("12,50", ".", "", "set decimal = ','"),
        ("12,50 €", ".", "", "set decimal = ','"),
        ("1.234,50", ".", "", "set decimal = ',' and thousands = '.'"),
        ("1,234", ".", "", "set thousands = ',' or decimal = ','"),
        ("1,234.50", ".", "", "set thousands = ','"),
        ("1 234,50", ".", "", "set decimal = ',' and thousands = ' '"),
        ("1 234.50", ".", "", "set thousands = ' '"),
        ("1'234.50", ".", "", 'set thousands = "\'"'),
        ("1.50", ",", "", "set decimal = '.'"),
        ("12.5", ",", ".", "set decimal = '.'"),
        ("cheap", ".", "", ""),
        ("12 pcs", ".", "", ""),
        ("12 XYZ", ".", "", ""),
        ("$ 5 EUR", ".", "", ""),
        ("1.2.3", ".", "", ""),
        ("--5", ".", "", ""),
        ("(5", ".", "", ""),
        ("1-2", ".", "", ""),
        ("EUR", ".", "", ""),
    ],
)
def test_an_amount_that_is_not_read_comes_with_the_setting_that_reads_it(
    text: str, decimal: str, thousands: str, advice: str
):
    reading = read_amounts(pl.Series([text, "7"]), table(decimal, thousands))
    assert reading.values.to_list() == [None, 7.0]
    assert reading.advice is not None
    assert reading.advice.to_list() == [advice, None]


def test_an_unreadable_amount_is_quarantined_as_it_is_written(lake: Lake, tmp_path: Path):
    file = write_events(tmp_path / "events.csv", {"price": "12,50"}, {"price": "12.50"}, {"price": "12,50 €"})
    (count,) = ingest_files(lake, file)
    assert (count.accepted, count.rules) == (1, {"price_is_readable: set decimal = ','": 2})
    assert read_quarantined_rows(lake)["price"].to_list() == ["12,50", "12,50 €"]


def test_the_currencies_of_a_source_are_counted():
    prices = pl.Series(["€ 1", "2 EUR", "$3", "4", None])
    assert read_amounts(prices, table()).counts == {"EUR": 2, "$": 1}
    rows = pl.DataFrame([EVENT | {"price": 1.0, "money": money} for money in ("eur", "EUR ", "USD", "", None)])
    mapped = map_source(rows, table(currency_column="money"), Sources())
    assert mapped.counts.currencies == {"EUR": 2, "USD": 1}


@settings(max_examples=30, deadline=None)
@given(
    st.floats(min_value=0, max_value=1e12),
    st.sampled_from([(".", ","), (",", "."), (",", " "), (".", "'"), (".", ""), (",", "")]),
    st.sampled_from(["", "€", "PLN", "US$", "kr", "Rs."]),
    st.booleans(),
)
def test_an_amount_is_what_was_written(amount: float, separators: tuple[str, str], currency: str, is_before: bool):
    decimal, thousands = separators
    written = f"{amount:,.2f}".translate(str.maketrans({",": thousands, ".": decimal}))
    text = f"{currency} {written}" if is_before else f"{written} {currency}"
    assert read_amounts(pl.Series([text]), table(decimal, thousands)).values.to_list() == [float(f"{amount:.2f}")]


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=12), st.sampled_from([(".", ","), (",", "."), (".", ""), (",", " ")]))
def test_any_text_is_an_amount_or_is_refused(text: str, separators: tuple[str, str]):
    reading = read_amounts(pl.Series([text]), table(*separators))
    assert (
        reading.values[0] is not None or reading.advice is not None or not text.strip("\u200b\ufeff\u00a0 \t\r\n")
    )


def test_the_dictionary_of_a_column_makes_no_difference():
    prices = pl.Series(["12.50", "7"], dtype=pl.Categorical)
    assert read_amounts(prices, table()).values.to_list() == [12.5, 7.0]


@pytest.mark.parametrize(("decimal", "thousands"), [(".", "."), (",", ",")])
def test_one_separator_does_not_stand_for_both(decimal: str, thousands: str):
    with pytest.raises(SettingsError, match=r"sources\.tables\.log\.thousands = '.': expected another separator"):
        check_table(table(decimal, thousands))


@pytest.mark.parametrize(
    ("texts", "value"),
    [
        (["true", "TRUE", "t", "1", "1.0", "yes", "Y", "in stock", "In_Stock"], True),
        (["https://schema.org/InStock", " true "], True),
        (["false", "False", "f", "0", "0.0", "NO", "n", "out of stock", "OutOfStock", "out-of-stock"], False),
        (["", " ", None], None),
    ],
)
def test_booleans_are_read_in_any_case(texts: list[str | None], value: bool | None):
    reading = read_booleans(pl.Series(texts))
    assert reading.values.to_list() == [value] * len(texts)
    assert reading.advice is None


@pytest.mark.parametrize("values", [["7", "-1", "maybe", "true"], [7, -1]])
def test_what_is_no_boolean_is_refused(values: list[str] | list[int]):
    reading = read_booleans(pl.Series(values))
    assert reading.values.to_list() == [None, None, None, True][: len(values)]
    assert reading.advice is not None
    assert reading.advice.to_list()[:2] == ["map it as COLUMN > 0"] * 2


def test_an_item_whose_availability_cannot_be_read_is_quarantined(lake: Lake, tmp_path: Path):
    (tmp_path / "items.csv").write_text("item_id,available\na,yes\nb,out of stock\nc,perhaps\nd,\n")
    (count,) = ingest_files(lake, tmp_path / "items.csv")
    assert (count.accepted, count.rules) == (3, {"available_is_readable": 1})
    items = lake.items().lazy().collect().sort("item_id")
    assert items["available"].to_list() == [True, False, None]
    assert read_quarantined_rows(lake)["available"].to_list() == ["perhaps"]
