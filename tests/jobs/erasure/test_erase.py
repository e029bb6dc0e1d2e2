"""Erasing persons: nothing of them is left anywhere, and the next night is one that never knew them."""

import fcntl
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from jobs.erasure.erase import finish_erasures, request_erasure
from jobs.erasure.persons import Installation
from jobs.lake.erasure_requests import read_requests
from jobs.lake.lake import Lake
from jobs.lake.opt_outs import change_opt_outs
from jobs.pipeline import pipeline
from jobs.pipeline.step_names import LISTS, Until
from jobs.progress import show_progress
from jobs.scheduler.lock import job_lock
from recsys.pseudonyms import Pseudonyms, pseudonym
from recsys.settings import load_settings
from tests.event_stream import archive_stream
from tests.ingests import KilledError, fail_at_rename, ingest_files
from tests.jobs.conftest import Recsys
from tests.jobs.erasure.persons import (
    GUEST,
    PERSON,
    SETTINGS,
    connect,
    find_marks,
    plant_in_files,
    plant_online,
    write_person,
    write_shop,
)

AS_OF, NEXT = "2026-04-11", "2026-04-12"
KEY = "a long secret key"


def write_run(directory: Path) -> Path:
    """Write a run that has begun only."""
    run = directory / "runs" / "20260401T000000Z"
    run.mkdir(parents=True)
    manifest = {"as_of": "2026-04-01T00:00:00+00:00", "status": "running", "steps": {}, "error": None}
    (run / "manifest.json").write_text(json.dumps(manifest))
    return run


@pytest.fixture
def config(tmp_path: Path) -> tuple[str, str]:
    """The settings of a small shop."""
    file = tmp_path / "shop.toml"
    file.write_text(SETTINGS)
    return "--config", str(file)


def test_nothing_of_a_person_is_left_in_any_file_or_key(
    recsys: Recsys, config: tuple[str, str], data_directory: Path, tmp_path: Path
) -> None:
    shop, person = write_shop(tmp_path / "shop"), write_person(tmp_path / "person")
    assert recsys(*config, "ingest", shop, person).returncode == 0
    client, other_run = connect(data_directory), write_run(data_directory)
    plant_online(client)
    (pending,) = json.loads(recsys(*config, "erase", "user5", "--json").stdout)
    shutil.rmtree(other_run)
    assert recsys(*config, "nightly", "--as-of", AS_OF).returncode == 0
    closed = json.loads(Path(pending["file"]).read_text())
    assert (pending["receipt"]["closed_by"], closed["closed_by"]) == (None, "20260411T000000Z")
    plant_online(client)
    plant_in_files(data_directory)
    with Lake(data_directory / "lake").locked() as scratch:
        change_opt_outs(scratch.parent, [(PERSON, datetime(2026, 4, 10, tzinfo=UTC), True)])
    marked = find_marks(data_directory, client)
    others = {file: file.stat().st_mtime_ns for file in data_directory.glob("lake/events/*/date=2026-03*/*")}

    exported = json.loads(recsys(*config, "export", PERSON).stdout)
    done = recsys(*config, "erase", PERSON, "--json")

    assert done.returncode == 0, done.stderr
    assert find_marks(data_directory, client) == ["lake/opt_outs.parquet"]
    (erased,) = json.loads(done.stdout)
    counts = erased["receipt"]["counts"]
    held = {name for name, count in counts.items() if count}
    assert held == {name for name, rows in exported["places"].items() if rows}
    assert held == set(counts)
    assert exported["opted_out_since"].startswith("2026-04-10")
    assert (exported["guests"], erased["receipt"]["guests"], counts["lake events"]) == ([GUEST], 1, 13)
    assert len(marked) > len(held)
    assert others == {file: file.stat().st_mtime_ns for file in others}
    assert recsys(*config, "erase", "--verify", erased["file"]).returncode == 0


