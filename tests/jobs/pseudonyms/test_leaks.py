"""With a key, nothing that was planted in the personal fields of events is stored anywhere."""

import json
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from recsys.pseudonyms import Pseudonyms
from recsys.settings import Redis, Settings, load_settings
from recsys.store.embedded import start_server
from recsys.store.keys import Keys
from tests.privacy import file_texts, find_marks, redis_text
from tests.serving.keys import ask
from tests.shop import AS_OF

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEY = "a key of the shop"
KEYS = Keys("recsys")
MARK = "-secret-"
"""Is in every planted text and nowhere else."""
NAMES = "user_id,item_id,event,timestamp,event_id,session_id,ip,user_agent,price"
ORIGIN = "csv-secret-session,10.9.9.9,csv-secret-agent"
CSV = f"""{NAMES}
csv-secret-user,item1,view,2026-01-05T10:00:00Z,csv-secret-event,{ORIGIN},1
csv-secret-user,item1,view of csv-secret-user,2026-01-05T10:00:00Z,csv-secret-event2,{ORIGIN},1
csv-secret-user,csv-secret-user,view,2035-01-05T10:00:00Z,csv-secret-event3,{ORIGIN},1
item1,view,2026-01-05T10:00:00Z,csv-secret-user,csv-secret-event4,{ORIGIN},csv-secret-user
csv-secret-user blank,item1,view,2026-01-05T10:00:00Z,csv-secret-event5 x,{ORIGIN},-1
csv-secret-user,item1
"""
QUERIES = """
[sources]
paths = ["{shop}"]
max_bad_rows = 1.0
[[sources.tables]]
name = "orders"
kind = "events"
connection = "shop"
query = "SELECT * FROM orders"
[sources.tables.columns]
user_id = "user_id"
item_id = "item_id"
event = "event"
timestamp = "timestamp"
event_id = "event_id"
session_id = "session_id"
ip = "ip"
user_agent = "user_agent"
[[sources.tables]]
name = "customers"
kind = "users"
connection = "shop"
query = "SELECT user_id, attributes FROM customers"
[sources.tables.columns]
user_id = "user_id"
attributes = "attributes"
[[sources.tables]]
name = "logins"
kind = "identities"
connection = "shop"
query = "SELECT 'guest:' || session_id AS guest_id, user_id, timestamp FROM orders"
[sources.tables.columns]
guest_id = "guest_id"
user_id = "user_id"
timestamp = "timestamp"
"""
BY_NAME = """
[[sources.tables]]
name = "{kind}"
kind = "{kind}"
files = "{kind}*"
[sources.tables.columns]
"""


def write_database(file: Path) -> None:
    """A database with an order of a customer, one that breaks rules, and what else it knows of the customer."""
    order = (
        "sql-secret-user",
        "item1",
        "purchase",
        "2026-01-05T10:00:00Z",
        "sql-secret-event",
        "sql-secret-session",
    )
    origin = ("10.9.9.9", "sql-secret-agent")
    with sqlite3.connect(file) as database:
        columns = "user_id, item_id, event, timestamp, event_id, session_id, ip, user_agent"
        database.execute(f"CREATE TABLE orders ({columns})")
        wrong = (
            "sql-secret-user",
            "sql-secret-user",
            "sql-secret-user",
            "sql-secret-user",
            "sql-secret-event2",
            "sql-secret-session",
        )
        database.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [order + origin, wrong + origin])
        database.execute("CREATE TABLE customers (user_id, attributes)")
        attributes = json.dumps({"club": "gold", "id": "sql-secret-user"})
        database.execute("INSERT INTO customers VALUES (?, ?)", ("sql-secret-user", attributes))
    database.close()


def shop_settings(base: Path, shop: Path, work: Path) -> Path:
    """Settings that read the shop's files, the planted file and the planted database."""
    events = [f'{name} = "{name}"' for name in NAMES.split(",")]
    items = [f'{name} = "{name}"' for name in ("item_id", "title", "category", "available")]
    files = BY_NAME.format(kind="events") + "\n".join(events) + BY_NAME.format(kind="items") + "\n".join(items)
    connections = f'\n[sources.connections]\nshop = "sqlite:///{work / "shop.db"}"\n'
    file = work / "private.toml"
    file.write_text(base.read_text() + QUERIES.format(shop=shop) + files + connections)
    return file


