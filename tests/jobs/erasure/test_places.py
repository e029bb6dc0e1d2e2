"""What is of a person and what is not, and what users who opt out leave."""

import json
from datetime import UTC, datetime
from pathlib import Path

from jobs.erasure.lake_places import LAKE_PLACES
from jobs.erasure.persons import Installation, Persons
from jobs.lake.lake import Lake
from recsys.store.keys import Keys
from tests.ingests import ingest_files, read_quarantined_rows, write_events
from tests.jobs.conftest import Recsys

EARLY, LATE = "2024-05-01T10:00:00", "2024-05-03T10:00:00"
NAMES = ("lake events", "lake quarantine")


def test_only_rows_of_the_id_from_before_the_erasure_go(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake", buckets=4)
    users = ("7", "77", "a/7")
    rows = [{"user_id": user, "timestamp": time} for user in users for time in (EARLY, LATE)]
    bad = [{"user_id": user, "item_id": "7", "event": "look"} for user in users]
    file = write_events(tmp_path / "events.csv", *rows, *bad)
    file.write_text(file.read_text() + "7,tea,view\n77,mug,view\n")  # lines that are no rows
    ingest_files(lake, file)
    installation = Installation(tmp_path, lake, client=None, keys=Keys("recsys"))  # type: ignore[arg-type]
    places = [place for place in LAKE_PLACES if place.name in NAMES]

    persons = Persons(frozenset({"7"}), datetime(2024, 5, 2, tzinfo=UTC))
    found = {place.name: list(place.find(installation, persons)) for place in places}
    assert [(row["user_id"], row["timestamp"].day) for row in found["lake events"]] == [("7", 1)]
    assert {place.name: place.erase(installation, persons) for place in places} == {
        name: len(rows) for name, rows in found.items()
    }
    left = lake.events().collect().sort("timestamp", "user_id")
    assert left["user_id"].to_list() == ["77", "a/7", "7", "77", "a/7"]
    quarantined = read_quarantined_rows(lake)
    assert quarantined["user_id"].drop_nulls().to_list() == ["77", "a/7"]
    assert quarantined["line"].drop_nulls().to_list() == ["77,mug,view"]
    assert not any(list(place.find(installation, persons)) for place in places)


def test_the_lake_takes_no_events_of_a_user_who_opts_out_until_the_user_opts_in(
    recsys: Recsys, data_directory: Path, tmp_path: Path, valkey_url: str
) -> None:
    redis = {"RECSYS_REDIS_URL": valkey_url}
    file = write_events(tmp_path / "events.csv", {"user_id": "ann"}, {"user_id": "bob"})
    recsys("ingest", file, **redis)
    assert "gets personal lists" in recsys("consent", "show", "ann", **redis).stdout
    assert recsys("consent", "refuse", "ann", **redis).returncode == 0
    assert "has opted out since" in recsys("consent", "show", "ann", **redis).stdout
    lake = Lake(data_directory / "lake")
    assert lake.events().collect()["user_id"].to_list() == ["bob"]
    assert recsys("erase", "ann", **redis).returncode == 0
    (count,) = json.loads(recsys("ingest", file, "--json", **redis).stdout)["sources"]
    assert (count["erased"], count["opted_out"]) == (1, 0)
    (tmp_path / "later").mkdir()
    tonight = f"{datetime.now(UTC):%Y-%m-%d}T23:59:59"
    later = write_events(tmp_path / "later" / "events.csv", {"user_id": "ann", "timestamp": tonight})
    (count,) = json.loads(recsys("ingest", later, "--json", **redis).stdout)["sources"]
    assert (count["erased"], count["opted_out"]) == (0, 1)
    assert recsys("consent", "give", "ann", **redis).returncode == 0
    recsys("ingest", later, **redis)
    assert sorted(lake.events().collect()["user_id"]) == ["ann", "bob"]
    wrong = recsys("consent", "refuse", "a b", **redis)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
