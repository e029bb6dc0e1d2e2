"""Lake and Redis have one key: a command with another key, or with none, is refused in one line."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from jobs.lake.lake import Lake
from jobs.pipeline.run import MANIFEST, PSEUDONYMS, open_run
from jobs.pipeline.steps.publish import publish_run
from jobs.progress import LogProgress
from recsys.errors import RunError, SettingsError
from recsys.files import write_json
from recsys.pseudonyms import Pseudonyms
from recsys.settings import Redis, Settings
from recsys.store.keys import Keys
from tests.serving.processes import free_port

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEYS = Keys("recsys")
COMMANDS = (
    ["ingest", "events.csv"],
    ["archive"],
    ["nightly", "events.csv"],
    ["trending"],
    ["serve"],
    ["anomalies", "label", "ann", "bot"],
)
EVENTS = "user_id,item_id,event,timestamp\nann,tea,view,2026-02-01T10:00:00Z\n"


@pytest.fixture
def url(valkey: redis.Redis) -> str:
    """The address of the shared Valkey, which holds users by the pseudonyms of the key `right`."""
    valkey.set(KEYS.pseudonyms, Pseudonyms(("right",)).fingerprint())
    return f"redis://127.0.0.1:{valkey.connection_pool.connection_kwargs['port']}/0"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"RECSYS_PSEUDONYM_KEY": "wrong"}, "the pseudonyms of another key"),
        ({}, "pseudonym_key is not set: Redis holds users by pseudonyms"),
    ],
    ids=["another key", "no key"],
)
def test_a_command_is_refused_with_another_key_than_redis_has(
    recsys: Recsys,
    url: str,
    valkey: redis.Redis,
    tmp_path: Path,
    command: list[str],
    environment: dict[str, str],
    problem: str,
) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    valkey.xadd(KEYS.events, {"event": "{}"})
    if command[0] == "serve":
        command = ["serve", "--port", str(free_port())]
    refused = recsys(*command, RECSYS_REDIS_URL=url, **environment)
    assert (refused.returncode, refused.stderr.splitlines()[-1][:8]) == (2, "recsys: "), refused.stderr
    assert problem in refused.stderr.splitlines()[-1]
    assert "wrong" not in refused.stderr
    assert valkey.xlen(KEYS.events) == 1
    assert not list((tmp_path / "var").rglob("*.parquet"))
    if command[0] in ("ingest", "archive"):
        accepted = recsys(*command, RECSYS_REDIS_URL=url, RECSYS_PSEUDONYM_KEY="right")
        assert accepted.returncode == 0, accepted.stderr


def test_a_lake_of_an_earlier_version_says_what_to_do(recsys: Recsys, data_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(EVENTS)
    with Lake(data_directory / "lake", pseudonyms=Pseudonyms(("right",))).locked():
        pass
    # printf recsys | openssl dgst -sha256 -hmac right
    (data_directory / "lake" / "pseudonyms.json").write_text('"2c1e4ab3358ab13e"')
    refused = recsys("ingest", "events.csv", RECSYS_PSEUDONYM_KEY="right")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "made by an earlier version" in refused.stderr
    assert "run `recsys pseudonyms rotate`" in refused.stderr


def test_lists_of_users_under_another_key_are_not_published(url: str, valkey: redis.Redis, tmp_path: Path) -> None:
    right, wrong = (
        Settings(directory=tmp_path, pseudonym_key=key, redis=Redis(url=url)) for key in ("right", "wrong")
    )
    as_of = datetime(2026, 1, 1, tzinfo=UTC)
    with open_run(wrong, Lake(tmp_path / "lake", pseudonyms=Pseudonyms(("wrong",))), as_of) as run:
        (run.directory / "lists").mkdir()
        with pytest.raises(SettingsError, match="another key"):
            publish_run(run, wrong, LogProgress())
        with pytest.raises(RunError, match="users with other pseudonyms: run `recsys nightly`"):
            publish_run(run, right, LogProgress())
        manifest = run.manifest()
        del manifest[PSEUDONYMS]  # as of an earlier version
        write_json(run.directory / MANIFEST, manifest)
        run.check_pseudonyms(Pseudonyms(("right",)))
        run.check_pseudonyms(None)
        with pytest.raises(RunError):
            run.check_pseudonyms(Pseudonyms(("right", "wrong")))
    assert valkey.keys("*") == [KEYS.pseudonyms.encode()]
