"""Members of zip archives are read as files."""

import os
import zipfile
from pathlib import Path

import pytest

from jobs.ingest.files import SkippedFile
from jobs.ingest.formats import zip_archive
from jobs.ingest.ingest import ingest
from jobs.ingest.source_records import read_records
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import Sources
from tests.ingests import LATEST, ingest_files

EVENTS = "user_id,item_id,event,timestamp\nann,{},view,2024-05-01\n"


def write_zip(file: Path, **members: str | bytes) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def test_each_member_is_a_source_of_its_own(tmp_path: Path):
    members = {"may/events-1.csv": EVENTS.format("tea"), "june/events-1.csv": EVENTS.format("mug")}
    others = {"readme.pdf": "", "__MACOSX/events.csv": "", ".a/events.csv": "", "b.zip": "", "notes.csv": "a\n1\n"}
    file = write_zip(tmp_path / "shop.zip", **members, **others)
    skipped: list[SkippedFile] = []
    lake = Lake(tmp_path / "lake")
    for new in (1, 0):
        skipped.clear()
        counts = ingest((str(tmp_path),), Sources(), lake, LATEST, on_skipped=skipped.append)
        assert [(count.file, count.accepted) for count in counts] == [("events-1.csv", new)] * 2
        assert sorted(each.file.removeprefix(f"{file}/") for each in skipped) == sorted(others)
    assert sorted(lake.events().collect()["item_id"]) == ["mug", "tea"]
    assert {record.source for record in read_records(lake)} == {f"events/{file}/{name}" for name in members}


def test_an_archive_that_cannot_be_read_leaves_the_lake_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lake = Lake(tmp_path / "lake")
    whole = write_zip(tmp_path / "shop.zip", **{"events.csv": os.urandom(40_000)})
    content = bytearray(whole.read_bytes())
    content[20_000] ^= 1
    damaged, short = tmp_path / "damaged.zip", tmp_path / "short.zip"
    damaged.write_bytes(content)
    short.write_bytes(content[:-30])
    for file, problem in (
        (damaged, "damaged.zip/events.csv: cannot be read as zip"),
        (short, "short.zip: cannot be"),
    ):
        with pytest.raises(SourceError, match=problem):
            ingest_files(lake, file)
    monkeypatch.setattr(zip_archive, "MAX_MEMBER_BYTES", 10_000)
    with pytest.raises(SourceError, match=r"shop\.zip/events\.csv: it has more than"):
        ingest_files(lake, whole)
    with pytest.raises(SourceError, match="no table reads any of the files there"):
        ingest_files(lake, write_zip(tmp_path / "empty.zip", **{"a.pdf": "x"}))
    assert lake.count_events() == 0
