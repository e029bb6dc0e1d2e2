"""Valkey's users may run the commands that they need, and no others."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from recsys.api_key_file import API_KEYS_FILE
from recsys.settings import Redis, Settings
from recsys.store.catalogue import CATALOGUE_FILE
from recsys.store.client.connect import connect
from recsys.store.flags import replace_nightly_flags
from recsys.store.item_changes import forget_old_changes, remove_available
from recsys.store.keys import Keys
from recsys.store.publish.publish import publish
from recsys.store.publish.trending import replace_trending
from tests.commands import run_recsys
from tests.serving.conftest import Shop, write_shop
from tests.serving.http.test_auth import REQUESTS
from tests.serving.keys import EVENT, NOW, ask, keep

KEYS = Keys("recsys")
VERSION = "20180101T000000Z"


def url_of(valkey: tuple[int, Path], user: str) -> str:
    port, secrets = valkey
    return f"redis://{user}:{(secrets / user).read_text()}@127.0.0.1:{port}/0"


def client_of(valkey: tuple[int, Path], user: str) -> redis.Redis:
    port, secrets = valkey
    return redis.Redis(port=port, username=user, password=(secrets / user).read_text(), decode_responses=True)


def test_the_admin_may_do_all_that_recsys_does(compose_valkey: tuple[int, Path]) -> None:
    with client_of(compose_valkey, "recsys") as admin:
        admin.set("recsys:live", "v")
        admin.xadd(KEYS.events, {"event": "{}"})
        assert admin.config_get("appendfsync") == {"appendfsync": "always"}
        assert admin.config_get("appendonly") == {"appendonly": "yes"}
        assert admin.acl_whoami() == "recsys"


def clear_denials(admin: redis.Redis) -> None:
    admin.execute_command("ACL LOG RESET")


def denials(admin: redis.Redis) -> set[str]:
    """What users were refused since; redis-py says its name to the server and takes a refusal."""
    entries: Any = admin.execute_command("ACL LOG", 100)
    return {f"{entry['username']}: {entry['object']}" for entry in entries} - {
        f"{user}: client|setinfo" for user in ("server", "jobs", "backend")
    }


def test_the_backend_does_what_the_documentation_says_and_nothing_else(compose_valkey: tuple[int, Path]) -> None:
    lists = [KEYS.live]
    for version in (VERSION, "20180101T000000.123456Z"):
        lists += [
            KEYS.user_items(version, "7"),
            KEYS.user_items(version, "}7"),
            KEYS.again_items(version, "7"),
            KEYS.new_items(version, "}7"),
            KEYS.similar_items(version, "tea"),
            KEYS.bought_together(version, "tea"),
            KEYS.ranking(version, "popular"),
            KEYS.ranking(version, "popular:food>milk"),
            KEYS.ranking(version, "trending"),
        ]
    with client_of(compose_valkey, "recsys") as admin, client_of(compose_valkey, "backend") as backend:
        admin.flushall()
        admin.mset(dict.fromkeys(lists, "a b"))
        assert backend.ping()
        assert [backend.get(key) for key in lists] == ["a b"] * len(lists)
        assert backend.mget(lists[:2]) == ["a b", "a b"]
        assert backend.exists(lists[0]) == 1
        admin.sadd(KEYS.unavailable, "tea")
        assert backend.smismember(KEYS.unavailable, ["tea", "mug"]) == [1, 0]
        for command in (
            ("SET", KEYS.live, "x"),
            ("DEL", KEYS.live),
            ("SMEMBERS", KEYS.unavailable),
            ("SADD", KEYS.unavailable, "mug"),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("XRANGE", KEYS.events, "-", "+"),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("FLUSHALL",),
            ("EVAL", "return 1", "0"),
            ("PUBLISH", "a", "b"),
        ):
            with pytest.raises(NoPermissionError):
                backend.execute_command(*command)


def private_keys(name: str) -> list[str]:
    """All keys that hold something about the user, item or category of this name and are not lists for backends."""
    of_name = (KEYS.session, KEYS.event_ids, KEYS.alias, KEYS.flag, KEYS.suspect)
    of_version = (KEYS.profile, KEYS.history, KEYS.disliked)
    return [*(key(name) for key in of_name), *(key(version, name) for key in of_version for version in VERSIONS)]


VERSIONS = (VERSION, "20180101T000000.123456Z")
LIST_KEYS = [
    f"{place}{version}:{kind}"
    for version in VERSIONS
    for kind in (
        "user:{7}",
        "user:{7}:again",
        "item:{a}",
        "bought_together:{a}",
        "popular",
        "popular:a",
        "trending",
    )
    for place in ("", "recsys:", "x}:recsys:")
]


def test_no_id_makes_another_key_a_list(compose_valkey: tuple[int, Path]) -> None:
    names = ["7", "urn:user:7", ":user:{7", "live", "unavailable", *LIST_KEYS]
    names += [f"{name}}}" for name in names]
    others = [KEYS.events, KEYS.versions, KEYS.flags, KEYS.items, KEYS.salt, KEYS.catalogue(VERSION), "other"]
    with client_of(compose_valkey, "backend") as backend:
        for key in [*others, *(key for name in names for key in private_keys(name))]:
            with pytest.raises(NoPermissionError):
                backend.get(key)


def test_the_server_may_do_all_that_it_does_and_no_more(compose_valkey: tuple[int, Path], tmp_path: Path) -> None:
    redis_settings = Redis(url=url_of(compose_valkey, "server"))
    given = Settings(directory=tmp_path / "var", redis=redis_settings)
    settings = replace(given, serving=replace(given.serving, read_timeout_ms=500.0, write_timeout_ms=500.0))
    events = [{"user_id": "7", "event": "view", "item_id": f"a{n}", "event_id": str(n)} for n in range(5)]
    guest = {"session_id": "s1", "event": "cart", "item_id": "a1", "ip": "203.0.113.9", "user_agent": "browser/1"}
    with client_of(compose_valkey, "recsys") as admin:
        admin.flushall()
        jobs = connect(Redis(url=url_of(compose_valkey, "jobs")), tmp_path)
        publish(jobs, KEYS, VERSION, write_shop(tmp_path / "lists", Shop(profiles={"7": "{}"})), 2)
        clear_denials(admin)
        answers = ask(
            settings,
            ("POST", "/v1/events", events, {}),
            ("POST", "/v1/events", guest, {}),
            ("POST", "/v1/events", {**guest, "user_id": "7"}, {}),
            ("POST", "/v1/events", {"user_id": "7", "event": "purchase", "item_id": "a3", "price": 2.5}, {}),
            *((method, path, body, {}) for _, method, path, body in REQUESTS),
            ("PUT", "/v1/items/a2", {"available": False, "price": 2.0}, {}),
            ("PUT", "/v1/anomalies/7", {"label": "fine"}, {}),
            ("GET", "/ready", None, {}),
        )
        assert [answer.status_code for answer in answers if not answer.is_success] == []
        assert answers[-1].json()["status"] == "ready"
        token = keep(settings.directory / API_KEYS_FILE, ("shop", ["recommend"], 600))["shop"]
        (counted,) = ask(settings, ("GET", "/v1/popular", None, {"X-API-Key": token}))  # against a quota
        assert (counted.status_code, admin.exists(KEYS.quota("shop"))) == (200, 1)
        assert denials(admin) == set()
        with client_of(compose_valkey, "server") as server:
            for command in (
                ("SET", "other", "x"),
                ("KEYS", "*"),
                ("SCAN", "0"),
                ("FLUSHALL",),
                ("CONFIG", "GET", "*"),
                ("ACL", "LIST"),
                ("MSET", KEYS.live, "x"),
            ):
                with pytest.raises(NoPermissionError):
                    server.execute_command(*command)


def test_jobs_may_do_all_that_commands_do_and_no_more(compose_valkey: tuple[int, Path], tmp_path: Path) -> None:
    url, directory = url_of(compose_valkey, "jobs"), tmp_path / "var"
    with client_of(compose_valkey, "recsys") as admin:
        admin.flushall()
        admin.xadd(
            KEYS.events, {"event": json.dumps(EVENT | {"event_id": "1", "timestamp": "2018-01-01T00:00:00Z"})}
        )
        clear_denials(admin)
        jobs = connect(Redis(url=url), directory)
        lists = write_shop(tmp_path / "lists", Shop(profiles={"7": "{}"}))
        for day in (1, 2, 3):
            publish(jobs, KEYS, f"2018010{day}T000000Z", lists, 2)
        replace_trending(jobs, KEYS, ["a1"])
        replace_nightly_flags(jobs, KEYS, [], NOW)
        remove_available(jobs, KEYS, lists / CATALOGUE_FILE, NOW)
        forget_old_changes(jobs, KEYS, lists / CATALOGUE_FILE, NOW)
        for arguments in (
            ["check", "--json", str(lists / "popular.parquet")],
            ["archive"],
            ["rollback"],
            ["status"],
            ["recommend", "7"],
            ["similar", "a1"],
            ["anomalies", "label", "7", "bot"],
            ["anomalies", "list"],
            ["anomalies", "release", "7"],
        ):
            ended = run_recsys(tmp_path, directory, *arguments, RECSYS_REDIS_URL=url)
            assert ended.returncode == 0 or arguments[0] == "check", (arguments, ended.stderr)
            if arguments[0] == "check":
                checks = {check["name"]: check["state"] for check in json.loads(ended.stdout)["checks"]}
                assert checks["redis user"] == "ok", ended.stdout
        assert denials(admin) <= {"jobs: acl|whoami", "jobs: acl"}
        with client_of(compose_valkey, "jobs") as client:
            for command in (("SET", "other", "x"), ("KEYS", "*"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
                with pytest.raises(NoPermissionError):
                    client.execute_command(*command)


def test_the_documentation_has_these_rules(docker: Path, repository: Path) -> None:
    page = (repository / "docs" / "redis.md").read_text()
    documented = {
        words[2]: words[3:]
        for block in re.findall(r"```\n(ACL SETUSER .*?)```", page, re.DOTALL)
        for words in (" ".join(rule.split()).split(" ") for rule in re.split(r"\n(?=ACL)", block))
    }
    lines = [line.split(" ") for line in (docker / "redis-users.acl").read_text().splitlines()]
    rules = {words[1]: ["on", ">PASSWORD", *words[3:]] for words in lines}
    assert set(documented) == {"server", "jobs", "backend"}
    for user, rule in documented.items():
        assert rule == rules[user], user


def test_nobody_else_gets_in(compose_valkey: tuple[int, Path], docker: Path) -> None:
    port, secrets = compose_valkey
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, retry=once) as client, pytest.raises(AuthenticationError):
        client.ping()
    for user in ("recsys", "server", "jobs", "backend"):
        assert re.fullmatch(r"[0-9a-f]{48}", (secrets / user).read_text())
        guess = redis.Redis(port=port, username=user, password=user, retry=once)
        with guess as client, pytest.raises(AuthenticationError):
            client.ping()
    assert "#" not in (docker / "redis-users.acl").read_text()
    assert ">" not in (docker / "redis-users.acl").read_text()


def test_passwords_stay_through_a_restart(docker: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    script = ["sh", docker / "valkey.sh", docker / "redis-users.acl", tmp_path / "secrets", tmp_path / "acl"]
    texts = []
    for _ in range(2):
        subprocess.run([*script, "true"], check=True)
        texts.append((tmp_path / "acl").read_text())
    assert texts[0] == texts[1]
    assert texts[0].count(" on #") == 4
