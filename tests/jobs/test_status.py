"""The catalogue in the status of an installation."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.cli.status import print_status
from jobs.lake.lake import open_lake
from jobs.status import CatalogueStatus, read_catalogue_status, read_status
from recsys.schema import ONLINE_CHANGE_DTYPES
from recsys.settings import Redis, Settings
from tests.ingests import LATEST, ingest_files

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
ITEMS = """item_id,available,stock,valid_from,valid_until
on,true,0,,
off,false,3,,
sold out,,0,,
over,,1,,2024-05-01T12:00:00Z
early,,,2024-05-01T12:00:01Z,
off and over,false,,,2024-05-01T12:00:00Z
"""


def test_the_status_counts_items_by_what_they_are_now_and_names_the_last_changes(
    tmp_path: Path, valkey: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    port = valkey.connection_pool.connection_kwargs["port"]
    settings = Settings(directory=tmp_path / "var", redis=Redis(url=f"redis://127.0.0.1:{port}/0"))
    lake = open_lake(settings)
    assert read_catalogue_status(lake, NOW) == CatalogueStatus(0, 0, 0, 0, {})

    (tmp_path / "items.csv").write_text(ITEMS.replace("sold out", "sold_out").replace("off and over", "gone"))
    second, online = LATEST - timedelta(hours=1), NOW - timedelta(minutes=1)
    ingest_files(lake, tmp_path / "items.csv")
    (tmp_path / "items_more.csv").write_text("item_id,title\non,On\n")
    ingest_files(lake, tmp_path / "items_more.csv", latest=second + timedelta(days=1))
    ingest_files(lake, tmp_path / "items_more.csv", latest=LATEST + timedelta(days=9))  # changes nothing
    with lake.locked():
        change = pl.DataFrame([{"item_id": "on", "stock": 1.0}], schema=lake.items().collect_schema())
        lake.merge_online_items(change, online, lake.last_ingest())
        lake.merge_online_times(pl.DataFrame([("on", online)], schema=dict(ONLINE_CHANGE_DTYPES), orient="row"))

    changes = {"items": second, "online": online}
    assert read_catalogue_status(lake, NOW) == CatalogueStatus(6, 1, 3, 2, changes)
    assert read_catalogue_status(lake, NOW + timedelta(seconds=1)).offered == 2

    print_status(read_status(settings, NOW))
    shown = capsys.readouterr().out
    assert "Catalogue: 6 items; 1 can be recommended, 3 are unavailable, 2 are outside their validity" in shown
    assert "Last change of the catalogue: items 2024-12-31 23:00 UTC; online 2024-05-01 11:59 UTC" in shown