def test_a_receipt_is_verified_and_finds_what_comes_back(
    recsys: Recsys, config: tuple[str, str], data_directory: Path, tmp_path: Path, valkey_url: str
) -> None:
    redis = {"RECSYS_REDIS_URL": valkey_url}
    shop = write_shop(tmp_path / "shop")
    recsys(*config, "ingest", shop, **redis)
    write_run(data_directory)
    users = tmp_path / "users.txt"
    users.write_text("user1\nuser2\n\n")
    done = recsys(*config, "erase", "user3", "--file", users, "--forever", "--json", **redis)
    assert done.returncode == 0, done.stderr
    (erased,) = json.loads(done.stdout)
    receipt, file = erased["receipt"], Path(erased["file"])
    assert (len(receipt["subjects"]), len(receipt["pending"]), receipt["closed_by"]) == (3, 1, None)
    assert "user" not in json.dumps(receipt["subjects"])

    def verify(*user: str) -> tuple[int, str]:
        verified = recsys(*config, "erase", "--verify", file, *user, **redis)
        return verified.returncode, verified.stderr

    assert verify() == verify("user1") == (0, "")
    assert verify("user4")[0] == 2
    events = next((data_directory / "lake" / "events").rglob("*.parquet"))
    pl.read_parquet(events).with_columns(user_id=pl.lit("user1")).write_parquet(events)
    assert verify("user1")[0] == verify()[0] == 2
    assert "lake events" in verify()[1]
    assert recsys(*config, "erase", "user1", **redis).returncode == 0
    assert verify()[0] == 0

    file.write_text(json.dumps({**json.loads(file.read_text()), "guests": 7}))
    status, error = verify()
    assert (status, "signature is wrong" in error) == (2, True)


def test_the_next_night_is_that_of_a_shop_that_never_knew_the_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, valkey_url: str
) -> None:
    shop, person = write_shop(tmp_path / "shop"), write_person(tmp_path / "person")
    file = tmp_path / "shop.toml"
    file.write_text(SETTINGS)
    without_report = tuple(step for step in pipeline.STEPS if step.name not in ("report", "publish"))
    monkeypatch.setattr(pipeline, "STEPS", without_report)

    def lists(name: str, *given: Path, erased: str | None = None) -> dict[str, pl.DataFrame]:
        settings = load_settings(file, {"RECSYS_DIRECTORY": str(tmp_path / name), "RECSYS_REDIS_URL": valkey_url})
        lake = Lake(settings.directory / "lake")
        ingest_files(lake, *given, latest=datetime(2027, 1, 1, tzinfo=UTC))
        if erased is not None:
            installation = Installation.open(settings)
            request_erasure(installation, [erased, GUEST])
            finish_erasures(installation)
        with show_progress() as progress:
            run = pipeline.advance_run(settings, datetime(2026, 4, 11, tzinfo=UTC), Until.EVALUATE, progress).run
        return {each.name: pl.read_parquet(each) for each in sorted((run.directory / LISTS).glob("*.parquet"))}

    never, erased = lists("never", shop), lists("erased", shop, person, erased=PERSON)
    assert never.keys() == erased.keys()
    assert all(rows.equals(erased[name]) for name, rows in never.items())


