"""`recsys check` tells, in a line for each, whether sources, samples of tables, databases and Redis are usable."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from jobs.checks.sources import SAMPLE_ROWS
from recsys.store.embedded import start_server, stop_server
from tests.database_servers import DatabaseServer
from tests.ingests import write_events
from tests.source_files import write_file

Recsys = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A server that the tests reconfigure."""
    directory = tmp_path_factory.mktemp("own") / "valkey"
    address = start_server(directory)
    with redis.Redis(host=address.host, port=address.port) as client:
        yield client
    stop_server(directory)


@pytest.fixture
def server(own_server: redis.Redis) -> Iterator[redis.Redis]:
    """The server without a limit of memory, and without users."""
    yield own_server
    own_server.config_set("maxmemory", 0)
    own_server.config_set("maxmemory-policy", "noeviction")
    own_server.acl_deluser("job")
    assert own_server.dbsize() == 0


def url(server: redis.Redis, user: str = "") -> str:
    options = server.connection_pool.connection_kwargs
    return f"redis://{user}{options['host']}:{options['port']}"


def run_check(recsys: Recsys, *arguments: str | Path, **environment: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the exit status, and the state and message of each check by its name."""
    ended = recsys("check", *arguments, "--json", **environment)
    found = json.loads(ended.stdout)
    assert found["failed"] == (ended.returncode == 2)
    return ended.returncode, {check["name"]: (check["state"], check["message"]) for check in found["checks"]}


def test_a_sample_of_each_table_is_read_and_no_server_is_started(
    recsys: Recsys, data_directory: Path, tmp_path: Path
) -> None:
    rows = [{"item_id": "a b"}, *({},) * (SAMPLE_ROWS - 1), *({"item_id": "c d"},) * 50]
    write_events(tmp_path / "events.csv", *rows)
    ended = recsys("check", tmp_path)
    assert ended.returncode == 0, ended.stdout
    lines = ended.stdout.splitlines()
    assert [line[:8].strip() for line in lines] == ["ok", "ok", "warning", "ok"]
    assert "1 of the first 10,000 rows" in lines[2]
    assert "break rules: item_id_is_an_id (1)" in lines[2]
    assert lines[3].endswith("none is started now")
    assert not (data_directory / "valkey").exists()
    assert not list(data_directory.glob("lake/*"))


def test_what_would_stop_an_ingest_fails(recsys: Recsys, tmp_path: Path) -> None:
    write_events(tmp_path / "events.csv", {"item_id": "a b"}, {"item_id": "c d"})
    write_file(tmp_path / "items.csv", "sku\ntea\n")
    write_file(tmp_path / "prices.csv", "sku\ntea\n")
    status, checks = run_check(
        recsys, *(tmp_path / name for name in ("events.csv", "items.csv", "prices.csv", "nothing.csv"))
    )
    assert status == 2
    expected = {
        f"source {tmp_path}/prices.csv": "a file of this name; expected one like events*, items*, users*",
        f"source {tmp_path}/nothing.csv": "file found",
        "table events": "item_id_is_an_id (2); `recsys ingest --dry-run` shows such rows; mend the mapping",
        "table items": "column 'item_id' of table 'items' is missing; the file has sku",
    }
    for name, message in expected.items():
        assert checks[name][0] == "failed", name
        assert checks[name][1].endswith(message), checks[name]
    assert {name for name, (state, _) in checks.items() if state == "failed"} == set(expected)


def test_queries_are_checked_by_their_first_rows(recsys: Recsys, sqlite: DatabaseServer, tmp_path: Path) -> None:
    sqlite.run("CREATE TABLE sales (customer TEXT, sku TEXT, sold TEXT)")
    sqlite.run("INSERT INTO sales VALUES ('ann', 'tea', '2024-05-01T10:00:00')")
    table = '[[sources.tables]]\nname = "{}"\nkind = "events"\nconnection = "{}"\nquery = "{}"\n'
    mapping = 'columns = { user_id = "customer", item_id = "sku", event = "\'purchase\'", timestamp = "sold" }\n'
    tables = [
        ("sales", "shop", "SELECT * FROM sales -- all;"),
        ("wrong", "shop", "SELECT * FROM orders;"),
        ("away", "gone", "SELECT 1"),
        ("unset", "nowhere", "SELECT 1"),
    ]
    settings = tmp_path / "recsys.toml"
    connections = (
        f'[sources.connections]\nshop = "{sqlite.uri}"\ngone = "postgresql://ann:secret@127.0.0.1:9/shop"\n'
    )
    settings.write_text("".join(table.format(*values) + mapping for values in tables) + connections)
    status, checks = run_check(recsys)
    assert status == 2
    assert checks["table sales"] == (
        "ok",
        "the first 1 rows of table 'sales' on connection 'shop' keep all rules",
    )
    assert {checks[f"table {name}"][0] for name in ("wrong", "away", "unset")} == {"failed"}
    assert "no such table: orders" in checks["table wrong"][1]
    assert "secret" not in str(checks)


def test_a_server_as_it_should_be(recsys: Recsys, server: redis.Redis, tmp_path: Path) -> None:
    server.config_set("maxmemory", 10**9)
    write_events(tmp_path / "events.csv", {})
    status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL=url(server))
    assert (status, {state for state, _ in checks.values()}) == (0, {"ok"}), checks
    assert "Valkey at 127.0.0.1" in checks["redis"][1]


def test_an_embedded_server_that_runs_is_checked(
    recsys: Recsys, server: redis.Redis, own_server: redis.Redis, tmp_path: Path
) -> None:
    write_events(tmp_path / "events.csv", {})
    directory = Path(own_server.config_get("dir")["dir"]).parent  # pyright: ignore
    status, checks = run_check(recsys, tmp_path, RECSYS_DIRECTORY=str(directory))
    assert (status, {state for name, (state, _) in checks.items() if name.startswith("redis")}) == (0, {"ok"})
    assert "Valkey at 127.0.0.1" in checks["redis"][1]
    server.config_set("maxmemory", 10**9)
    server.config_set("maxmemory-policy", "allkeys-lru")
    status, checks = run_check(recsys, tmp_path, RECSYS_DIRECTORY=str(directory))
    assert (status, checks["redis eviction"][0], checks["redis memory"][0]) == (2, "failed", "ok")


@pytest.mark.parametrize(
    ("policy", "max_memory", "eviction", "memory"),
    [
        ("allkeys-lru", 10**9, "failed", "ok"),
        ("allkeys-lru", 0, "warning", "warning"),
        ("volatile-ttl", 10**9, "warning", "ok"),
        ("noeviction", 1_100_000, "ok", "warning"),
    ],
)
def test_eviction_and_memory(
    recsys: Recsys, server: redis.Redis, tmp_path: Path, policy: str, max_memory: int, eviction: str, memory: str
) -> None:
    server.config_set("maxmemory-policy", policy)
    server.config_set("maxmemory", max_memory)
    write_events(tmp_path / "events.csv", {})
    status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL=url(server))
    assert (checks["redis eviction"][0], checks["redis memory"][0]) == (eviction, memory), checks
    assert status == (2 if eviction == "failed" else 0)


def test_a_replica_and_eviction_are_told_by_check_and_status(
    recsys: Recsys, server: redis.Redis, tmp_path: Path
) -> None:
    write_events(tmp_path / "events.csv", {})
    server.config_set("maxmemory-policy", "allkeys-lfu")
    server.config_set("maxmemory", 10**9)
    server.replicaof("127.0.0.1", "1")
    try:
        status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL=url(server))
        shown = json.loads(recsys("status", "--json", RECSYS_REDIS_URL=url(server)).stdout)
    finally:
        server.replicaof("NO", "ONE")
    assert (status, checks["redis role"][0]) == (2, "failed")
    problems = " ".join(shown["redis"]["problems"])
    assert "read replica" in problems
    assert "maxmemory-policy is allkeys-lfu" in problems


@pytest.mark.parametrize("may_ask", [True, False])
def test_commands_that_the_user_may_not_run_are_named(
    recsys: Recsys, server: redis.Redis, tmp_path: Path, may_ask: bool
) -> None:
    asking = "+acl" if may_ask else "-acl"
    server.execute_command(f"ACL SETUSER job on >word ~recsys:* +@all -zadd -memory|usage -exec {asking}")
    write_events(tmp_path / "events.csv", {})
    status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL=url(server, "job:word@"))
    state, message = checks["redis user"]
    assert (status, state) == (2, "failed")
    assert message.startswith("the user may not run MEMORY USAGE, ZADD, EXEC;")
    assert "word" not in str(checks)


@pytest.mark.parametrize("may_ask", [True, False])
def test_keys_that_the_user_may_not_use_are_named(
    recsys: Recsys, server: redis.Redis, tmp_path: Path, may_ask: bool
) -> None:
    asking = "+acl" if may_ask else "-acl"
    server.execute_command(f"ACL SETUSER job on >word ~recsys:[a-z]* ~recsys:*:user:* +@all {asking}")
    write_events(tmp_path / "events.csv", {})
    status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL=url(server, "job:word@"))
    state, message = checks["redis user"]
    assert (status, state) == (2, "failed")
    assert message.startswith(
        "the user may not use keys such as recsys:1:catalogue, recsys:1:popular, recsys:1:item:{1}"
    )
    assert "recsys:1:user:{1}" not in message
    assert "recsys:live" not in message


def test_a_server_that_does_not_answer_is_named(recsys: Recsys, tmp_path: Path) -> None:
    write_events(tmp_path / "events.csv", {})
    status, checks = run_check(recsys, tmp_path, RECSYS_REDIS_URL="redis://:secret@127.0.0.1:9")
    assert (status, checks["redis"][0]) == (2, "failed")
    assert "127.0.0.1:9" in checks["redis"][1]
    assert "secret" not in checks["redis"][1]