def post_events(settings: Settings) -> None:
    """Send planted events of a user, a guest who becomes the user, and events that are refused; ask for lists."""
    origin = {"ip": "10.9.9.9", "user_agent": "web-secret-agent", "session_id": "web-secret-session"}
    view = {"item_id": "item1", "event": "view", **origin}
    known = {**view, "user_id": "web-secret-user", "event_id": "web-secret-event"}
    answers = ask(
        settings,
        ("POST", "/v1/events", [view, {**view, "event_id": "web-secret-event2"}], {}),
        ("POST", "/v1/events", [known, {**known, "event_id": "web-secret-event3", "event": "purchase"}], {}),
        ("POST", "/v1/events", {**known, "event": "web-secret-user"}, {}),
        ("POST", "/v1/events", {**known, "item_id": "item2"}, {}),
        ("GET", "/v1/users/web-secret-user", None, {}),
        ("GET", "/v1/recommendations/web-secret-user?n=3", None, {}),
        ("GET", "/v1/recommendations?session_id=web-secret-session&n=3", None, {}),
        ("PUT", "/v1/anomalies/web-secret-user", {"label": "bot"}, {}),
        ("GET", "/metrics", None, {}),
    )
    assert [answer.status_code for answer in answers[:4]] == [202, 202, 400, 400]
    assert answers[3].json()["errors"][0]["value"] == "web-secret-event"
    assert MARK not in answers[-1].text


def test_no_planted_text_is_in_a_file_or_in_redis_after_two_nights(
    recsys: Recsys,
    shop: Path,
    data_directory: Path,
    tmp_path: Path,
    write_settings: Callable[[str], Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    (shop / "events-more.csv").write_text(CSV)
    (shop / "users.parquet").unlink()
    write_database(tmp_path / "shop.db")
    config = shop_settings(write_settings("allow"), shop, tmp_path)
    address = start_server(data_directory / "valkey")
    settings = replace(
        load_settings(config, {"RECSYS_PSEUDONYM_KEY": KEY}),
        directory=data_directory,
        redis=Redis(url=f"redis://{address.host}:{address.port}/0"),
    )
    settings = replace(settings, serving=replace(settings.serving, impressions=True))
    key = {"RECSYS_PSEUDONYM_KEY": KEY}
    done = [recsys("--config", config, "nightly", "--as-of", AS_OF, **key)]
    post_events(settings)
    done += [recsys("--config", config, "archive", **key), recsys("--config", config, "ingest", **key)]
    done += [recsys("--config", config, "quarantine", *each, **key) for each in (("list",), ("show",), ("retry",))]
    assert [each.returncode for each in done] == [0] * len(done), [each.stderr[-300:] for each in done]
    post_events(settings)

    lake = Pseudonyms((KEY,))
    texts = file_texts(data_directory)
    assert any(lake.user("csv-secret-user") in text for text in texts.values())
    assert any("quarantine" in str(file) for file in texts)
    people = [f"user{number}" for number in range(80)]
    assert find_marks(texts, [MARK, "10.9.9.9", KEY, *people]) == set()
    with redis.Redis(address.host, address.port) as client:
        stored = redis_text(client)
    for expected in (
        lake.user("web-secret-user"),
        lake.event("web-secret-event"),
        lake.session("web-secret-session"),
    ):
        assert expected in stored
    assert lake.user("guest:web-secret-session") in stored
    (version,) = (run.name for run in (data_directory / "runs").iterdir())
    assert KEYS.user_items(version, lake.user("user1")) in stored
    recommended = recsys("recommend", "user1", "--json", **key)
    by_pseudonym = recsys("recommend", lake.user("user1"), "--pseudonym", "--json", **key)
    shown = [json.loads(each.stdout) for each in (recommended, by_pseudonym)]
    assert [answer["source"] for answer in shown] == ["personal", "personal"]
    assert shown[0]["items"] == shown[1]["items"]
    logged = "".join([*(each.stdout + each.stderr for each in done), *capfd.readouterr()])
    assert find_marks({"redis": stored, "log": logged}, [MARK, "10.9.9.9", KEY]) == set()
