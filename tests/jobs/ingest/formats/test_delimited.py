"""Delimited files: separators, headers, quotes, lines that are no rows."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.ingest.formats import text
from jobs.ingest.formats.registry import read_chunks
from recsys.errors import SourceError
from tests.source_files import TABLE, broken_lines, notes, read_rows, write_file


def test_csv_fields_are_text_and_empty_ones_null(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", 'id,price,name\n007,1.50,"a, ""b""\nc"\n8,,""\n')
    rows, broken = read_rows(file)
    assert rows == [
        {"id": "007", "price": "1.50", "name": 'a, "b"\nc'},
        {"id": "8", "price": None, "name": None},
    ]
    assert broken == []


def test_a_csv_line_with_too_few_or_too_many_fields_is_broken(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "a,b\n1,2\n3\n4,5,6\n\n7,8\n9")
    assert read_rows(file) == ([{"a": "1", "b": "2"}, {"a": "7", "b": "8"}], ["3", "4,5,6", "9"])


@pytest.mark.parametrize("chunk_rows", [1, 30_000, 10**9])
def test_no_broken_line_of_a_long_csv_file_is_lost(tmp_path: Path, chunk_rows: int):
    lines = [f"{number}" if number % 3 == 0 else f"{number},{'x' * 20}" for number in range(60_000)]
    file = write_file(tmp_path / "a.csv", "a,b\n" + "\n".join(lines))
    rows, broken = read_rows(file, chunk_rows)
    assert broken == [str(number) for number in range(0, 60_000, 3)]
    assert [row["a"] for row in rows] == [str(number) for number in range(60_000) if number % 3]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_csv_lines_end_as_on_unix_or_windows(tmp_path: Path, line_end: str):
    file = write_file(tmp_path / "a.csv", line_end.join(["a,b", "1,2", "", "3,4", ""]))
    assert read_rows(file) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [])


def test_a_csv_file_of_only_a_header_has_columns_and_no_rows(tmp_path: Path):
    chunks = list(read_chunks(write_file(tmp_path / "a.csv", "a,b\n"), TABLE, 10))
    assert chunks[0].rows.columns == ["a", "b"]
    assert sum(chunk.rows.height for chunk in chunks) == 0


def test_another_separator_splits_the_fields(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "a;b\n1,5;2\n")
    assert read_rows(file, table=replace(TABLE, separator=";")) == ([{"a": "1,5", "b": "2"}], [])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "A.TXT"])
def test_the_separator_is_found_by_itself(tmp_path: Path, name: str, separator: str):
    lines = [["id", "name", "price"], ["1", '"a, b; c|d\te"', "1.5"], ["2", "x", "2"]]
    file = write_file(tmp_path / name, "\n".join(separator.join(line) for line in lines))
    assert read_rows(file) == (
        [{"id": "1", "name": "a, b; c|d\te", "price": "1.5"}, {"id": "2", "name": "x", "price": "2"}],
        [],
    )


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("price;name\n1,5;tea\n2,5;mug\n", ["price", "name"]),
        ("a,b;c\n1,2\n3,4\n", ["a", "b;c"]),
        ("only\n1,2\n", ["only"]),
        ("sep=;\na,b;c\n1;2\n", ["a,b", "c"]),
    ],
)
def test_the_separator_is_the_one_that_most_lines_agree_on(tmp_path: Path, content: str, columns: list[str]):
    chunks = list(read_chunks(write_file(tmp_path / "a.csv", content), TABLE, 10))
    assert chunks[0].rows.columns == columns


def test_a_file_of_one_column_has_the_usual_separator(tmp_path: Path):
    assert read_rows(write_file(tmp_path / "A.TSV", "id\n1,5\n2\n")) == ([{"id": "1,5"}, {"id": "2"}], [])


def test_a_file_without_a_header_has_numbered_columns(tmp_path: Path):
    table = replace(TABLE, header=False)
    rows, _ = read_rows(write_file(tmp_path / "a.csv", "1,2,3\n4,5,6\n"), table=table)
    assert rows == [
        {"column_1": "1", "column_2": "2", "column_3": "3"},
        {"column_1": "4", "column_2": "5", "column_3": "6"},
    ]


def test_column_names_stand_in_for_those_of_the_header(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "1,2,3\n")
    rows, _ = read_rows(file, table=replace(TABLE, header=False, column_names=("a", "b")))
    assert rows == [{"a": "1", "b": "2", "column_3": "3"}]
    file = write_file(tmp_path / "b.csv", "x,x,z\n1,2,3\n")
    rows, _ = read_rows(file, table=replace(TABLE, column_names=("a",)))
    assert rows == [{"a": "1", "x": "2", "z": "3"}]


def test_more_column_names_than_columns_are_an_error(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "1,2\n")
    with pytest.raises(SourceError, match=r"a\.csv: there are 2 columns; column_names has 3$"):
        read_rows(file, table=replace(TABLE, header=False, column_names=("a", "b", "c")))


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_header_may_follow_lines_of_other_text(tmp_path: Path, line_end: str):
    lines = ["Export of 2024-05-01", 'by "ann', "a,b", "1,2", "3", ""]
    file = write_file(tmp_path / "a.csv", line_end.join(lines))
    table = replace(TABLE, skip_rows=2)
    assert read_rows(file, table=table) == ([{"a": "1", "b": "2"}], ["3"])
    assert broken_lines(file, table) == [(5, "3", "line_is_whole")]


def test_a_file_that_ends_before_its_header_is_an_error(tmp_path: Path):
    with pytest.raises(SourceError, match=r"a\.csv: no header follows line 7$"):
        read_rows(write_file(tmp_path / "a.csv", "a,b\n1,2\n"), table=replace(TABLE, skip_rows=7))


def test_two_columns_of_one_name_are_named_with_their_positions(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "id,name,id\n1,2,3\n")
    with pytest.raises(
        SourceError, match=r"column 'id' appears more than once, as columns 1 and 3; .*column_names"
    ):
        read_rows(file)


def test_columns_without_a_name_are_numbered(tmp_path: Path):
    rows, _ = read_rows(write_file(tmp_path / "a.csv", ",a,,\n0,1,2,3\n"))
    assert rows == [{"column_1": "0", "a": "1", "column_3": "2", "column_4": "3"}]


def test_a_header_may_be_quoted_over_several_lines(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", '"a\nb","c ""d"""\n1,2\n3\n')
    assert read_rows(file) == ([{"a\nb": "1", 'c "d"': "2"}], ["3"])
    assert broken_lines(file) == [(4, "3", "line_is_whole")]


