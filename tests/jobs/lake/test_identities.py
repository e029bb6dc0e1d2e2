"""Events of guests who logged in are those of the users, in every bucket, until that is undone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.ingest.stream import ArchiveResult
from jobs.ingest.undo import undo
from jobs.lake.identities import resolve_identities
from jobs.lake.lake import Lake
from jobs.pipeline.interactions import compute_interactions
from recsys.schema import IDENTITY_DTYPES
from recsys.settings import Sources
from tests.event_stream import EVENT, append, archive_stream
from tests.ingests import ingest_files

LOGIN = datetime(2024, 5, 2, tzinfo=UTC)
LATER = LOGIN + timedelta(days=1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake of four buckets: a guest's events of one day and the user's of the next, and the log-in between."""
    lake = Lake(tmp_path / "lake", buckets=4)
    (tmp_path / "events.csv").write_text(
        "user_id,item_id,event,timestamp\ncookie1,tea,view,2024-05-01T10:00:00\n"
        "ann,mug,purchase,2024-05-02T10:00:00\nbob,tea,view,2024-05-02T10:00:00\n"
    )
    (tmp_path / "identities.csv").write_text("guest_id,user_id,timestamp\ncookie1,ann,2024-05-02T00:00:00\n")
    ingest_files(lake, tmp_path / "events.csv")
    ingest_files(lake, tmp_path / "identities.csv")
    return lake


def items_of(lake: Lake) -> dict[str, list[str]]:
    """Return the items of each user, and check that a user's events are in the user's bucket only."""
    buckets = [lake.events(bucket).collect() for bucket in range(lake.buckets)]
    together = pl.concat(buckets).sort("user_id", "item_id")
    assert together.equals(lake.events().collect().sort("user_id", "item_id"))
    assert sum(bucket["user_id"].n_unique() for bucket in buckets) == together["user_id"].n_unique()
    return dict(together.group_by("user_id", maintain_order=True).agg("item_id").rows())


def test_a_guest_and_a_log_in_are_one_history(lake: Lake):
    assert items_of(lake) == {"ann": ["mug"], "bob": ["tea"], "cookie1": ["tea"]}
    assert items_of(lake.joining_guests(LATER)) == {"ann": ["mug", "tea"], "bob": ["tea"]}
    interactions = compute_interactions(lake, Sources(), LATER)
    assert interactions.users.values.to_list() == ["ann", "bob"]
    assert interactions.user_items[[0]].nnz == 2


def test_a_run_before_the_log_in_does_not_know_it(lake: Lake):
    assert items_of(lake.joining_guests(LOGIN)) == items_of(lake)


def test_undoing_the_ingest_takes_the_identity_back(lake: Lake):
    undo(lake, 2)
    assert items_of(lake.joining_guests(LATER)) == items_of(lake)


def test_a_screened_user_is_left_out_with_the_events_as_a_guest(lake: Lake):
    assert items_of(lake.joining_guests(LATER).excluding(pl.Series(["ann"]))) == {"bob": ["tea"]}


def test_guests_are_followed_to_the_last_user_and_circles_stay_guests():
    rows = [("a", "b", 0), ("b", "c", 0), ("x", "y", 0), ("y", "x", 0), ("late", "c", 9), ("me", "me", 0)]
    identities = pl.DataFrame(
        [(guest, user, LOGIN + timedelta(days=day)) for guest, user, day in rows],
        schema=IDENTITY_DTYPES,
        orient="row",
    )
    assert resolve_identities(identities, LATER).rows() == [("a", "c"), ("b", "c")]


def test_a_log_in_online_comes_into_the_lake(valkey: redis.Redis, tmp_path: Path):
    lake = Lake(tmp_path / "lake", buckets=4)
    append(valkey, "event", {**EVENT, "user_id": "guest:s1"}, {**EVENT, "event_id": "e2", "item_id": "mug"})
    append(valkey, "identity", {"guest_id": "guest:s1", "user_id": "ann", "timestamp": "2017-12-31T23:59:59+00:00"})
    append(
        valkey, "identity", {"guest_id": "two words", "user_id": "ann", "timestamp": "2017-12-31T23:59:59+00:00"}
    )
    assert archive_stream(lake, valkey) == ArchiveResult(events=2, identities=1, invalid=1, entries=4)
    assert items_of(lake.joining_guests(LATER)) == {"ann": ["mug", "tea"]}
