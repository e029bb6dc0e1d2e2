"""With a key, the lake and everything computed from it hold users by their pseudonyms only."""

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
import redis

from jobs.ingest.ingest import ingest
from jobs.ingest.stream import archive
from jobs.lake.lake import Lake
from recsys.errors import SettingsError, SourceError
from recsys.pseudonyms import Pseudonyms, pseudonym
from recsys.settings import ColumnMapping, Sources, Table
from recsys.store.keys import Keys

Recsys = Callable[..., subprocess.CompletedProcess[str]]

KEY = "a key of the shop"
PSEUDONYMS = Pseudonyms((KEY,))
KEYS = Keys("recsys")
LATEST = datetime(2030, 1, 1, tzinfo=UTC)
CSV = """user_id,item_id,event,timestamp,ip,user_agent
user1,item1,view,2026-01-05T10:00:00Z,10.0.0.1,Firefox
user2,no id,view,2026-01-05T10:00:00Z,10.0.0.1,Firefox
user 3,item1,view,2026-01-05T10:00:00Z,10.0.0.1,Firefox
user4,item1
"""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    file = tmp_path / "events-web.csv"
    file.write_text(CSV)
    return file


def read_texts(file: Path) -> Iterator[str]:
    """Yield every text in a file; those of Parquet files by column."""
    if file.suffix == ".parquet":
        for column in pl.read_parquet(file).select(pl.selectors.by_dtype(pl.String, pl.List(pl.String))):
            yield from (value for value in column.explode().unique() if value is not None)
    else:
        yield file.read_bytes().decode(errors="replace")


def find_user_traces(directory: Path) -> set[tuple[str, str]]:
    """Return file name and text wherever a file names a user, an address or a browser."""
    files = [file for file in directory.rglob("*") if file.is_file()]
    assert len(files) > 5
    texts = {(file.name, value) for file in files for value in read_texts(file)}
    return {(name, value[:200]) for name, value in texts if any(person in value for person in PEOPLE)}


PEOPLE = [*(f"user{number}" for number in range(80)), "10.0.0.1", "Firefox"]


def test_without_a_key_the_same_files_do_name_them(shop: Path, csv: Path, tmp_path: Path) -> None:
    ingest((str(shop), str(csv)), Sources(), Lake(tmp_path / "lake"), LATEST)
    assert find_user_traces(tmp_path / "lake")


def test_an_ingest_keeps_pseudonyms_and_counts_as_without(shop: Path, csv: Path, tmp_path: Path) -> None:
    plain, hidden = Lake(tmp_path / "plain"), Lake(tmp_path / "hidden", pseudonyms=Pseudonyms((KEY,)))
    counts = [ingest((str(shop), str(csv)), Sources(), lake, LATEST) for lake in (plain, hidden)]
    assert counts[0] == counts[1]
    expected = plain.events().collect().sort("event_id")
    expected = expected.with_columns(
        pl.Series("user_id", map(PSEUDONYMS.user, expected["user_id"])),
        pl.Series("event_id", map(PSEUDONYMS.event, expected["event_id"])),
        pl.lit(None, pl.String).alias("ip"),
        pl.lit(None, pl.String).alias("user_agent"),
    )
    assert hidden.events().collect().sort("event_id").equals(expected.sort("event_id"))
    assert hidden.users().collect().rows() == [(pseudonym(KEY, "user1"), '{"club":"gold"}')]
    (rejects,) = (hidden.directory / "quarantine").glob("*.parquet")
    assert set(pl.read_parquet(rejects).select("user_id", "line").rows()) == {
        (None, "(not shown)"),
        (pseudonym(KEY, "user2"), None),
        (pseudonym(KEY, "user 3"), None),
    }


def test_a_watermark_that_is_an_id_is_refused(tmp_path: Path) -> None:
    columns: dict[str, ColumnMapping] = {name: name for name in ("user_id", "item_id", "event", "timestamp")}
    columns["event_id"] = "number"
    orders = Table("orders", "events", query="SELECT 1", connection="shop", watermark="number", columns=columns)
    sources = Sources(tables=(orders,), connections={"shop": f"sqlite:///{tmp_path}/shop.db"})
    with pytest.raises(SettingsError, match=r"watermark = 'number': it is read as event_id, .* a column of times"):
        ingest((), sources, Lake(tmp_path / "lake", pseudonyms=PSEUDONYMS), LATEST)


def test_an_error_names_no_value(tmp_path: Path) -> None:
    file = tmp_path / "events.csv"
    file.write_text("user_id,item_id,event,timestamp\nann-smith,tea,view,2026-01-05T10:00:00Z\n")
    columns: dict[str, ColumnMapping] = {
        "user_id": "CAST(user_id AS INT)",
        "item_id": "item_id",
        "event": "event",
        "timestamp": "timestamp",
    }
    sources = Sources(tables=(Table("log", "events", files="events*", columns=columns),))
    for pseudonyms, is_named in ((None, True), (PSEUDONYMS, False)):
        with pytest.raises(SourceError, match="cannot be computed") as error:
            ingest((str(file),), sources, Lake(tmp_path / str(is_named), pseudonyms=pseudonyms), LATEST)
        assert ("ann-smith" in str(error.value)) is is_named


def test_what_comes_from_online_is_hidden_already(valkey: redis.Redis, tmp_path: Path) -> None:
    name = pseudonym(KEY, "user1")
    event = {
        "event_id": "e",
        "user_id": name,
        "item_id": "tea",
        "event": "view",
        "timestamp": "2026-01-05T10:00:00Z",
    }
    lake = Lake(tmp_path / "lake", pseudonyms=Pseudonyms((KEY,)))
    valkey.xadd(KEYS.events, {"event": json.dumps(event)})
    assert archive(lake, Sources(), valkey, KEYS, LATEST).events == 1
    assert lake.events().collect()["user_id"].to_list() == [name]
