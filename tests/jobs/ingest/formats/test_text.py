"""Text files: compression, encodings, and files that cannot be read."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.ingest.formats import text
from jobs.ingest.formats.text import find_encoding
from recsys.errors import SourceError
from tests.source_files import TABLE, broken_lines, notes, read_rows, write_file


def zstd(content: bytes) -> bytes:
    return pa.Codec("zstd").compress(content, asbytes=True)


@pytest.mark.parametrize("name", ["a.csv.gz", "A.CSV.GZ"])
def test_a_compressed_csv_file_is_read_like_any_other(tmp_path: Path, name: str):
    file = write_file(tmp_path / name, gzip.compress(b"a,b\n1,2\n", mtime=0))
    assert read_rows(file) == ([{"a": "1", "b": "2"}], [])


@pytest.mark.parametrize(
    ("encoding", "text"), [("utf-8-sig", "a,b\n1,é\n"), ("latin-1", "a,b\n1,é\n"), ("utf-16", "é,b\n1,é\n")]
)
def test_a_csv_file_is_read_in_the_encoding_of_its_table(tmp_path: Path, encoding: str, text: str):
    file = write_file(tmp_path / "a.csv", text.encode(encoding))
    rows, _ = read_rows(file, table=replace(TABLE, encoding=encoding))
    assert [list(row.values()) for row in rows] == [["1", "é"]]
    assert list(rows[0]) == text.splitlines()[0].split(",")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_a_delimited_file_may_be_compressed_by_zstandard(tmp_path: Path, suffix: str):
    file = write_file(tmp_path / f"a.{suffix}.zst", zstd(b"a;b\n1;2\n"))
    assert read_rows(file) == ([{"a": "1", "b": "2"}], [])


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson", "json"])
@pytest.mark.parametrize(("compression", "compress"), [("gz", gzip.compress), ("zst", zstd)])
def test_json_may_be_compressed(tmp_path: Path, suffix: str, compression: str, compress: type[bytes]):
    file = write_file(tmp_path / f"a.{suffix}.{compression}", compress(b'{"a": 1}\n{"a": 2}\n'))
    assert read_rows(file) == ([{"a": 1}, {"a": 2}], [])


def test_a_compressed_file_of_several_parts_is_read_to_its_end(tmp_path: Path):
    for name, compress in (("a.csv.gz", gzip.compress), ("a.csv.zst", zstd)):
        file = write_file(tmp_path / name, compress(b"a,b\n1,2\n") + compress(b"3,4\n"))
        assert read_rows(file) == ([{"a": "1", "b": "2"}, {"a": "3", "b": "4"}], [])


ENCODED = {
    "UTF-8 with a byte order mark": "utf-8-sig",
    "UTF-16 with a byte order mark": "utf-16",
    "UTF-32 with a byte order mark": "utf-32",
}


@pytest.mark.parametrize("encoding", ENCODED.values(), ids=ENCODED)
@pytest.mark.parametrize("block_bytes", [3, 2**20])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "é,b\n1,€\n"),
        ("a.tsv", "é\tb\n1\t€\n"),
        ("a.jsonl", '{"é": "1", "b": "€"}\n'),
        ("a.json", '[{"é": "1",\n"b": "€"}]'),
    ],
)
def test_a_byte_order_mark_says_the_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, block_bytes: int, name: str, content: str
):
    file = write_file(tmp_path / name, content.encode(encoding))
    if block_bytes > 4:
        monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    assert read_rows(file) == ([{"é": "1", "b": "€"}], [])
    assert notes(file) == []


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_byte_order_mark_is_found_by_its_zero_bytes(tmp_path: Path, encoding: str):
    file = write_file(tmp_path / "a.csv", "a,b\n1,é\n".encode(encoding))
    assert read_rows(file) == ([{"a": "1", "b": "é"}], [])
    assert notes(file) == [f"read as {encoding}"]


def test_a_file_is_utf_8_if_all_of_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", 5)
    file = write_file(tmp_path / "a.csv", "a,b\n" + "1,2\n" * 20 + "1,é€\n")
    assert find_encoding(file, None).name == "utf-8"
    assert read_rows(file)[0][-1] == {"a": "1", "b": "é€"}
    assert notes(file) == []


LANGUAGES = {
    "one word": ("cp1252", "id,name\n1,thé\n"),
    "a euro sign": ("cp1252", "id,name\n1,5 € “tea”\n"),
    "German": ("cp1252", "sku;name\n1;Grüner Tee für die Küche\n2;Schöne Teekanne aus Köln\n3;Süßstoff\n"),
    "French": ("cp1252", "id,nom\n1,Thé vert à la menthe\n2,Crème brûlée\n3,Café moulu équitable\n"),
    "Swedish": ("cp1252", "id,n\n1,Blå tröja för män\n2,Gröna byxor\n3,Kött och bröd\n"),
    "Polish": (
        "cp1250",
        "id;n\n1;Zielona herbata liściasta\n2;Łyżka do zupy\n3;Żółty kubek\n4;Świąteczne ciasto\n",
    ),
    "Czech": (
        "cp1250",
        "id;n\n1;Zelený čaj z Číny\n2;Příborník dřevěný\n3;Šálek žlutý\n4;Měděná konvice, řemeslná výroba\n"
        "5;Hrnek červený s uchem\n6;Dvořákova směs ručně sbíraná\n",
    ),
    "Russian": ("cp1251", "имя,город\nИван,Москва\nЧай зелёный,Санкт-Петербург\n"),
    "Greek": (
        "cp1253",
        "όνομα,πόλη\nΤσάι του βουνού,Αθήνα\nΚαφές ελληνικός,Θεσσαλονίκη\nΜέλι θυμαρίσιο,Ηράκλειο\n",
    ),
    "Turkish": ("cp1254", "isim,şehir\n1,çay\n2,İstanbul ışığı\n3,yeşil gömlek\n4,Ağrı dağı\n5,güneş gözlüğü\n"),
    "Japanese": ("shift_jis", "名前,都市\n緑茶,東京\n紅茶,大阪\n"),
    "Chinese": ("gb18030", "名称,城市\n绿茶,北京\n红茶,上海\n"),
    "Korean": ("euc_kr", "이름,도시\n녹차,서울\n홍차,부산\n"),
}


@pytest.mark.parametrize(("encoding", "content"), LANGUAGES.values(), ids=LANGUAGES)
def test_another_encoding_is_found_and_reported(tmp_path: Path, encoding: str, content: str):
    file = write_file(tmp_path / "a.csv", content.encode(encoding))
    rows, _ = read_rows(file)
    assert [[*rows[0]], *([*row.values()] for row in rows)] == [
        line.split(";" if ";" in content else ",") for line in content.splitlines()
    ]
    assert notes(file) == [f"read as {encoding}"]


def test_utf_8_with_a_damaged_line_is_not_read_in_another_encoding(tmp_path: Path):
    content = "a,b\n1,é\n2,ü\n".encode() + b"3,\xe9\n" + "4,ö\n".encode()
    with pytest.raises(SourceError, match=r"a\.csv: cannot be read in utf-8: line 4 has the bytes e9"):
        read_rows(write_file(tmp_path / "a.csv", content))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize("block_bytes", [7, 2**20])
def test_a_byte_that_the_given_encoding_lacks_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, block_bytes: int
):
    monkeypatch.setattr(text, "BLOCK_BYTES", block_bytes)
    file = write_file(tmp_path / name, "[\n\n" + "[1],\n" * 100 + "é]")
    with pytest.raises(SourceError, match=rf"{name}: cannot be read in ascii: line 103 has the bytes c3") as error:
        read_rows(file, table=replace(TABLE, encoding="ascii"))
    assert "\n" not in str(error.value)


def test_a_given_encoding_is_used_though_the_file_is_utf_8(tmp_path: Path):
    file = write_file(tmp_path / "a.csv", "a,b\n1,é\n")
    assert read_rows(file, table=replace(TABLE, encoding="cp1252"))[0] == [{"a": "1", "b": "Ã©"}]
    assert notes(file, replace(TABLE, encoding="cp1252")) == []


def test_the_first_json_line_after_a_byte_order_mark_is_read(tmp_path: Path):
    lines = [{"a": 1}, {"a": 2}, {"a": 3}]
    file = write_file(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + "\r\n".join(map(json.dumps, lines)).encode())
    assert read_rows(file) == (lines, [])


def test_broken_json_lines_have_their_numbers(tmp_path: Path):
    file = write_file(tmp_path / "a.jsonl", '\n{"a": 1}\nx\n\n{"a": 2}\r\n[]\n')
    assert broken_lines(file, chunk_rows=2) == [(3, "x", "line_is_whole"), (6, "[]", "line_is_whole")]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        *(
            (name, b"", "the file is empty")
            for name in ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.xlsx")
        ),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "the file is empty"),
        ("a.csv.zst", zstd(b""), "the file is empty"),
        ("a.csv", b"\n\n", "there is no header"),
        ("a.csv.gz", b"a,b\n1,2\n", "cannot be read as csv: zlib inflate failed"),
        ("a.csv.zst", b"a,b\n1,2\n", "cannot be read as csv: ZSTD"),
        (
            "a.csv.gz",
            gzip.compress(b"a,b\n" + b"1,2\n" * 10_000, mtime=0)[:-20],
            "cannot be read as csv: Truncated",
        ),
        ("a.csv.zst", zstd(b"a,b\n" + b"1,2\n" * 10_000)[:-2], "cannot be read as csv: Truncated"),
        ("a.parquet", b"a,b\n1,2\n", "cannot be read as parquet: "),
        ("a.xlsx", b"a,b\n1,2\n", "cannot be read as xlsx: .*invalid Zip archive"),
        ("a.json", b'{"a": 1}', "expected an array of objects, .* its arrays: none"),
        ("a.json", b'{"a": [], "b": []}', "its arrays: a, b"),
        ("a.json", b"[{]", "expected an array of objects, or an object with one array: JSON is malformed"),
        ("a.json", b"[" * 9_999, "expected an array of objects, or an object with one array: "),
        ("a.json", b"7", "expected an array of objects, or an object with one array: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
):
    file = write_file(tmp_path / name, content)
    with pytest.raises(SourceError, match=reason) as error:
        read_rows(file)
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["latin-99", "hex", "rot13"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.json"])
def test_an_encoding_that_no_text_is_in_is_named(tmp_path: Path, name: str, encoding: str):
    file = write_file(tmp_path / name, '{"a": 1}\n')
    with pytest.raises(SourceError, match=f"in {encoding}: unknown encoding: {encoding}"):
        read_rows(file, table=replace(TABLE, encoding=encoding))


def test_a_file_that_has_gone_is_named(tmp_path: Path):
    with pytest.raises(SourceError, match=r"gone\.csv: cannot be read as csv: .*No such file"):
        read_rows(tmp_path / "gone.csv")
