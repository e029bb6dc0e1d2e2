"""A rotation of keys leaves lake and Redis as if the new keys had been there from the start."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import redis

from jobs.ingest.ingest import MAX_CLOCK_SKEW, ingest
from jobs.ingest.stream import archive
from jobs.lake.lake import Lake, open_lake
from jobs.lake.pseudonym_key import first_fingerprint, write_fingerprint
from jobs.progress import LogProgress
from jobs.pseudonyms import lake_rewriting, rotation
from jobs.pseudonyms.rotation import rotate
from recsys.errors import SettingsError
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Lake as LakeSettings
from recsys.settings import Redis, Settings
from recsys.store import pseudonym_rotation
from recsys.store.keys import Keys
from tests.commands import run_recsys
from tests.privacy import redis_text
from tests.serving.conftest import application

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATEST = NOW + MAX_CLOCK_SKEW
OLD, NEW = Pseudonyms(("old key",)), Pseudonyms(("old key", "new key"))
FIRST = """user_id,item_id,event,timestamp,event_id,session_id
ann,tea,view,2026-02-01T10:00:00Z,e1,s1
ann,mug,purchase,2026-02-02T10:00:00Z,e2,s1
bob,tea,view,2026-02-01T11:00:00Z,e1,s2
cem,tea,view,2026-02-03T11:00:00Z,e3,s3
dan,no id,view,2026-02-03T11:00:00Z,e4,s3
"""
CORRECTED = FIRST.replace("mug,purchase", "pot,purchase")


def settings_of(directory: Path, url: str, namespace: str, *keys: str) -> Settings:
    """Settings of an installation with these keys, the oldest first."""
    return Settings(
        directory=directory,
        lake=LakeSettings(buckets=3),
        pseudonym_key=keys[-1],
        former_pseudonym_keys=keys[:-1],
        redis=Redis(url=url, namespace=namespace),
    )


def fill(settings: Settings, client: redis.Redis, files: Path) -> None:
    """Ingest a file twice, the second time corrected; take events of a user and a guest; label users; archive."""
    keys, lake = Keys(settings.redis.namespace), open_lake(settings)
    (files / "events.csv").write_text(FIRST)
    (files / "users.csv").write_text("user_id,attributes\nann,{}\nbob,{}\n")
    ingest((str(files),), settings.sources, lake, LATEST)
    (files / "events.csv").write_text(CORRECTED)
    ingest((str(files),), settings.sources, lake, LATEST)

    view = {"item_id": "tea", "event": "view", "timestamp": "2026-03-01T11:00:00Z"}
    events = [
        {**view, "session_id": "s9", "event_id": "w1"},
        {**view, "session_id": "s9", "event_id": "w2", "user_id": "ann"},
        {**view, "event_id": "w3", "user_id": "eva", "event": "purchase", "quantity": 2},
    ]
    sent: list[tuple[str, str, Any]] = [("POST", "/v1/events", event) for event in events]
    sent += [
        ("PUT", f"/v1/anomalies/{user}", {"label": label}) for user, label in (("bob", "bot"), ("cem", "fine"))
    ]

    async def send() -> None:
        async with application(settings, NOW.timestamp) as http:
            for method, path, body in sent:
                assert (await http.request(method, path, json=body)).is_success

    asyncio.run(send())
    version, pseudonyms = "20260301T000000Z", Pseudonyms.from_settings(settings)
    assert pseudonyms is not None
    for name in (keys.user_items, keys.history, keys.disliked, keys.profile):
        client.set(name(version, pseudonyms.user("ann")), "tea mug")
    client.set(keys.similar_items(version, "tea"), "mug")
    archive(lake, settings.sources, client, keys, LATEST)


def stored(settings: Settings, client: redis.Redis) -> dict[str, Any]:
    """All that a lake and a namespace hold of users, without what depends on the moment."""
    lake, namespace = open_lake(settings), settings.redis.namespace
    tables: dict[str, Any] = {
        str(file.relative_to(lake.directory)): pl.read_parquet(file, hive_partitioning=False)
        for file in lake.directory.rglob("*.parquet")
    }
    events = {name: tables.pop(name) for name in list(tables) if name.startswith("events/")}
    rows = [f"{Path(name).parent} {row}" for name, table in events.items() for row in table.rows()]
    counted = ("rates", "active", "flagged", "users_of", "items_of", "prices", "breaker", "events")
    keys: Any = [key for key in client.scan_iter(f"{namespace}:*") if key.decode().split(":")[1] not in counted]
    values = {key.decode().removeprefix(namespace): _value(client, key) for key in keys}
    return {"events": sorted(rows), "redis": values} | {
        name: sorted(map(str, table.rows())) for name, table in tables.items()
    }


def _value(client: redis.Redis, key: bytes) -> object:
    kind: Any = client.type(key)
    if kind == b"string":
        return client.get(key)
    if kind == b"hash":
        return client.hgetall(key)
    return client.smembers(key) if kind == b"set" else client.zrange(key, 0, -1, withscores=True)


@pytest.fixture
def url(valkey: redis.Redis) -> str:
    """The address of the shared Valkey."""
    return f"redis://127.0.0.1:{valkey.connection_pool.connection_kwargs['port']}/0"


class KilledError(Exception):
    """Stands for the end of a process."""


def killed_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, calls: int) -> None:
    """Raise an error in place of a function's call after so many calls."""
    original, done = getattr(module, name), [0]

    def call(*arguments: Any, **options: Any) -> Any:
        if done[0] == calls:
            raise KilledError(name)
        done[0] += 1
        return original(*arguments, **options)

    monkeypatch.setattr(module, name, call)


