"""An interrupted run starts over if the events that it reads have changed, not if only later ones have."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from jobs.lake.lake import Lake
from jobs.pipeline.run import open_run
from recsys.contract import Events
from recsys.settings import Settings

AS_OF = datetime(2024, 5, 3, tzinfo=UTC)


def add_event(lake: Lake, event_id: str, moment: datetime) -> None:
    row = {"event_id": event_id, "user_id": "ann", "item_id": "tea", "event": "view", "timestamp": moment}
    with lake.locked():
        lake.add_online_events(pl.LazyFrame([row], schema=pl.Schema(Events)))


@pytest.mark.parametrize(
    ("as_of", "moment", "kept"),
    [
        (AS_OF, AS_OF, True),
        (AS_OF, AS_OF + timedelta(days=1), True),
        (AS_OF, AS_OF - timedelta(microseconds=1), False),
        (AS_OF + timedelta(hours=6), AS_OF, False),
    ],
)
def test_events_of_later_days_leave_its_steps(
    tmp_path: Path, as_of: datetime, moment: datetime, kept: bool
) -> None:
    settings, lake = Settings(directory=tmp_path), Lake(tmp_path / "lake")
    add_event(lake, "first", AS_OF - timedelta(days=1))
    with open_run(settings, lake, as_of) as run:
        run.write_step("features", lambda directory: (directory / "done").touch())
    add_event(lake, "second", moment)
    with open_run(settings, lake, as_of) as run:
        assert ("features" in run.manifest()["steps"]) is kept
