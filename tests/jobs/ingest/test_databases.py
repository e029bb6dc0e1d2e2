"""SQL around the queries of real databases, and the types of their columns as the mapping gets them."""

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.queries import read_query, resolve_connection
from jobs.ingest.watermark import Watermark
from recsys.errors import SourceError
from recsys.settings import Sources, Table
from tests.database_servers import DatabaseServer
from tests.queries import CONTRACT, create_table, read_rows

QUERIES = {
    "a semicolon at its end": "SELECT 1 AS n ; ",
    "a comment at its end": "SELECT 1 AS n -- the first (of all; FROM here",
    "comments inside": "/* SELECT 0, */ SELECT -- WHERE\n /* n, ) */ 1 AS n",
    "a common table expression": "WITH t AS (SELECT 1 AS n) SELECT n FROM t",
    "the name of the subquery": "WITH source_rows AS (SELECT 1 AS n) SELECT n FROM source_rows",
    "an order and a limit": "SELECT n FROM (SELECT 1 AS n UNION ALL SELECT 2 AS n) AS t ORDER BY n LIMIT 1",
    "text like the SQL around it": "SELECT 1 AS n, 'SELECT 0, {} {0} %s ? $1 :n ) AS source_rows WHERE' AS text",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_query_is_read_as_it_was_written(database: DatabaseServer, tmp_path: Path, query: str):
    frame = read_rows(database, query, tmp_path)
    assert frame["n"].to_list() == [1]
    if "text" in frame.columns:
        assert frame["text"].to_list() == ["SELECT 0, {} {0} %s ? $1 :n ) AS source_rows WHERE"]


@pytest.mark.parametrize("end", [";", " -- WHERE n < 3", " ORDER BY n; "])
def test_a_watermark_is_a_condition_on_the_whole_query(database: DatabaseServer, tmp_path: Path, end: str):
    name = create_table(
        database, "n INTEGER, note VARCHAR(20)", *(f"{n}, 'SELECT {n}'" for n in ("1", "2", "3", "NULL"))
    )
    query = f"SELECT n, note FROM {name} WHERE n IS NULL OR n > 0{end}"
    table = Table("orders", "events", columns=CONTRACT, query=query, connection=database.uri, watermark="n")
    connection = resolve_connection(table, Sources(tables=(table,)))
    chunks = list(read_query(table, connection, 100, Watermark("number", Decimal(2)), tmp_path))
    numbers = pl.concat([chunk.rows for chunk in chunks])["n"].to_list()
    assert sorted(numbers, key=str) == [2, 3, None]


@pytest.mark.parametrize("name", ["SELECT 0, n", 'a "quoted" {name}', "back`tick", "n) AS source_rows"])
def test_a_column_may_have_any_name(database: DatabaseServer, tmp_path: Path, name: str):
    mark = "`" if database.uri.startswith("mysql") else '"'
    quoted = mark + name.replace(mark, mark * 2) + mark
    assert read_rows(database, f"SELECT 7 AS {quoted}, 'x' AS other", tmp_path)[name].to_list() == [7]


def test_types_of_postgresql(postgresql: DatabaseServer, tmp_path: Path):
    query = """
        SELECT 7::smallint AS small, 9007199254740993::bigint AS big, 12.50::numeric(10, 2) AS amount,
            12345678901234567890::numeric AS long, sum(n::numeric) / 3 AS third, 'NaN'::numeric AS nan,
            '123e4567-e89b-12d3-a456-426614174000'::uuid AS id, '10.0.0.1'::inet AS ip, '3.5'::money AS money,
            timestamp '2024-05-01 10:00' AS local, timestamptz '2024-05-01 10:00+02' AS moment, true AS yes,
            date '2024-05-01' AS day, '{"a": 1}'::jsonb AS facts, ARRAY['food', 'tea'] AS path,
            ARRAY[1.5::numeric] AS numbers, interval '1 day' AS span, NULL AS nothing, '007' AS zeros
        FROM generate_series(1, 4) AS n -- and a comment"""
    (row,) = read_rows(postgresql, query, tmp_path).rows(named=True)
    shown = {name: str(value) for name, value in row.items()}
    assert shown == {
        "small": "7",
        "big": "9007199254740993",
        "amount": "12.50",
        "long": "12345678901234567890.0000000000",
        "third": "3.3333333333",
        "nan": "None",
        "id": "123e4567-e89b-12d3-a456-426614174000",
        "ip": "10.0.0.1",
        "money": "3.5000000000",
        "local": "2024-05-01 10:00:00",
        "moment": "2024-05-01 08:00:00+00:00",
        "yes": "True",
        "day": "2024-05-01",
        "facts": '{"a": 1}',
        "path": "['food', 'tea']",
        "numbers": "['1.5']",
        "span": "1 day",
        "nothing": "None",
        "zeros": "007",
    }


def test_a_number_too_long_for_a_decimal_is_reported(postgresql: DatabaseServer, tmp_path: Path):
    with pytest.raises(SourceError, match=r"column 'n' has 1(0{30}): cast it to text or to a float in the query"):
        read_rows(postgresql, "SELECT 1e30::numeric AS n", tmp_path)


def test_types_of_mariadb(mariadb: DatabaseServer, tmp_path: Path):
    name = create_table(
        mariadb,
        "big BIGINT UNSIGNED, amount DECIMAL(10,2), long_number DECIMAL(30,5), created DATETIME(6), yes BOOLEAN, "
        "zeros VARCHAR(9), status ENUM('view','sold'), facts JSON, day DATE, text_of TEXT, empty INT",
        "18446744073709551615, 12.50, 12345678901234567890, '2024-05-01 10:00:00.123456', TRUE, '007', 'sold', "
        "'{\"a\": 1}', '2024-05-01', 'tea', NULL",
    )
    (row,) = read_rows(mariadb, f"SELECT *, amount / 3 AS third FROM {name}", tmp_path).rows(named=True)
    assert {name: str(value) for name, value in row.items()} == {
        "big": "18446744073709551615",
        "amount": "12.5000000000",
        "long_number": "12345678901234567890.0000000000",
        "created": "2024-05-01 10:00:00.123456",
        "yes": "1",
        "zeros": "007",
        "status": "sold",
        "facts": '{"a": 1}',
        "day": "2024-05-01",
        "text_of": "tea",
        "empty": "None",
        "third": "4.1666670000",
    }


def test_a_column_of_mariadb_that_is_only_null_is_reported(mariadb: DatabaseServer, tmp_path: Path):
    with pytest.raises(SourceError, match=r"NULL without a type; give it one, as in CAST\(NULL AS CHAR\)"):
        read_rows(mariadb, f"SELECT NULL AS nothing, a FROM {create_table(mariadb, 'a INT', '1')}", tmp_path)


def test_types_of_sqlite_are_those_of_all_rows(sqlite: DatabaseServer, tmp_path: Path):
    sqlite.run("CREATE TABLE t (id, code TEXT, price NUMERIC, late TEXT, number INTEGER, empty, flag BOOLEAN)")
    rows = [
        f"({n if n < 60_000 else repr(f'x{n}')}, '{n:06d}', {n if n < 60_000 else 2.5}, "
        f"{'NULL' if n < 60_000 else repr('late')}, {n}, NULL, {n % 2})"
        for n in range(60_010)
    ]
    sqlite.run(f"INSERT INTO t VALUES {', '.join(rows)}")
    frame = read_rows(sqlite, "SELECT * FROM t", tmp_path, chunk_rows=25_000)
    assert frame.schema == pl.Schema(
        {
            "id": pl.String,
            "code": pl.String,
            "price": pl.Float64,
            "late": pl.String,
            "number": pl.Int64,
            "empty": pl.Null,
            "flag": pl.Int64,
        }
    )
    assert frame.height == 60_010
    assert frame.row(0) == ("0", "000000", 0.0, None, 0, None, 0)
    assert frame.row(-1) == ("x60009", "060009", 2.5, "late", 60009, None, 1)
