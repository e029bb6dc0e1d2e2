"""Source files: found by path, directory or glob, and matched with tables; what is not read is named."""

import os
from pathlib import Path
from typing import Any

import pytest

from jobs.ingest.files import FoundFile, SkippedFile, find_files, matching_tables
from jobs.ingest.ingest import ingest
from jobs.lake.lake import Lake
from recsys.errors import SourceError
from recsys.settings import Sources, Table
from tests.ingests import LATEST, write_events


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Exports of a shop, among them files that nothing reads."""
    directory = tmp_path / "exports"
    (directory / "2024" / "01").mkdir(parents=True)
    for name in (
        "events.csv",
        "2024/events.csv.gz",
        "2024/01/EVENTS.CSV",
        "items.jsonl",
        "users.ndjson",
        "a.parquet",
    ):
        (directory / name).touch()
    for name in ("readme.md", "events.csv.md5", "events.jsonl.gz", "b.rar"):
        (directory / name).touch()
    return directory


def names(found: tuple[list[FoundFile], list[SkippedFile]], directory: Path) -> list[str]:
    """Paths of the files that are read."""
    return [str(file.path.relative_to(directory)) for file in found[0]]


def skipped(found: tuple[list[FoundFile], list[SkippedFile]], directory: Path) -> dict[str, str]:
    """Path of each file that is skipped, and the reason."""
    return {str(Path(file.file).relative_to(directory)): file.reason for file in found[1]}


def touch(directory: Path, *names: str) -> Path:
    """Write small files."""
    for name in names:
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text("a\n")
    return directory


def test_a_directory_is_searched_through_for_the_formats_that_are_read(exports: Path):
    assert names(find_files((str(exports),)), exports) == [
        "2024/01/EVENTS.CSV",
        "2024/events.csv.gz",
        "a.parquet",
        "events.csv",
        "events.jsonl.gz",
        "items.jsonl",
        "users.ndjson",
    ]


def test_globs_find_files_at_any_depth(exports: Path):
    assert names(find_files((f"{exports}/*.csv*",)), exports) == ["events.csv"]
    assert names(find_files((f"{exports}/**/events.csv*",)), exports) == ["2024/events.csv.gz", "events.csv"]


def test_a_file_named_by_several_paths_is_found_once(exports: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(exports)
    paths = ("events.csv", str(exports / "events.csv"), "*.csv", "2024/../events.csv")
    assert names(find_files(paths), exports) == ["events.csv"]


def test_a_link_keeps_the_name_that_says_which_table_reads_it(exports: Path):
    (exports / "latest.csv").symlink_to(exports / "events.csv")
    assert names(find_files((str(exports / "latest.csv"),)), exports) == ["latest.csv"]


@pytest.mark.parametrize("path", ["missing.csv", "missing/*.csv", "*.md"])
def test_a_path_that_leads_to_no_file_is_named(exports: Path, path: str):
    with pytest.raises(SourceError, match=r"no \.parquet, \.csv, .* file found") as error:
        find_files((str(exports / "events.csv"), str(exports / path)))
    assert path in str(error.value)


def test_a_directory_without_a_file_that_can_be_read_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=f"{tmp_path}: no .parquet"):
        find_files((str(tmp_path),))


def test_a_file_of_an_unknown_format_is_refused_when_it_is_named(exports: Path):
    with pytest.raises(SourceError, match=r"readme\.md: unknown format; expected one of \.parquet, "):
        find_files((str(exports / "readme.md"),))


def test_without_tables_the_name_says_which_part_of_the_contract_a_file_holds():
    kinds = {
        name: [table.kind for table in matching_tables(name, Sources())]
        for name in ("events.csv", "events-2024-01.parquet", "items.jsonl", "users_new.csv", "orders.csv")
    }
    assert kinds == {
        "events.csv": ["events"],
        "events-2024-01.parquet": ["events"],
        "items.jsonl": ["items"],
        "users_new.csv": ["users"],
        "orders.csv": [],
    }


def test_one_file_feeds_every_table_whose_pattern_fits():
    tables = (
        Table("lines", "events", "orders*", {}),
        Table("articles", "items", "*.csv", {}),
        Table("people", "users", "users*", {}),
    )
    assert [table.name for table in matching_tables("orders-1.csv", Sources(tables=tables))] == [
        "lines",
        "articles",
    ]


def test_files_of_every_format_are_found(tmp_path: Path):
    suffixes = ["parquet", "xlsx", "xls", "ods", "zip", *("csv", "tsv", "txt", "jsonl", "ndjson", "json")]
    suffixes += [f"{suffix}.{compression}" for suffix in suffixes[5:] for compression in ("gz", "zst")]
    touch(tmp_path, *(f"a.{suffix}" for suffix in suffixes))
    assert sorted(names(find_files((str(tmp_path),)), tmp_path)) == sorted(f"a.{suffix}" for suffix in suffixes)


UNKNOWN = (
    "unknown format; expected one of .parquet, .csv, .tsv, .txt, .jsonl, .ndjson, .json, .xlsx, .xls, .ods; "
    "text also as .gz, .zst; all of them in .zip"
)
WRITTEN = "it is still being written, by its name"
SKIPPED = {
    "readme.md": UNKNOWN,
    "a.pdf": UNKNOWN,
    "a.parquet.gz": UNKNOWN,
    "b.rar": "archives are not read; extract its files",
    "c.tar.gz": "archives are not read; extract its files",
    ".hidden.csv": "it is hidden",
    ".DS_Store": "it is hidden",
    "new/.cache/a.csv": "its directory .cache is hidden",
    "a.csv.part": WRITTEN,
    "a.csv.tmp": WRITTEN,
    "a.csv.crdownload": WRITTEN,
    "~$a.xlsx": WRITTEN,
    ".~lock.a.csv#": WRITTEN,
    "manifest.json": "a manifest is read when it is named as a source",
    "b.manifest": "a manifest is read when it is named as a source",
}


def test_every_file_that_is_skipped_has_a_reason(tmp_path: Path):
    touch(tmp_path, "a.csv", "_SUCCESS", *SKIPPED)
    (tmp_path / "link").symlink_to(tmp_path / "new", target_is_directory=True)
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nothing.csv")
    found = find_files((str(tmp_path),))
    assert names(found, tmp_path) == ["a.csv"]
    irregular = "it is not a regular file"
    assert skipped(found, tmp_path) == SKIPPED | {"link": irregular, "gone.csv": irregular}


def test_a_file_whose_name_is_not_utf_8_is_skipped(tmp_path: Path):
    touch(tmp_path, "a.csv", "b\udcff.csv", "c\udcff/a.csv")
    found = find_files((str(tmp_path),))
    assert names(found, tmp_path) == ["a.csv"]
    assert skipped(found, tmp_path) == {
        "b?.csv": "its name is not UTF-8",
        "c?/a.csv": "the name of its directory is not UTF-8",
    }
    with pytest.raises(SourceError, match="its name is not UTF-8"):
        find_files((str(tmp_path / "b\udcff.csv"),))


def test_an_empty_path_is_not_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "a.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match="a source is empty"):
        find_files(("",))


def test_a_glob_skips_with_the_same_reasons(tmp_path: Path):
    touch(tmp_path, "a/1.csv", "a/2.pdf", "b/3.csv.part")
    found = find_files((f"{tmp_path}/*/*",))
    assert names(found, tmp_path) == ["a/1.csv"]
    assert skipped(found, tmp_path) == {"a/2.pdf": UNKNOWN, "b/3.csv.part": WRITTEN}


def test_a_file_that_another_path_names_is_not_skipped(tmp_path: Path):
    touch(tmp_path, "a.csv", ".b.csv")
    found = find_files((str(tmp_path), str(tmp_path / ".b.csv")))
    assert names(found, tmp_path) == [".b.csv", "a.csv"]
    assert found[1] == []


def test_a_file_that_is_being_written_is_an_error_if_it_is_named(tmp_path: Path):
    touch(tmp_path, "a.csv.part")
    with pytest.raises(SourceError, match=r"a\.csv\.part: it is still being written, by its name$"):
        find_files((str(tmp_path / "a.csv.part"),))


def test_files_wait_for_the_marker_that_their_directory_is_whole(tmp_path: Path):
    touch(tmp_path, "a/_SUCCESS", "a/1.csv", "a/day=1/2.csv", "b/3.csv", "b/4.pdf", "5.csv")
    no_marker = "its directory has no file _SUCCESS"
    for path in (str(tmp_path), f"{tmp_path}/**/*.*"):
        found = find_files((path,), require_success=True)
        assert names(found, tmp_path) == ["a/1.csv", "a/day=1/2.csv"]
        assert skipped(found, tmp_path) == {"b/3.csv": no_marker, "b/4.pdf": UNKNOWN, "5.csv": no_marker}
    assert names(find_files((str(tmp_path / "5.csv"),), require_success=True), tmp_path) == ["5.csv"]
    with pytest.raises(
        SourceError, match=r"b: no \.parquet, .* file found; 3\.csv: its directory has no file _SUCC"
    ):
        find_files((str(tmp_path / "b"),), require_success=True)


def test_a_file_that_changes_after_it_was_found_is_named(tmp_path: Path):
    touch(tmp_path, "a.csv")
    ((file,), _) = find_files((str(tmp_path),))
    file.check_unchanged()
    (tmp_path / "a.csv").write_text("a\nb\n")
    with pytest.raises(SourceError, match=r"a\.csv: the file changed while it was read \(2 bytes, then 4\)"):
        file.check_unchanged()
    (tmp_path / "a.csv").unlink()
    with pytest.raises(SourceError, match=r"a\.csv: the file was removed while it was read"):
        file.check_unchanged()


def test_links_that_lead_in_circles_are_not_followed(tmp_path: Path):
    touch(tmp_path, "a/1.csv")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    irregular = "it is not a regular file"
    for path in (str(tmp_path), f"{tmp_path}/**"):
        found = find_files((path,))
        assert names(found, tmp_path) == ["a/1.csv"]
        assert skipped(found, tmp_path)["loop.csv"] == irregular
    for path in (tmp_path / "loop.csv", tmp_path / "loop.csv" / "a.csv"):
        with pytest.raises(SourceError, match=r"no .* file found"):
            find_files((str(path),))


def test_a_directory_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "a/1.csv", "b/2.csv")
    scan = os.scandir

    def refuse(path: str) -> Any:  # root may list every directory
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"/b: the directory cannot be listed: Permission denied"):
        find_files((str(tmp_path),))


def test_a_file_that_goes_while_an_ingest_runs_is_one_line(tmp_path: Path):
    lake = Lake(tmp_path / "lake")
    first, second = (write_events(tmp_path / f"events-{number}.csv", {}) for number in (1, 2))
    for gone in (first, second):
        with pytest.raises((SourceError, FileNotFoundError), match=gone.name):
            ingest(
                (str(first), str(second)),
                Sources(),
                lake,
                LATEST,
                lambda _rows, file=gone: file.unlink(missing_ok=True),
            )
        write_events(gone, {})
    assert lake.count_events() == 0
