"""Valkey's users may run the commands that they need, and no others."""

import re
import subprocess
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from recsys.store.keys import Keys

KEYS = Keys("recsys")


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


def test_the_backend_reads_lists_and_nothing_else(compose_valkey: tuple[int, Path]) -> None:
    lists = [
        KEYS.live,
        KEYS.user_items("v", "7"),
        KEYS.similar_items("v", "tea"),
        KEYS.bought_together("v", "tea"),
        KEYS.ranking("v", "popular"),
        KEYS.ranking("v", "popular:food>milk"),
        KEYS.ranking("v", "trending"),
    ]
    others = [KEYS.events, KEYS.flag("7"), KEYS.profile("v", "7"), KEYS.history("v", "7"), KEYS.versions, "other"]
    with client_of(compose_valkey, "recsys") as admin, client_of(compose_valkey, "backend") as backend:
        for key in (*lists, *others):
            admin.delete(key)
            admin.set(key, "a b")
        assert backend.ping()
        assert [backend.get(key) for key in lists] == ["a b"] * len(lists)
        assert backend.mget(lists[:2]) == ["a b", "a b"]
        assert backend.exists(lists[0]) == 1
        admin.delete(KEYS.unavailable)
        admin.sadd(KEYS.unavailable, "tea")
        assert backend.smismember(KEYS.unavailable, ["tea", "mug"]) == [1, 0]
        for key in others:
            with pytest.raises(NoPermissionError):
                backend.get(key)
        for command in (
            ("SET", KEYS.live, "x"),
            ("DEL", KEYS.live),
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


def test_nobody_else_gets_in(compose_valkey: tuple[int, Path], docker: Path) -> None:
    port, secrets = compose_valkey
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=port, retry=once) as client, pytest.raises(AuthenticationError):
        client.ping()
    for user in ("recsys", "backend"):
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
    assert texts[0].count(" on #") == 2
