"""Old data is removed, by kind, and what is younger stays."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from jobs.audit import audit, rotate_audit_log
from jobs.lake.lake import IMPRESSIONS, Lake
from jobs.pipeline.run import COMPLETE, MANIFEST
from jobs.retention import Removed, apply_retention
from recsys.audit.log import AUDIT_FILE, HEAD_FILE, AuditLog
from recsys.files import write_json
from recsys.schema import IMPRESSION_DTYPES
from recsys.settings import Redis, Retention, Settings
from tests.ingests import ingest_files, write_events
from tests.jobs.conftest import Recsys

NOW = datetime(2024, 5, 31, 12, tzinfo=UTC)
SHORT = Retention(event_days=10, impression_days=10, quarantine_days=10, run_days=10, audit_days=10)


def test_what_is_older_is_removed_and_counted(tmp_path: Path, valkey_url: str) -> None:
    settings = Settings(directory=tmp_path / "var", redis=Redis(url=valkey_url))
    lake = write_old_data(settings)
    kept = apply_retention(settings, NOW)
    assert kept == Removed()

    short = replace(settings, retention=SHORT)
    removed = apply_retention(short, NOW)
    assert removed == Removed(events=2, impressions=1, quarantine_files=1, runs=2, audit_lines=1)
    assert lake.events().collect()["timestamp"].dt.day().to_list() == [21, 30]
    assert lake.impressions().collect().height == 1
    assert not list(lake.directory.glob("events/*/date=2024-05-0*"))
    runs = sorted(run.name for run in (settings.directory / "runs").iterdir())
    assert runs == ["20240503T000000Z", "20240530T000000Z"]  # the latest complete one, and a young one
    (rotated,) = settings.directory.glob("audit-*")
    assert [line.action for line in AuditLog(rotated).lines()] == ["erase"]
    assert not list(settings.directory.glob(".*.removed"))
    assert apply_retention(short, NOW) == Removed()


def test_the_command_tells_the_counts(recsys: Recsys, tmp_path: Path, valkey_url: str) -> None:
    recsys("ingest", write_events(tmp_path / "events.csv", {"timestamp": "2024-05-01T10:00:00"}))
    done = recsys("retention", RECSYS_RETENTION_EVENT_DAYS="30", RECSYS_REDIS_URL=valkey_url)
    assert (done.returncode, "Removed 1 events, 0 impressions" in done.stdout) == (0, True)
    again = recsys("ingest", tmp_path / "events.csv", "--json", RECSYS_RETENTION_EVENT_DAYS="30")
    (count,) = json.loads(again.stdout)["sources"]
    assert (count["expired"], count["accepted"], count["quarantined"]) == (1, 0, 0)
    wrong = recsys("retention", RECSYS_RETENTION_EVENT_DAYS="-1")
    assert (wrong.returncode, "retention.event_days" in wrong.stderr) == (2, True)


def write_old_data(settings: Settings) -> Lake:
    """Write events, impressions, bad rows, runs and actions of early and late May."""
    lake = Lake(settings.directory / "lake")
    file = settings.directory.parent / "events.csv"
    days = [{"timestamp": f"2024-05-{day:02}T10:00:00"} for day in (1, 20, 21, 30)]
    ingest_files(lake, write_events(file, *days, {"timestamp": "never"}))
    (bad,) = (lake.directory / "quarantine").glob("*.parquet")
    early = NOW - timedelta(days=30)
    os.utime(bad, (early.timestamp(), early.timestamp()))
    times = {"timestamp": [early, NOW]}
    shown = pl.DataFrame({name: times.get(name, [None, None]) for name in IMPRESSION_DTYPES}, IMPRESSION_DTYPES)
    lake.write_days(IMPRESSIONS, shown, "part")
    for day, status in ((1, COMPLETE), (2, "failed"), (3, COMPLETE), (30, "running")):
        run = settings.directory / "runs" / f"202405{day:02}T000000Z"
        write_json(run / MANIFEST, {"as_of": f"2024-05-{day:02}T00:00:00+00:00", "status": status})
    audit(settings, "publish")
    rotated = settings.directory / str(rotate_audit_log(settings))
    (settings.directory / AUDIT_FILE).unlink()
    (settings.directory / HEAD_FILE).unlink()
    line = json.loads((rotated / AUDIT_FILE).read_text())
    (rotated / AUDIT_FILE).write_text(json.dumps({**line, "time": early.isoformat()}) + "\n")
    audit(settings, "erase")
    now = json.loads((settings.directory / AUDIT_FILE).read_text())
    half = (NOW - timedelta(days=6)).isoformat()
    (settings.directory / AUDIT_FILE).write_text(json.dumps({**now, "time": half}) + "\n")
    return lake
