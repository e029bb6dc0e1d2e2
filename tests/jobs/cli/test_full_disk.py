"""Commands on a disk that takes no more: one line, status 2, and nothing is lost."""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from jobs.lake.lake import Lake
from recsys.store.embedded import start_server
from recsys.store.keys import Keys

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEYS = Keys("recsys")
EVENTS = 40


@contextmanager
def full_disk(max_bytes: int, monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Make every write beyond so many bytes of a file fail in this process."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def send(client: redis.Redis) -> None:
    """Put events, and entries of every other kind, into the stream."""
    now, pipeline = datetime.now(UTC).isoformat(), client.pipeline()
    for number in range(EVENTS):
        event = {"event_id": f"e{number}", "user_id": f"u{number}", "item_id": f"i{number}", "event": "view"}
        pipeline.xadd(KEYS.events, {"event": json.dumps(event | {"timestamp": now})})
    pipeline.xadd(KEYS.events, {"event": "{"})
    pipeline.xadd(KEYS.events, {"item": json.dumps({"item_id": "i1", "price": 2.0, "updated_at": now})})
    pipeline.xadd(KEYS.events, {"label": json.dumps({"user_id": "u1", "label": "fine", "labelled_at": now})})
    pipeline.execute()


@pytest.mark.parametrize("command", ["archive", "nightly"])
def test_no_event_is_lost(
    recsys: Recsys, data_directory: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    address = start_server(data_directory / "valkey")
    with redis.Redis(address.host, address.port) as client:
        send(client)
        for max_bytes in (0, 2_500):
            with full_disk(max_bytes, monkeypatch):
                ended = recsys(command)
            assert ended.returncode == 2, ended
            *warnings, error = ended.stderr.splitlines()
            assert error.startswith("recsys: ")
            assert "Traceback" not in ended.stderr
            assert command == "nightly" or not warnings, ended.stderr
            events = Lake(data_directory / "lake").events().collect()
            assert client.xlen(KEYS.events) > 0 or events.height == EVENTS
    recsys("archive")
    assert sorted(Lake(data_directory / "lake").events().collect()["event_id"]) == sorted(
        f"e{number}" for number in range(EVENTS)
    )