KILLS = (
    (rotation, "archive", 0),
    (rotation, "rewrite_lake", 0),
    (lake_rewriting, "_rewrite_file", 2),
    (lake_rewriting, "_rewrite_day", 1),
    (rotation, "plan_rotation", 0),
    (pseudonym_rotation, "_move_members", 1),
    (pseudonym_rotation, "_move_keys", 2),
    (rotation, "_replace_lake", 0),
    (Path, "rename", 1),
    (rotation, "store_rotated", 0),
    (rotation.shutil, "rmtree", 0),
)
"""Where the processes end that rotate one after the other."""


def test_a_rotation_that_is_killed_again_and_again_is_as_if_the_keys_had_been_new(
    valkey: redis.Redis, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pseudonym_rotation, "BATCH", 3)
    files = tmp_path / "shop"
    files.mkdir()
    fresh = settings_of(tmp_path / "fresh", url, "fresh", *NEW.keys)
    former = settings_of(tmp_path / "rotated", url, "rotated", *OLD.keys)
    for settings in (fresh, former):
        fill(settings, valkey, files)
    present = replace(former, pseudonym_key=NEW.keys[1], former_pseudonym_keys=OLD.keys)
    with pytest.raises(SettingsError, match=r"run `recsys pseudonyms rotate`"):
        open_lake(present)
    for module, name, calls in KILLS:
        with monkeypatch.context() as patched:
            killed_at(patched, module, name, calls)
            with pytest.raises(KilledError):
                rotate(present, LogProgress(), notice_seconds=0)
        if name not in ("rmtree", "store_rotated", "archive"):
            for settings in (former, present):
                with pytest.raises(SettingsError, match="on its way to other pseudonyms"):
                    open_lake(settings)
    rotate(present, LogProgress(), notice_seconds=0)

    expected, found = stored(fresh, valkey), stored(present, valkey)
    assert len(expected["redis"]) >= 15
    assert found["redis"].pop(":flag:{" + NEW.user("bob") + "}") is not None
    assert expected["redis"].pop(":flag:{" + NEW.user("bob") + "}") is not None
    assert found.keys() == expected.keys()
    for name, rows in expected.items():
        assert found[name] == rows, name
    assert not (present.directory / rotation.ROTATION_DIRECTORY).exists()
    for text in (OLD.user("ann"), OLD.event("w1"), OLD.session("s9"), OLD.user("bob")):
        assert text not in redis_text(valkey)
    with pytest.raises(SettingsError, match="another key"):
        open_lake(former)


