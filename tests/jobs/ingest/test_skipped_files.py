"""Files that an ingest skips are reported; manifests; files that change while they are read."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.ingest.files import SkippedFile
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import ColumnMapping, Sources, Table
from tests.commands import run_recsys
from tests.ingests import EVENT, LATEST, hash_lake, ingest_files, read_quarantined_rows, write_events


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """A directory for files."""
    (tmp_path / "exports").mkdir()
    return tmp_path / "exports"


def test_files_that_are_not_read_are_reported_with_the_reason(lake: Lake, exports: Path):
    write_events(exports / "events.csv", {})
    for name in ("stores.csv", "events.pdf", "events.csv.part"):
        (exports / name).write_text("a\n")
    skipped: list[SkippedFile] = []
    counts = ingest((str(exports),), Sources(), lake, LATEST, on_skipped=skipped.append)
    assert [count.file for count in counts] == ["events.csv"]
    assert {Path(file.file).name: file.reason.partition(";")[0] for file in skipped} == {
        "stores.csv": "no table reads a file of this name",
        "events.pdf": "unknown format",
        "events.csv.part": "it is still being written, by its name",
    }


def test_the_command_prints_a_line_for_each_of_ten_skipped_files_and_counts_the_others(
    tmp_path: Path, exports: Path
):
    (exports / "events.csv").write_bytes(
        "user_id,item_id,event,timestamp\nann,thé,view,2024-05-01\n".encode("cp1252")
    )
    for number in range(12):
        (exports / f"{number:02d}.pdf").write_text("a\n")
    ended = run_recsys(tmp_path, tmp_path / "var", "ingest", exports)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(": unknown format") == 10
    assert f"  skipped {exports}/00.pdf: unknown format" in ended.stdout
    assert "  skipped 2 more files\n" in ended.stdout
    assert "  events.csv: read as cp1252\n" in ended.stdout
    assert ended.stderr.count("file skipped") == 10
    report = json.loads(run_recsys(tmp_path, tmp_path / "var", "ingest", exports, "--json").stdout)
    assert [count["notes"] for count in report["sources"]] == [["read as cp1252"]]
    assert [Path(file["file"]).name for file in report["skipped_files"]] == [f"{n:02d}.pdf" for n in range(12)]


def test_the_lake_is_no_source_of_itself(exports: Path):
    write_events(exports / "events.csv", {}, {"item_id": "a b"})
    lake = Lake(exports / "var" / "lake")
    sources = Sources(tables=(Table("log", "events", "*", {name: name for name in EVENT}),))
    for _ in range(2):
        assert [count.file for count in ingest_files(lake, exports, sources=sources)] == ["events.csv"]


def test_files_of_a_directory_without_a_marker_wait(lake: Lake, exports: Path):
    for day in ("1", "2"):
        (exports / day).mkdir()
        write_events(exports / day / f"events-{day}.csv", {"item_id": day})
    (exports / "1" / "_SUCCESS").touch()
    skipped: list[SkippedFile] = []
    sources = Sources(require_success=True)
    counts = ingest((str(exports),), sources, lake, LATEST, on_skipped=skipped.append)
    assert [count.file for count in counts] == ["events-1.csv"]
    assert skipped == [SkippedFile(f"{exports}/2/events-2.csv", "its directory has no file _SUCCESS")]


def test_a_file_that_changes_while_it_is_read_leaves_the_lake_as_it_was(lake: Lake, exports: Path):
    ingest_files(lake, write_events(exports / "events-0.csv", {}))
    before = hash_lake(lake)
    file = write_events(exports / "events-1.csv", {"item_id": "mug"}, {"item_id": "pot"})

    def append(_rows: int) -> None:
        with file.open("a") as opened:
            opened.write("ann,cup,view,2024-05-01\n")

    with pytest.raises(SourceError, match=r"events-1\.csv: the file changed while it was read \("):
        ingest((str(exports / "events-1.csv"),), Sources(), lake, LATEST, append)
    assert hash_lake(lake) == before


def write_manifest(file: Path, *entries: Any) -> Path:
    """Write a manifest as Redshift's UNLOAD does."""
    file.write_text(json.dumps({"entries": [{"url": e} if isinstance(e, str) else e for e in entries]}))
    return file


