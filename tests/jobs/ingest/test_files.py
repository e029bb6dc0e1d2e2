"""Files of every format: listed by path, directory or glob, and read in chunks."""

import gzip
import json
import random
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from jobs.ingest.files import Chunk, find_files, matching_tables, read_chunks
from recsys.errors import SourceError
from recsys.settings import Sources, Table

TABLE = Table("events", "events", "*", {})


def write(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def read(file: Path, chunk_rows: int = 1000, table: Table = TABLE) -> tuple[list[dict[str, object]], list[str]]:
    """All rows of a file, and all its broken lines."""
    chunks = list(read_chunks(file, table, chunk_rows))
    assert all(chunk.rows.columns == chunks[0].rows.columns for chunk in chunks)
    return pl.concat([chunk.rows for chunk in chunks]).to_dicts(), [
        line.strip() for chunk in chunks for line in chunk.broken_lines
    ]


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
    for name in ("readme.md", "events.csv.md5", "events.jsonl.gz"):
        (directory / name).touch()
    return directory


def names(files: list[Path], directory: Path) -> list[str]:
    return [str(file.relative_to(directory)) for file in files]


def test_a_directory_is_searched_through_for_the_formats_that_are_read(exports: Path):
    assert names(find_files((str(exports),)), exports) == [
        "2024/01/EVENTS.CSV",
        "2024/events.csv.gz",
        "a.parquet",
        "events.csv",
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


def test_csv_fields_are_text_and_empty_ones_null(tmp_path: Path):
    file = write(tmp_path / "a.csv", 'id,price,name\n007,1.50,"a, ""b""\nc"\n8,,""\n')
    rows, broken = read(file)
    assert rows == [
        {"id": "007", "price": "1.50", "name": 'a, "b"\nc'},
        {"id": "8", "price": None, "name": None},
    ]
    assert broken == []


def test_a_csv_line_with_too_few_or_too_many_fields_is_broken(tmp_path: Path):
    file = write(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5,6\n\n7,8\n9")
    assert read(file) == ([{"a": "1", "b": "2"}, {"a": "7", "b": "8"}], ["3", "4,5,6", "9"])


@pytest.mark.parametrize("chunk_rows", [1, 30_000, 10**9])
def test_no_broken_line_of_a_long_csv_file_is_lost(tmp_path: Path, chunk_rows: int):
    lines = [f"{number}" if number % 3 == 0 else f"{number},{'x' * 20}" for number in range(150_000)]
    file = write(tmp_path / "a.csv", "a,b\n" + "\n".join(lines))
    rows, broken = read(file, chunk_rows)
    assert broken == [str(number) for number in range(0, 150_000, 3)]
    assert [row["a"] for row in rows] == [str(number) for number in range(150_000) if number % 3]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_lines_end_as_on_unix_or_windows(tmp_path: Path, line_end: str):
    file = write(tmp_path / "a.csv", line_end.join(["a,b", "1,2", "", "3,4", ""]))
    assert read(file) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [])


def test_a_csv_file_of_only_a_header_has_columns_and_no_rows(tmp_path: Path):
    chunks = list(read_chunks(write(tmp_path / "a.csv", "a,b\n"), TABLE, 10))
    assert chunks[0].rows.columns == ["a", "b"]
    assert sum(chunk.rows.height for chunk in chunks) == 0


def test_another_separator_splits_the_fields(tmp_path: Path):
    file = write(tmp_path / "a.csv", "a;b\n1,5;2\n")
    assert read(file, table=replace(TABLE, separator=";")) == ([{"a": "1,5", "b": "2"}], [])


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_a_compressed_csv_file_is_read_like_any_other(tmp_path: Path, name: str):
    file = write(tmp_path / name, gzip.compress(b"a,b\n1,2\n"))
    assert read(file) == ([{"a": "1", "b": "2"}], [])


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8-sig", "a,b\n1,é\n"), ("latin-1", "a,b\n1,é\n"), ("utf-16", "é,b\n1,é\n")]
)
def test_a_csv_file_is_read_in_the_encoding_of_its_table(tmp_path: Path, encoding: str, text: str):
    file = write(tmp_path / "a.csv", text.encode(encoding))
    rows, _ = read(file, table=replace(TABLE, encoding=encoding))
    assert [list(row.values()) for row in rows] == [["1", "é"]]
    assert list(rows[0]) == text.splitlines()[0].split(",")


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path):
    assert read(write(tmp_path / "a.csv", b"\xef\xbb\xbfa,b\n1,2\n")) == ([{"a": "1", "b": "2"}], [])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.jsonl", b"", "the file is empty"),
        ("a.parquet", b"", "the file is empty"),
        ("a.csv", b"\n\n", "cannot be read as csv in utf-8: "),
        ("a.csv", "a,b\n1,é\n".encode("latin-1"), "cannot be read as csv in utf-8: .*UTF8"),
        ("a.csv", "é,b\n1,2\n".encode("latin-1"), "cannot be read as csv in utf-8: 'utf-8' codec can't decode"),
        ("a.csv", b"a,a\n1,2\n", "cannot be read as csv in utf-8: column appears more than once"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot be read as csv in utf-8: zlib inflate failed"),
        (
            "a.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 10_000, mtime=0)[:-20],
            "cannot be read as csv in utf-8: Truncated",
        ),
        (
            "a.jsonl",
            '{"a": "é"}\n'.encode("latin-1"),
            "cannot be read as jsonl in utf-8: 'utf-8' codec can't decode",
        ),
        ("a.parquet", b"a,b\n1,2\n", "cannot be read as parquet: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
):
    file = write(tmp_path / name, content)
    with pytest.raises(SourceError, match=reason) as error:
        read(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_an_encoding_that_does_not_exist_is_named(tmp_path: Path, name: str):
    file = write(tmp_path / name, '{"a": 1}\n')
    with pytest.raises(SourceError, match="in latin-99: unknown encoding: latin-99"):
        read(file, table=replace(TABLE, encoding="latin-99"))


def test_a_file_that_has_gone_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=r"gone\.csv: cannot be read as csv in utf-8: .*No such file"):
        read(tmp_path / "gone.csv")


def test_a_json_line_that_is_no_whole_object_is_broken(tmp_path: Path):
    lines = ['{"a": 1}', "[1]", "", '"a"', '{"a": NaN}', '{"a": 2}', '{"a": 3']
    rows, broken = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert rows == [{"a": 1}, {"a": 2}]
    assert broken == ["[1]", '"a"', '{"a": NaN}', '{"a": 3']


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_blank_lines_and_broken_ones_do_not_end_the_reading_of_json_lines(tmp_path: Path, chunk_rows: int):
    file = write(tmp_path / "a.jsonl", '\n\nbroken\n{"a": 1}\n\n\n{"a": 2}\nbroken\n\n{"a": 3}\n')
    assert read(file, chunk_rows) == ([{"a": 1}, {"a": 2}, {"a": 3}], ["broken", "broken"])


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_columns_and_types_of_json_lines_are_those_of_all_lines(tmp_path: Path, chunk_rows: int):
    lines = [{"id": 1}, {"id": "01", "price": 1}, {"price": 2.5, "path": []}, {"id": None, "path": ["a", "b"]}]
    rows, _ = read(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))), chunk_rows)
    assert rows == [
        {"id": "1", "price": None, "path": None},
        {"id": "01", "price": 1.0, "path": None},
        {"id": None, "price": 2.5, "path": []},
        {"id": None, "price": None, "path": ["a", "b"]},
    ]