def test_the_history_of_a_user_stays_one(valkey: redis.Redis, url: str, tmp_path: Path) -> None:
    files = tmp_path / "shop"
    files.mkdir()
    former = settings_of(tmp_path / "var", url, "recsys", *OLD.keys)
    fill(former, valkey, files)
    present = replace(former, pseudonym_key=NEW.keys[1], former_pseudonym_keys=OLD.keys)
    result = rotate(present, LogProgress(), notice_seconds=0)
    assert result.events == 7
    lake = open_lake(present)
    (file,) = (count for count in ingest((str(files),), present.sources, lake, LATEST) if count.kind == "events")
    assert (file.accepted, file.changed, file.removed) == (0, 0, 0)
    (files / "events.csv").write_text(CORRECTED + "ann,jar,view,2026-02-09T10:00:00Z,e9,s1\n")
    ingest((str(files),), present.sources, lake, LATEST)
    history = lake.joining_guests(LATEST).events().filter(pl.col("user_id") == NEW.user("ann")).collect()
    assert sorted(history["item_id"]) == ["jar", "pot", "tea", "tea", "tea"]
    assert rotate(present, LogProgress(), notice_seconds=0).events == 0


@pytest.mark.parametrize("keys", [OLD.keys, NEW.keys], ids=["the same key", "a further key"])
def test_a_lake_of_an_earlier_version_gets_pseudonyms_of_events_and_sessions(
    valkey: redis.Redis, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: tuple[str, ...]
) -> None:
    files = tmp_path / "shop"
    files.mkdir()
    fresh = settings_of(tmp_path / "fresh", url, "fresh", *keys)
    fill(fresh, valkey, files)
    former = settings_of(tmp_path / "former", url, "former", *OLD.keys)
    with monkeypatch.context() as earlier:
        earlier.setattr(Pseudonyms, "event", lambda _, text: text)
        earlier.setattr(Pseudonyms, "session", lambda _, text: text)
        fill(former, valkey, files)
    write_fingerprint(former.directory / "lake", first_fingerprint(OLD.keys[0]))
    valkey.delete(Keys("former").pseudonyms)
    present = replace(former, pseudonym_key=keys[-1], former_pseudonym_keys=keys[:-1])
    with pytest.raises(SettingsError, match=r"made by an earlier version .* run `recsys pseudonyms rotate`"):
        open_lake(present)
    assert rotate(present, LogProgress(), notice_seconds=0).events == 7

    expected, found = stored(fresh, valkey), stored(present, valkey)
    for values in (expected["redis"], found["redis"]):
        for key in [key for key in values if key.startswith((":event_ids:", ":flag:"))]:
            del values[key]
    assert found == expected


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({}, "pseudonym_key is not set: there are no pseudonyms to rotate"),
        ({"RECSYS_PSEUDONYM_KEY": "new key"}, "former_pseudonym_keys: "),
        (
            {"RECSYS_PSEUDONYM_KEY": "new key", "RECSYS_FORMER_PSEUDONYM_KEYS": "hunter2"},
            "former_pseudonym_keys = ",
        ),
        (
            {"RECSYS_PSEUDONYM_KEY": "new key", "RECSYS_FORMER_PSEUDONYM_KEYS": '["hunter2"]'},
            "former_pseudonym_keys: ",
        ),
    ],
)
def test_a_rotation_from_other_keys_is_one_line(
    url: str, tmp_path: Path, environment: dict[str, str], problem: str
) -> None:
    with Lake(tmp_path / "var" / "lake", pseudonyms=OLD).locked():
        pass
    refused = run_recsys(tmp_path, tmp_path / "var", "pseudonyms", "rotate", RECSYS_REDIS_URL=url, **environment)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert problem in refused.stderr
    assert "hunter2" not in refused.stderr