@pytest.mark.parametrize("name", ["manifest.json", "events.manifest"])
def test_a_manifest_stands_for_exactly_its_files(lake: Lake, exports: Path, name: str):
    for number in range(4):
        write_events(exports / f"events-{number}.csv", {"item_id": str(number)})
    size = (exports / "events-2.csv").stat().st_size
    entry = {"url": "events-2.csv", "mandatory": True, "meta": {"content_length": size}}
    urls = ["events-0.csv", f"file://{exports}/events-1.csv", entry]
    counts = ingest_files(lake, write_manifest(exports / name, *urls))
    assert [count.file for count in counts] == ["events-0.csv", "events-1.csv", "events-2.csv"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"entries": [{"url": "events-9.csv"}]}, r"its file .*/events-9\.csv is missing"),
        (
            {"entries": [{"url": "events.csv", "meta": {"content_length": 7}}]},
            r"its file .*/events\.csv has \d+ bytes; the manifest says 7",
        ),
        ({"entries": [{"file": "events.csv"}]}, r"\{'file': 'events.csv'\} is no entry of a manifest"),
        ({"entries": []}, "cannot be read as a manifest: expected"),
        ([], "cannot be read as a manifest: "),
    ],
)
def test_a_manifest_that_does_not_hold_is_an_error(lake: Lake, exports: Path, content: Any, reason: str):
    write_events(exports / "events.csv", {})
    file = exports / "manifest.json"
    file.write_text(json.dumps(content))
    with pytest.raises(SourceError, match=reason) as error:
        ingest_files(lake, file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


def test_a_file_of_a_manifest_that_cannot_be_read_is_an_error(lake: Lake, exports: Path):
    write_events(exports / "stores.csv", {})
    with pytest.raises(SourceError, match=r"stores\.csv: no table reads a file of this name"):
        ingest_files(lake, write_manifest(exports / "manifest.json", "stores.csv"))


def test_broken_lines_are_in_quarantine_with_their_numbers(lake: Lake, exports: Path):
    file = write_events(exports / "events.csv", {})
    file.write_text(file.read_text() + 'ann,tea\n"bob,tea,view,2024-05-01\nbob,tea,view,2024-05-01\n')
    (count,) = ingest_files(lake, file)
    assert (count.rows, count.accepted, count.quarantined) == (4, 2, 2)
    assert count.rules == {"line_is_whole": 1, "quote_is_closed": 1}
    assert count.notes == ("line 4: a quote opens and does not close",)
    assert read_quarantined_rows(lake).select("line_number", "line", "rules").rows() == [
        (3, "ann,tea", "line_is_whole"),
        (4, '"bob,tea,view,2024-05-01', "quote_is_closed"),
    ]


def test_the_contract_s_own_columns_need_no_mapping(lake: Lake, exports: Path):
    (exports / "items.csv").write_text("item_id,title,price,category\n007,Tea,3.5,Food > Tea\n")
    (exports / "users.jsonl").write_text('{"user_id": "ann"}\n')
    counts = ingest_files(lake, exports)
    assert [(count.table, count.accepted) for count in counts] == [("items", 1), ("users", 1)]
    (item,) = lake.items().collect().to_dicts()
    assert (item["item_id"], item["title"], item["price"], item["category"]) == ("007", "Tea", 3.5, ["Food", "Tea"])


def test_one_mapping_reads_a_table_in_every_format(lake: Lake, exports: Path):
    lines = "user;item\nann;tea\n"
    (exports / "log-1.csv").write_text(lines)
    (exports / "log-2.txt").write_text(lines.replace(";", "\t"))
    (exports / "log-3.json").write_text('{"rows": [{"user": "ann", "item": "tea"}]}')
    columns: dict[str, ColumnMapping] = {"user_id": "user", "item_id": "item", "event": "'view'"}
    table = Table("log", "events", "log*", columns | {"timestamp": "'2024-05-01'"})
    counts = ingest_files(lake, exports, sources=Sources(tables=(table,)))
    assert [(count.file, count.rows, count.accepted) for count in counts] == [
        ("log-1.csv", 1, 1),
        ("log-2.txt", 1, 0),
        ("log-3.json", 1, 0),
    ]
