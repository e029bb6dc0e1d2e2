"""JSON Lines, and JSON files with one array."""

import json
from pathlib import Path

import pytest

from jobs.ingest.formats.registry import read_chunks
from recsys.errors import SourceError
from tests.source_files import TABLE, broken_lines, read_rows, write_file


def test_a_json_line_that_is_no_whole_object_is_broken(tmp_path: Path):
    nested = '{"a":' * 9_999 + "1" + "}" * 9_999
    lines = ['{"a": 1}', "[1]", "", '"a"', '{"a": NaN}', nested, '{"a": 2}', '{"a": 3']
    rows, broken = read_rows(write_file(tmp_path / "a.jsonl", "\n".join(lines)))
    assert rows == [{"a": 1}, {"a": 2}]
    assert broken == ["[1]", '"a"', '{"a": NaN}', nested, '{"a": 3']


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_blank_lines_and_broken_ones_do_not_end_the_reading_of_json_lines(tmp_path: Path, chunk_rows: int):
    file = write_file(tmp_path / "a.jsonl", '\n\nbroken\n{"a": 1}\n\n\n{"a": 2}\nbroken\n\n{"a": 3}\n')
    assert read_rows(file, chunk_rows) == ([{"a": 1}, {"a": 2}, {"a": 3}], ["broken", "broken"])


@pytest.mark.parametrize("chunk_rows", [1, 2, 100])
def test_columns_and_types_of_json_lines_are_those_of_all_lines(tmp_path: Path, chunk_rows: int):
    lines = [{"id": 1}, {"id": "01", "price": 1}, {"price": 2.5, "path": []}, {"id": None, "path": ["a", "b"]}]
    rows, _ = read_rows(write_file(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines))), chunk_rows)
    assert rows == [
        {"id": "1", "price": None, "path": None},
        {"id": "01", "price": 1.0, "path": None},
        {"id": None, "price": 2.5, "path": []},
        {"id": None, "price": None, "path": ["a", "b"]},
    ]


@pytest.mark.parametrize("content", ["\n\n", "broken\n{\n"])
def test_json_lines_without_an_object_have_no_columns(tmp_path: Path, content: str):
    chunks = list(read_chunks(write_file(tmp_path / "a.jsonl", content), TABLE, 10))
    assert all(chunk.rows.columns == [] for chunk in chunks)


def test_line_separators_inside_a_json_text_do_not_split_it(tmp_path: Path):
    text = "a\u2028b\x85c"
    assert read_rows(write_file(tmp_path / "a.jsonl", json.dumps({"a": text}, ensure_ascii=False))) == (
        [{"a": text}],
        [],
    )


OBJECTS = [{"id": 1, "name": "a"}, {"id": 2, "path": ["x", "y"]}]
EXPECTED = [{"id": 1, "name": "a", "path": None}, {"id": 2, "name": None, "path": ["x", "y"]}]
LAYOUTS = {
    "an array": OBJECTS,
    "an object with one array": {"count": 2, "page": {"rows": [1]}, "rows": OBJECTS},
}


@pytest.mark.parametrize("value", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_a_json_file_is_an_array_of_objects(tmp_path: Path, value: object, indent: int | None, chunk_rows: int):
    file = write_file(tmp_path / "a.json", json.dumps(value, indent=indent))
    assert read_rows(file, chunk_rows) == (EXPECTED, [])


def test_json_lines_in_a_json_file_are_read(tmp_path: Path):
    file = write_file(tmp_path / "a.json", '{"rows": [1]}\n{"rows": [2]}\nx\n')
    assert read_rows(file) == ([{"rows": [1]}, {"rows": [2]}], ["x"])


def test_an_element_that_is_no_object_is_broken(tmp_path: Path):
    file = write_file(tmp_path / "a.json", '[{"a": 1}, 7, {"a": 2}, "x\\n", null]')
    assert read_rows(file)[0] == [{"a": 1}, {"a": 2}]
    assert broken_lines(file) == [
        (2, "7", "line_is_whole"),
        (4, '"x\\n"', "line_is_whole"),
        (5, "null", "line_is_whole"),
    ]


def test_a_json_file_over_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("jobs.ingest.formats.json.MAX_JSON_BYTES", 2**20)
    file = write_file(tmp_path / "a.json", json.dumps([{"a": "x" * 2**20}]))
    with pytest.raises(SourceError, match=r"a\.json: it has more than 1 MiB; JSON Lines of any size can be read"):
        read_rows(file)


@pytest.mark.parametrize("levels", [65, 250, 500, 1_000])
def test_an_object_of_too_many_levels_is_refused(tmp_path: Path, levels: int):
    text, deep = json.dumps({"a": "[" * 99}), '{"b":' * levels + "[]" + "}" * levels
    for name, content in (("a.jsonl", f"{text}\n{deep}\n"), ("a.json", f"[{text}, {deep}]")):
        if (name, levels) == ("a.json", 1_000):  # the whole file is of too many levels
            with pytest.raises(SourceError, match="expected an array of objects"):
                read_rows(write_file(tmp_path / name, content))
        else:
            assert broken_lines(write_file(tmp_path / name, content)) == [(2, deep, "nesting_is_shallow")]
    rows, _ = read_rows(write_file(tmp_path / "b.jsonl", '{"b":' * 63 + "[1]" + "}" * 63))
    assert len(rows) == 1
