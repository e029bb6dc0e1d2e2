"""Queries of real databases: SQLite, PostgreSQL, MariaDB."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.ingest.ingest import ingest
from jobs.ingest.queries import read_query, resolve_connection
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.settings import ColumnMapping, Kind, Sources, Table
from tests.commands import run_recsys
from tests.database_servers import PASSWORD, QUOTED_PASSWORD, DatabaseServer
from tests.ingests import LATEST, hash_lake
from tests.queries import CONTRACT, create_table, query_sources, read_rows


def test_the_rows_of_a_query_are_events(database: DatabaseServer, lake: Lake):
    name = create_table(
        database,
        "id INTEGER, customer VARCHAR(20), sku DECIMAL(12), status VARCHAR(10), created TIMESTAMP NULL, "
        "total DECIMAL(10, 2), pieces INTEGER",
        "1, '007', 42, 'sold', '2024-05-01 10:00:00', 12.50, 2",
        "2, 'ann', 100000000001, 'view', '2024-05-01 10:00:00', NULL, NULL",
        "3, 'a b', 42, 'sold', '2024-05-01 10:00:00', 3, 1",
        "4, 'ann', 42, 'sold', NULL, 3, 1",
    )
    columns: dict[str, ColumnMapping] = {
        "event_id": "id",
        "user_id": "customer",
        "item_id": "sku",
        "event": "status",
        "timestamp": "created",
        "price": "total / pieces",
    }
    query = f"SELECT * FROM {name} WHERE id < 10; "
    table = Table(
        *("orders", "events", "", columns, {"sold": "purchase"}, "Europe/Berlin"),
        query=query,
        connection=database.uri,
    )
    (count,) = ingest((), Sources(tables=(table,)), lake, LATEST)
    assert (count.rows, count.accepted, count.quarantined) == (4, 2, 2)
    assert count.rules == {"user_id_is_an_id": 1, "timestamp_is_readable": 1}
    assert PASSWORD not in count.file
    assert QUOTED_PASSWORD not in count.file
    first, second = lake.events().collect().sort("event_id").rows(named=True)
    eight = datetime(2024, 5, 1, 8, tzinfo=UTC)
    assert (first["user_id"], first["item_id"], first["event"]) == ("007", "42", "purchase")
    assert (first["timestamp"], first["price"]) == (eight, 6.25)
    assert (second["user_id"], second["item_id"], second["price"]) == ("ann", "100000000001", None)


def test_the_same_query_again_changes_no_byte_of_the_lake(database: DatabaseServer, lake: Lake):
    name = create_table(
        database, "user_id VARCHAR(9), item_id VARCHAR(9)", "'ann', 'tea'", "'bob', 'tea'", "'b b', 'tea'"
    )
    query = f"SELECT user_id, item_id, 'view' AS event, '2024-05-01' AS timestamp FROM {name} ORDER BY user_id"
    columns = {name: value for name, value in CONTRACT.items() if name not in ("event_id", "price")}
    (first,) = ingest((), query_sources(database, query, columns), lake, LATEST)
    before = hash_lake(lake)
    (second,) = ingest((), query_sources(database, query, columns), lake, LATEST)
    assert hash_lake(lake) == before
    assert (first.accepted, first.duplicates, second.accepted, second.duplicates) == (2, 0, 0, 2)


@pytest.mark.parametrize(("kind", "column"), [("items", "item_id"), ("users", "user_id")])
def test_items_and_users_come_from_queries_too(database: DatabaseServer, lake: Lake, kind: Kind, column: str):
    name = create_table(database, "code VARCHAR(9)", "'x1'", "'x2'")
    table = Table("t", kind, columns={column: "code"}, query=f"SELECT * FROM {name}", connection=database.uri)
    (count,) = ingest((), Sources(tables=(table,)), lake, LATEST)
    assert (count.kind, count.accepted) == (kind, 2)


WRONG_QUERIES = {
    "no SQL": "SELEC 1",
    "a column that is not there": "SELECT nope FROM (SELECT 1 AS a) AS t",
    "a table that is not there": "SELECT * FROM nope",
    "a change": "DELETE FROM kept",
    "two queries": "SELECT 1 AS a; SELECT 2 AS a",
    "a column of the contract that is missing": "SELECT 1 AS user_id",
}


def test_a_wrong_query_is_one_line_and_leaves_the_lake_as_it_was(database: DatabaseServer, lake: Lake):
    name = create_table(database, "a INTEGER", "1", "2")
    good = f"SELECT a AS user_id, a AS item_id, 'view' AS event, '2024-05-01' AS timestamp FROM {name}"
    columns: dict[str, ColumnMapping] = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
    ingest((), query_sources(database, good, columns), lake, LATEST)
    before = hash_lake(lake)
    for problem, query in WRONG_QUERIES.items():
        with pytest.raises(SourceError) as error:
            ingest((), query_sources(database, query.replace("kept", name), columns), lake, LATEST)
        assert str(error.value).startswith("table 'orders' on connection 'shop': "), problem
        assert "\n" not in str(error.value), problem
        assert PASSWORD not in str(error.value), problem
        assert hash_lake(lake) == before, problem
    (count,) = ingest((), query_sources(database, good, columns), lake, LATEST)
    assert count.rows == 2


WRONG_SERVERS: dict[str, tuple[Callable[[DatabaseServer], str], str]] = {
    "password": (lambda server: server.uri.replace(QUOTED_PASSWORD, "wr0ng-s3cret"), "shop"),
    "port": (lambda server: server.uri.replace(f":{server.port}/", ":1/"), "Connection refused"),
    "host": (lambda server: server.uri.replace("127.0.0.1", "nowhere.invalid"), "not known|name resolution"),
    "database": (lambda server: server.uri.replace("/shop", "/nothing"), "nothing"),
}


@pytest.mark.parametrize("fixture", ["postgresql", "mariadb"])
@pytest.mark.parametrize(("wrong", "reason"), WRONG_SERVERS.values(), ids=WRONG_SERVERS)
def test_a_database_that_cannot_be_reached_is_reported_in_one_line(
    request: pytest.FixtureRequest,
    lake: Lake,
    fixture: str,
    wrong: Callable[[DatabaseServer], str],
    reason: str,
):
    server: DatabaseServer = request.getfixturevalue(fixture)
    started = time.monotonic()
    with pytest.raises(SourceError, match=f"^table 'orders' on connection 'shop': .*({reason})") as error:
        ingest((), query_sources(replace(server, uri=wrong(server)), "SELECT 1"), lake, LATEST)
    assert time.monotonic() - started < 20
    assert "\n" not in str(error.value)
    assert not any(secret in str(error.value) for secret in ("wr0ng-s3cret", PASSWORD, QUOTED_PASSWORD))


def test_the_command_ends_with_status_2_and_one_line_on_a_connection_of_the_environment(tmp_path: Path):
    (tmp_path / "recsys.toml").write_text(
        '[[sources.tables]]\nname = "orders"\nkind = "events"\nquery = "SELECT 1"\nconnection = "shop"\n'
        '[sources.tables.columns]\nuser_id = "a"\nitem_id = "a"\nevent = "a"\ntimestamp = "a"\n'
    )
    uri = "mysql://shop:s3cret@127.0.0.1:1/shop"
    ended = run_recsys(tmp_path, tmp_path / "var", "ingest", RECSYS_SOURCES_CONNECTIONS_SHOP=uri)
    assert (ended.returncode, ended.stdout) == (2, "")
    reason = "cannot be reached: [Errno 111] Connection refused"
    assert ended.stderr == f"recsys: table 'orders' on connection 'shop': {reason}\n"


def test_a_sqlite_file_that_is_not_there_is_not_made(tmp_path: Path, lake: Lake):
    missing = DatabaseServer(f"sqlite:///{tmp_path}/missing.db", 0, print)
    with pytest.raises(SourceError, match=r"no file is at .*missing\.db; an absolute path is written as in "):
        ingest((), query_sources(missing, "SELECT 1"), lake, LATEST)
    assert not (tmp_path / "missing.db").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "postgresql://shop:p@ss-word@127.0.0.1/shop",
        "postgresql://shop:p/ass-word@127.0.0.1/shop",
        "postgresql://shop:x@127.0.0.1:ss-word/shop",
        "oracle://shop:ss-word@127.0.0.1/shop",
        "ss-word",
        "sqlite://ss-word.db",
    ],
)
def test_an_invalid_uri_is_reported_without_its_secrets(uri: str):
    sources = query_sources(DatabaseServer(uri, 0, print), "SELECT 1")
    with pytest.raises(SettingsError, match=r"^sources\.connections\.shop: ") as error:
        resolve_connection(sources.tables[0], sources)
    assert "ss-word" not in str(error.value)


def test_a_connection_that_is_not_named_is_reported_with_those_that_are():
    sources = Sources(
        tables=(Table("orders", "events", query="SELECT 1", connection="shpo"),),
        connections={"shop": "sqlite:///shop.db"},
    )
    with pytest.raises(SettingsError, match=r"connection = 'shpo': expected a name of .* \(there: shop\) or a URI"):
        resolve_connection(sources.tables[0], sources)


def test_a_connection_that_is_lost_while_postgresql_sends_leaves_the_lake_as_it_was(
    postgresql: DatabaseServer, lake: Lake
):
    query = (
        "SELECT 'u' || n AS user_id, 'tea' AS item_id, 'view' AS event, now() - interval '1 year' AS timestamp, "
        "'lost' AS mark FROM generate_series(1, 1000000) AS n"
    )
    columns = {name: name for name in ("user_id", "item_id", "event", "timestamp")}

    cuts: list[int] = []

    def cut(rows: int) -> None:
        cuts.append(rows)
        if len(cuts) == 2:
            postgresql.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE '%''lost'' AS mark%' AND pid <> pg_backend_pid()"
            )

    with pytest.raises(
        SourceError, match=r"^table 'orders' on connection 'shop': .*closed the connection"
    ) as error:
        ingest((), replace(query_sources(postgresql, query, {**columns}), chunk_rows=20_000), lake, LATEST, cut)
    assert "\n" not in str(error.value)
    assert hash_lake(lake) == {}


def test_a_connection_that_is_lost_while_mariadb_sends_leaves_the_lake_as_it_was(
    mariadb: DatabaseServer, lake: Lake
):
    query = (
        "SELECT CONCAT('u', seq) AS user_id, 'tea' AS item_id, 'view' AS event, '2024-05-01' AS timestamp, "
        "SLEEP(0.001) AS lost FROM seq_1_to_1000000"
    )
    columns = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
    kill = (
        "BEGIN NOT ATOMIC FOR session IN (SELECT id "
        "FROM information_schema.processlist WHERE info LIKE '%AS lost%' "
        "AND info NOT LIKE '%LIMIT 0%' AND id <> CONNECTION_ID()) DO KILL session.id; END FOR; END"
    )
    stop = threading.Event()

    def cut() -> None:
        while not stop.wait(0.5):
            mariadb.run(f"DELIMITER //\n{kill}\n//\n")

    killer = threading.Thread(target=cut)
    killer.start()
    try:
        with pytest.raises(SourceError, match=r"^table 'orders' on connection 'shop': ") as error:
            ingest((), query_sources(mariadb, query, {**columns}), lake, LATEST)
    finally:
        stop.set()
        killer.join()
    assert "\n" not in str(error.value)
    assert "\\n" not in str(error.value)
    assert hash_lake(lake) == {}


def test_a_password_is_in_no_file_and_no_output_of_a_nightly_run(
    postgresql: DatabaseServer, tmp_path: Path, data_directory: Path
):
    name = create_table(postgresql, "user_id TEXT, item_id TEXT, at TIMESTAMPTZ")
    postgresql.run(
        f"INSERT INTO {name} SELECT 'u' || n % 30, 'i' || n * 7 % 11, "
        "timestamptz '2024-01-01' + n * interval '1 hour' FROM generate_series(1, 2000) AS n"
    )
    (tmp_path / "recsys.toml").write_text(
        'repeat = "allow"\nmodels = ["popularity"]\n[search]\nmax_trials = 0\n'
        "[evaluation]\nvalidation_days = 14\ntest_days = 14\n"
        f'[[sources.tables]]\nname = "orders"\nkind = "events"\nquery = "SELECT * FROM {name}"\n'
        f'connection = "{postgresql.uri}"\n'
        '[sources.tables.columns]\nuser_id = "user_id"\nitem_id = "item_id"\nevent = "\'purchase\'"\n'
        'timestamp = "at"\n'
    )
    printed = ""
    for command in (("nightly", "--as-of", "2024-03-24", "--json"), ("status", "--json")):
        ended = run_recsys(tmp_path, data_directory, *command)
        assert ended.returncode == 0, ended.stderr
        printed += ended.stdout + ended.stderr
    manifest = (data_directory / "runs" / "20240324T000000Z" / "manifest.json").read_text()
    assert json.loads(manifest)["settings"]["sources"]["tables"][0]["connection"] == (
        f"postgresql://127.0.0.1:{postgresql.port}/shop"
    )
    written = b"".join(file.read_bytes() for file in data_directory.rglob("*.*") if file.is_file())
    assert QUOTED_PASSWORD.encode() not in written
    assert QUOTED_PASSWORD not in printed
    assert PASSWORD not in printed


COUNT_ROWS = {
    "sqlite": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {}) "
    "SELECT n, 'user-' || n AS u, 'a text of some length' AS t FROM t",
    "postgresql": "SELECT n, 'user-' || n AS u, 'a text of some length' AS t FROM generate_series(1, {}) AS n",
    "mariadb": "SELECT seq AS n, CONCAT('user-', seq) AS u, 'a text of some length' AS t FROM seq_1_to_{}",
}


@pytest.mark.parametrize("fixture", COUNT_ROWS)
def test_rows_are_never_all_in_memory(request: pytest.FixtureRequest, tmp_path: Path, fixture: str):
    server: DatabaseServer = request.getfixturevalue(fixture)
    rows, row_bytes = 2_000_000, 60
    sources = query_sources(server, COUNT_ROWS[fixture].format(rows))
    (table,) = sources.tables
    read_rows(server, COUNT_ROWS[fixture].format(1000), tmp_path)
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    seen = 0
    for chunk in read_query(table, resolve_connection(table, sources), 50_000, None, tmp_path):
        seen += chunk.rows.height
    assert seen == rows
    assert memory("VmHWM") - before < rows * row_bytes


def memory(which: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) * 1024