def test_an_erasure_that_is_killed_anywhere_is_finished_by_the_next(tmp_path: Path, valkey_url: str) -> None:
    shop = write_person(tmp_path / "person")
    lake = Lake(tmp_path / "var" / "lake")
    ingest_files(lake, shop, latest=datetime(2027, 1, 1, tzinfo=UTC))
    shutil.copytree(tmp_path / "var", tmp_path / "before")
    step, is_killed = 0, True
    while is_killed:
        step += 1
        shutil.rmtree(tmp_path / "var")
        shutil.copytree(tmp_path / "before", tmp_path / "var")
        settings = load_settings(None, {"RECSYS_DIRECTORY": str(tmp_path / "var"), "RECSYS_REDIS_URL": valkey_url})
        installation = Installation.open(settings)
        client = installation.client
        plant_online(client)  # type: ignore[arg-type]
        try:
            with fail_at_rename(step):
                request_erasure(installation, [PERSON])
                archive_stream(lake, client)  # type: ignore[arg-type]
                finish_erasures(installation)
            is_killed = False
        except KilledError:
            if not read_requests(lake.directory):
                request_erasure(installation, [PERSON])
            archive_stream(lake, client)  # type: ignore[arg-type]
            (erasure,) = finish_erasures(installation)
            assert erasure.receipt.counts["lake events"] in (11, 12)  # with one that was in the stream
        assert find_marks(tmp_path / "var", client) == []  # type: ignore[arg-type]
        assert read_requests(lake.directory) == []
    assert step > 8


def test_what_is_given_again_stays_out_and_what_comes_later_is_of_a_new_person(
    recsys: Recsys, config: tuple[str, str], data_directory: Path, tmp_path: Path, valkey_url: str
) -> None:
    redis = {"RECSYS_REDIS_URL": valkey_url}
    person = write_person(tmp_path / "person")
    first = recsys(*config, "ingest", person, **redis)
    assert first.returncode == 0, first.stderr
    for forever in ((), ("--forever",)):
        assert recsys(*config, "erase", PERSON, GUEST, *forever, **redis).returncode == 0
        later = tmp_path / f"later{len(forever)}" / "events.csv"
        later.parent.mkdir()
        tomorrow = datetime.now(UTC).strftime("%Y-%m-%dT23:59:59Z")
        later.write_text(f"user_id,item_id,event,timestamp\n{PERSON},item1,view,{tomorrow}\n")
        ingested = recsys(*config, "ingest", person, later, "--json", **redis)
        assert ingested.returncode == 0, ingested.stderr
        again = json.loads(ingested.stdout)["sources"]
        counts = [(count["file"], count["erased"], count["accepted"]) for count in again]
        of_later = ("events.csv", 1, 0) if forever else ("events.csv", 0, 1)
        assert sorted(counts) == sorted([("events.csv", 12, 0), ("users.csv", 1, 1), of_later])
        events = Lake(data_directory / "lake").events().collect()
        assert events["user_id"].to_list() == ([] if forever else [PERSON])
        assert not list((data_directory / "lake" / "quarantine").glob("*.parquet"))


def test_a_night_at_work_leaves_the_lake_for_later_and_pseudonyms_are_found(
    recsys: Recsys, config: tuple[str, str], data_directory: Path, tmp_path: Path, valkey_url: str
) -> None:
    environment = {"RECSYS_REDIS_URL": valkey_url, "RECSYS_PSEUDONYM_KEY": KEY}
    recsys(*config, "ingest", write_person(tmp_path / "person"), **environment)
    lake = Lake(data_directory / "lake", 1, Pseudonyms((KEY,)))
    assert lake.stored_id(PERSON) in lake.events().collect()["user_id"]
    with job_lock(data_directory, "nightly"):
        waiting = recsys(*config, "erase", PERSON, **environment)
    assert waiting.returncode == 0
    assert "Erased from Redis" in waiting.stderr
    assert lake.stored_id(PERSON) in lake.events().collect()["user_id"]
    with (write_run(data_directory) / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # someone trains a model
        assert recsys(*config, "archive", **environment).returncode == 0
        assert "another process is working" in recsys(*config, "erase", "--pending", **environment).stderr
        assert lake.stored_id(PERSON) in lake.events().collect()["user_id"]
    assert recsys(*config, "archive", **environment).returncode == 0
    assert pseudonym(KEY, PERSON) not in lake.events().collect()["user_id"]
    assert read_requests(lake.directory) == []
    nothing = recsys(*config, "erase", **environment)
    assert (nothing.returncode, "no user is named" in nothing.stderr) == (2, True)