def test_a_broken_line_has_its_number_in_the_file_whatever_is_before_it(tmp_path: Path):
    content = 'a,b\n"x\n\ny",1\n\nbroken\n2,"p\nq"\n3,4,5\n'
    file = write_file(tmp_path / "a.csv", content)
    assert read_rows(file) == ([{"a": "x\n\ny", "b": "1"}, {"a": "2", "b": "p\nq"}], ["broken", "3,4,5"])
    assert broken_lines(file) == [(6, "broken", "line_is_whole"), (9, "3,4,5", "line_is_whole")]


@pytest.mark.parametrize("block_bytes", [10, 2**20])
def test_a_quote_that_never_closes_costs_one_line_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int
):
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    file = write_file(tmp_path / "a.csv", 'a,b\n1,x\n2,"y\n3,z\n4,\n')
    rows, _ = read_rows(file)
    assert [row["a"] for row in rows] == ["1", "3", "4"]
    assert broken_lines(file) == [(3, '2,"y', "quote_is_closed")]
    assert notes(file) == ["line 3: a quote opens and does not close"]


def test_a_stray_quote_does_not_swallow_the_lines_up_to_the_next_one(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", 'a,b\n1,"x\n2,y\n3,z\n4,"p, q"\n5,"r"s\n6,5" tv\n')
    rows, _ = read_rows(file)
    assert rows == [
        {"a": "2", "b": "y"},
        {"a": "3", "b": "z"},
        {"a": "4", "b": "p, q"},
        {"a": "6", "b": '5" tv'},
    ]
    assert broken_lines(file) == [(2, '1,"x', "line_is_whole"), (6, '5,"r"s', "line_is_whole")]


def test_a_quote_that_opens_a_record_of_more_than_the_limit_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text, "BLOCK_BYTES", 1000)
    monkeypatch.setattr("jobs.ingest.formats.records.MAX_RECORD_LENGTH", 2000)
    rows = "".join(f"{number},x\n" for number in range(2000))
    file = write_file(tmp_path / "a.csv", f'a,b\n0,"open\n{rows}1,"closes"\n')
    assert broken_lines(file) == [(2, '0,"open', "quote_is_closed")]
    assert len(read_rows(file)[0]) == 2001