@pytest.mark.parametrize("content", ["\n\n", "broken\n{\n"])
def test_json_lines_without_an_object_have_no_columns(tmp_path: Path, content: str):
    chunks = list(read_chunks(write(tmp_path / "a.jsonl", content), TABLE, 10))
    assert all(chunk.rows.columns == [] for chunk in chunks)


def test_line_separators_inside_a_json_text_do_not_split_it(tmp_path: Path):
    text = "a\u2028b\x85c"
    assert read(write(tmp_path / "a.jsonl", json.dumps({"a": text}, ensure_ascii=False))) == ([{"a": text}], [])


def test_a_parquet_file_keeps_its_types_and_its_order(tmp_path: Path):
    frame = pl.DataFrame({"number": range(1000), "path": [["a"], None] * 500})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=90)
    rows, _ = read(tmp_path / "a.parquet", chunk_rows=70)
    assert rows == frame.to_dicts()


def test_a_parquet_file_may_have_brackets_in_its_path(tmp_path: Path):
    directory = tmp_path / "[a]*"
    directory.mkdir()
    pl.DataFrame({"a": [1]}).write_parquet(directory / "a[1].parquet")
    assert read(directory / "a[1].parquet") == ([{"a": 1}], [])


def test_a_parquet_file_that_is_corrupt_in_the_middle_is_named(tmp_path: Path):
    file = corrupt_parquet(tmp_path / "a.parquet")
    chunks: list[Chunk] = []
    with pytest.raises(SourceError, match=rf"^{file}: cannot be read as parquet: .+$"):
        chunks.extend(read_chunks(file, TABLE, 100))


def corrupt_parquet(file: Path) -> Path:
    """A Parquet file of several row groups, one of them overwritten with noise."""
    random.seed(1)
    pl.DataFrame({"a": [str(random.random()) for _ in range(20_000)]}).write_parquet(file, row_group_size=2000)
    content = bytearray(file.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = random.randbytes(2000)
    return write(file, bytes(content))


def test_no_chunk_is_much_longer_than_requested(tmp_path: Path):
    rows = 30_000
    frame = pl.DataFrame({"a": [f"{number:0200d}" for number in range(rows)]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_ndjson(tmp_path / "a.jsonl")
    frame.write_parquet(tmp_path / "a.parquet")
    block_rows = 2**20 // 200  # a CSV file is split by blocks of a megabyte
    longest = {
        file.suffix: max(chunk.rows.height for chunk in read_chunks(file, TABLE, 1000))
        for file in tmp_path.iterdir()
    }
    assert longest[".jsonl"] == longest[".parquet"] == 1000
    assert longest[".csv"] <= 1000 + block_rows
