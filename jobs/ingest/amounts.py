"""Read amounts and booleans that are written as text."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from jobs.ingest.column_readings import ColumnReading, as_text
from recsys.errors import SettingsError
from recsys.settings import Table

SPACES = "\u00a0\u2007\u2009\u202f\u3000 \t"  # spaces inside and around amounts
CURRENCY_CODES: Final = (
    "AED|AFN|ALL|AMD|ANG|AOA|ARS|AUD|AWG|AZN|BAM|BBD|BDT|BGN|BHD|BIF|BMD|BND|BOB|BRL|BSD|BTN|BWP|BYN|BZD|CAD|"
    "CDF|CHF|CLP|CNY|COP|CRC|CUP|CVE|CZK|DJF|DKK|DOP|DZD|EGP|ERN|ETB|EUR|FJD|FKP|GBP|GEL|GHS|GIP|GMD|GNF|GTQ|"
    "GYD|HKD|HNL|HRK|HTG|HUF|IDR|ILS|INR|IQD|IRR|ISK|JMD|JOD|JPY|KES|KGS|KHR|KMF|KPW|KRW|KWD|KYD|KZT|LAK|LBP|"
    "LKR|LRD|LSL|LYD|MAD|MDL|MGA|MKD|MMK|MNT|MOP|MRU|MUR|MVR|MWK|MXN|MYR|MZN|NAD|NGN|NIO|NOK|NPR|NZD|OMR|PAB|"
    "PEN|PGK|PHP|PKR|PLN|PYG|QAR|RON|RSD|RUB|RWF|SAR|SBD|SCR|SDG|SEK|SGD|SHP|SLE|SOS|SRD|SSP|STN|SVC|SYP|SZL|"
    "THB|TJS|TMT|TND|TOP|TRY|TTD|TWD|TZS|UAH|UGX|USD|UYU|UZS|VES|VND|VUV|WST|XAF|XCD|XCG|XOF|XPF|YER|ZAR|ZMW|"
    "ZWG"
)
CURRENCY_SYMBOLS: Final = {
    "€": "EUR", "£": "GBP", "₹": "INR", "₽": "RUB", "₺": "TRY", "₩": "KRW", "₪": "ILS", "₫": "VND", "₴": "UAH",
    "฿": "THB", "zł": "PLN", "Kč": "CZK", "Ft": "HUF", "lei": "RON", "лв": "BGN", "руб": "RUB", "R$": "BRL",
    "US$": "USD", "C$": "CAD", "A$": "AUD", "HK$": "HKD", "NZ$": "NZD", "Fr": "CHF", "SFr": "CHF",
}  # fmt: skip
CURRENCY = rf"(?:{CURRENCY_CODES}|(?i:zł|Kč|Ft|lei|лв|руб|kr|Rs|SFr|Fr)\.?|(?:US|HK|NZ|[RCA])?\p{{Sc}})"
MONEY = (  # an amount without spaces
    rf"^(?P<sign>[-+−(]*)(?P<before>{CURRENCY})?(?P<inner>[-+−]?)(?P<number>[\d.,'’]+)"
    rf"(?P<after>{CURRENCY})?(?P<end>[-−)]*)$"
)
TRUE = ("true", "t", "yes", "y", "1", "instock", "available")
FALSE = ("false", "f", "no", "n", "0", "outofstock", "soldout", "unavailable")
# Shape of an amount that other settings would read -> those settings.
ADVICE: Final[Mapping[str, str]] = {
    r"^\d{1,3}(\.\d{2,3})*\.\d{3},\d+$": "set decimal = ',' and thousands = '.'",
    r"^\d{1,3}(\.\d{3}){2,}$": "set decimal = ',' and thousands = '.'",
    r"^\d{1,3}(,\d{2,3})*,\d{3}\.\d+$": "set thousands = ','",
    r"^\d{1,3}(,\d{3}){2,}$": "set thousands = ','",
    r"^\d{1,3},\d{3}$": "set thousands = ',' or decimal = ','",
    r"^\d+,\d*$": "set decimal = ','",
    r"^\d+\.\d*$": "set decimal = '.'",
    r"^\d{1,3}( \d{3})+,\d+$": "set decimal = ',' and thousands = ' '",
    r"^\d{1,3}( \d{3})+(\.\d+)?$": "set thousands = ' '",
    r"^\d{1,3}('\d{3})+,\d+$": "set decimal = ',' and thousands = \"'\"",
    r"^\d{1,3}('\d{3})+(\.\d+)?$": 'set thousands = "\'"',
}


def check_separators(table: Table) -> None:
    """Raise `SettingsError` when amounts have one separator for decimals and for thousands."""
    if table.decimal == table.thousands:
        raise SettingsError(
            f"sources.tables.{table.name}.thousands = {table.thousands!r}: expected another separator than decimal"
        )


def read_amounts(values: pl.Series, table: Table) -> ColumnReading:
    """Return a column of amounts as floats, and the number of amounts by the currency written with them.

    Text is read by the separators of the table, in parentheses as negative, with any currency before or after it.
    """
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        return ColumnReading(values.cast(pl.Float64, strict=False))
    if table.decimal == "." and table.thousands != ".":
        plain = values.cast(pl.Float64, strict=False)  # most files need no more
        if plain.null_count() == values.null_count():
            return ColumnReading(plain)
    else:
        plain = pl.Series("plain", [None], dtype=pl.Float64).new_from_index(0, len(values))
    rest = plain.is_null() & values.is_not_null()
    parts = _parts(values.filter(rest))
    texts = parts.select(_amount(table).alias("amount"), "number", "currency", "is_empty")
    unreadable = texts.select(pl.col("amount").is_null() & ~pl.col("is_empty")).to_series()
    currencies = texts.filter(pl.col("amount").is_not_null() & pl.col("currency").is_not_null())["currency"]
    counts = dict(currencies.value_counts(sort=True).sort("currency").iter_rows())
    positions = rest.arg_true()
    amounts = plain.scatter(positions, texts["amount"])
    if not unreadable.any():
        return ColumnReading(amounts, None, counts)
    advice = texts.select(pl.when(unreadable).then(_advice(pl.col("number")))).to_series()
    empty = pl.Series("advice", [None], dtype=pl.String).new_from_index(0, len(values))
    return ColumnReading(amounts, empty.scatter(positions, advice), counts)


def read_booleans(values: pl.Series) -> ColumnReading:
    """Return a column of booleans, from text such as yes, N, 1 or OutOfStock, or from the numbers 0 and 1."""
    if values.dtype in (pl.Boolean, pl.Null):
        return ColumnReading(values.cast(pl.Boolean))
    rows = values.alias("text").to_frame().with_columns(as_text(pl.col("text"), values.dtype))
    word = pl.col("text").str.to_lowercase().str.replace(r"^\s*https?://schema\.org/|\.0+\s*$", "")
    word = word.str.replace_all(r"[\s_-]", "")
    is_number = pl.col("text").str.contains(r"^\s*[+-]?\d+(\.\d+)?\s*$")
    read = rows.select(
        pl.when(word.is_in(TRUE) & ~_negative()).then(True).when(word.is_in(FALSE)).then(False).alias("value"),
        (word.is_not_null() & (word != "")).alias("is_given"),
        pl.when(is_number).then(pl.lit("map it as COLUMN > 0")).otherwise(pl.lit("")).alias("advice"),
    )
    unreadable = read["value"].is_null() & read["is_given"]
    if not unreadable.any():
        return ColumnReading(read["value"])
    return ColumnReading(read["value"], read.select(pl.when(unreadable).then("advice")).to_series())


def _negative() -> pl.Expr:
    return pl.col("text").str.contains(r"^\s*-")


def _parts(texts: pl.Series) -> pl.DataFrame:
    """Return the number of each text without spaces around it, its sign, and its currency."""
    text = pl.col("text").str.strip_chars(SPACES + "\r\n\ufeff\u200b")
    text = text.str.replace(r"(\d)[.,][-–—]{1,2}$", "${1}")  # 12.– is a whole amount
    groups = text.str.replace_all(rf"[{SPACES}]", "").str.extract_groups(MONEY)
    spaced = (
        text.str.replace_all(rf"[{SPACES}]+", " ")
        .str.replace_all(CURRENCY, "")
        .str.strip_chars(" -+−()")
        .str.replace_all("’", "'", literal=True)
    )
    rows = pl.DataFrame({"text": texts}).select(
        groups.alias("groups"), spaced.alias("number"), (text == "").alias("is_empty")
    )
    field = pl.col("groups").struct.field
    currency = pl.coalesce(field("before"), field("after")).str.strip_suffix(".")
    signs = pl.concat_str(field("sign"), field("inner"), field("end"))
    single = ~(field("before").is_not_null() & field("after").is_not_null())
    return rows.select(
        pl.when(single & signs.is_in(["", "+", "-", "−", "()"])).then("number").alias("whole"),
        "number",
        "is_empty",
        pl.when(signs.is_in(["-", "−", "()"])).then(-1.0).otherwise(1.0).alias("sign"),
        currency.replace(CURRENCY_SYMBOLS).alias("currency"),
    )


def _amount(table: Table) -> pl.Expr:
    """Return the amounts of numbers that keep to the separators of the table."""
    point, comma = f"[{table.decimal}]", f"[{table.thousands}]" if table.thousands else ""
    grouped = rf"|\d{{1,3}}(?:{comma}\d{{2,3}})*{comma}\d{{3}}" if comma else ""
    pattern = rf"^(?:(?:\d+{grouped})(?:{point}\d*)?|{point}\d+)$"
    plain = pl.col("whole").str.replace_all(comma, "") if comma else pl.col("whole")
    number = plain.str.replace(table.decimal, ".", literal=True).cast(pl.Float64, strict=False)
    return pl.when(pl.col("whole").str.contains(pattern)).then(number * pl.col("sign"))


def _advice(number: pl.Expr) -> pl.Expr:
    """Return the settings that would read a number, as text; empty if there are none."""
    return pl.coalesce(
        *(pl.when(number.str.contains(shape)).then(pl.lit(advice)) for shape, advice in ADVICE.items()), pl.lit("")
    )