def test_a_file_without_quoting_keeps_its_quotes(tmp_path: Path):
    file = write_file(tmp_path / "a.tsv", 'a\tb\n"x\t"y"\n')
    assert read_rows(file, table=replace(TABLE, quote="")) == ([{"a": '"x', "b": '"y"'}], [])


def test_another_character_may_quote(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "a,b\n'x, y','it''s \"z\"'\n")
    assert read_rows(file, table=replace(TABLE, quote="'")) == ([{"a": "x, y", "b": 'it\'s "z"'}], [])


def test_a_broken_line_in_another_encoding_is_kept_as_text(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "a,b\n1,é\né\n".encode("latin-1"))
    assert read_rows(file, table=replace(TABLE, encoding="latin-1")) == ([{"a": "1", "b": "é"}], ["é"])


def test_lines_may_end_as_on_old_macs(tmp_path: Path):
    assert read_rows(write_file(tmp_path / "a.csv", "a,b\r1,2\r3\r")) == ([{"a": "1", "b": "2"}], ["3"])


def test_line_ends_inside_quotes_are_kept(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", 'a,b\r\n"x\r\ny","p\rq\nr"\r\n')
    assert read_rows(file) == ([{"a": "x\r\ny", "b": "p\rq\nr"}], [])


FIELDS = st.text(st.sampled_from('ab1",;|\t\n é €\u2028'), max_size=6)
ROWS = st.lists(st.tuples(FIELDS, FIELDS, FIELDS), max_size=12)


def as_csv(rows: Any, separator: str, quoting: Any, line_end: str) -> str:
    """Rows as the standard library writes them."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, quoting=quoting, lineterminator=line_end)
    writer.writerows([("p", "q", "r"), *rows])
    return out.getvalue()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    separator=st.sampled_from(",;\t|"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    block_bytes=st.integers(1, 40),
)
def test_every_row_that_csv_writes_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[tuple[str, str, str]],
    separator: str,
    quoting: int,
    line_end: str,
    block_bytes: int,
):
    content = as_csv(rows, separator, quoting, line_end)
    file = write_file(tmp_path / "a.csv", content)
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    read, broken = read_rows(file, table=replace(TABLE, separator=separator))
    assert broken == []
    assert [tuple(row.values()) for row in read] == [tuple(field or None for field in row) for row in rows]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.text(st.sampled_from('a",\n'), max_size=40), block_bytes=st.integers(1, 30))
def test_no_line_is_lost_whatever_the_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, block_bytes: int
):
    file = write_file(tmp_path / "a.csv", f"p,q\n{body}")
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    rows, _ = read_rows(file)
    in_rows = sum(1 + "".join(str(field) for field in row.values()).count("\n") for row in rows)
    in_broken = sum(1 + line.count("\n") for _, line, _ in broken_lines(file))
    lines = body.split("\n")
    assert len(list(filter(None, lines))) <= in_rows + in_broken <= len(lines)
    numbers = [number for number, _, _ in broken_lines(file)]
    assert numbers == sorted(set(numbers))
    for number, line, _ in broken_lines(file):
        assert lines[number - 2].startswith(line.split("\n")[0])
