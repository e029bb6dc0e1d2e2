"""Sheets of Excel workbooks."""

import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
import xlsxwriter

from recsys.errors import SourceError
from tests.source_files import TABLE, read_rows, write_file

TIME = datetime(2024, 5, 1, 10)


def write_workbook(file: Path, sheets: dict[str, Sequence[Sequence[object]]]) -> Path:
    """Write rows of cells to each sheet; a cell of None stays empty."""
    with xlsxwriter.Workbook(str(file), {"default_date_format": "yyyy-mm-dd hh:mm"}) as workbook:
        for name, rows in sheets.items():
            sheet = workbook.add_worksheet(name)
            for number, row in enumerate(rows):
                for column, value in enumerate(row):
                    if value is not None:
                        sheet.write(number, column, value)
    return file


def test_the_first_sheet_is_read_with_the_types_of_its_cells(tmp_path: Path):
    rows = [["id", "qty", "time", "mixed", "empty"], ["007", 1, TIME, 12, None], ["8", 2.5, None, "x", None]]
    file = write_workbook(tmp_path / "a.xlsx", {"one": rows, "two": [["a"], [1]]})
    assert read_rows(file) == (
        [
            {"id": "007", "qty": 1.0, "time": TIME, "mixed": "12", "empty": None},
            {"id": "8", "qty": 2.5, "time": None, "mixed": "x", "empty": None},
        ],
        [],
    )


def test_a_late_cell_of_another_type_is_not_lost(tmp_path: Path):
    rows = [["id"], *([number] for number in range(1500)), ["A1"]]
    read, _ = read_rows(write_workbook(tmp_path / "a.xlsx", {"one": rows}))
    assert (read[0], read[-2], read[-1]) == ({"id": "0"}, {"id": "1499"}, {"id": "A1"})


def test_the_table_names_the_sheet_and_where_it_starts(tmp_path: Path):
    file = write_workbook(
        tmp_path / "a.xlsx", {"one": [], "two": [["Export"], [], ["a", "b"], [1, "x"], [None, None]]}
    )
    assert read_rows(file, table=replace(TABLE, sheet="two", skip_rows=2)) == ([{"a": 1.0, "b": "x"}], [])
    table = replace(TABLE, sheet="two", skip_rows=3, header=False, column_names=("number",))
    assert read_rows(file, table=table) == ([{"number": 1.0, "column_2": "x"}], [])


def test_rows_before_the_first_filled_one_count_too(tmp_path: Path):
    file = write_workbook(tmp_path / "a.xlsx", {"one": [[], [], ["a", "b"], [1, "x"]]})
    assert read_rows(file, table=replace(TABLE, skip_rows=2)) == ([{"a": 1.0, "b": "x"}], [])


def test_two_columns_of_one_name_are_named(tmp_path: Path):
    file = write_workbook(tmp_path / "a.xlsx", {"one": [["a", "b", "a"], [1, 2, 3]]})
    with pytest.raises(SourceError, match=r"column 'a' appears more than once, as columns 1 and 3"):
        read_rows(file)


@pytest.mark.parametrize(
    ("sheet", "reason"),
    [("three", r'Sheet "three" not found in file. Available sheets: "one", "two"'), (None, "the sheet is empty")],
)
def test_a_sheet_that_cannot_be_read_is_named_in_one_line(tmp_path: Path, sheet: str | None, reason: str):
    file = write_workbook(tmp_path / "a.xlsx", {"one": [], "two": [["a"], [1]]})
    with pytest.raises(SourceError, match=reason) as error:
        read_rows(file, table=replace(TABLE, sheet=sheet))
    assert str(error.value).startswith(f"{file}: ")
    assert "\n" not in str(error.value)


ODS = """<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
<office:body><office:spreadsheet><table:table table:name="one">
<table:table-row><table:table-cell office:value-type="string"><text:p>id</text:p></table:table-cell>
<table:table-cell office:value-type="string"><text:p>qty</text:p></table:table-cell></table:table-row>
<table:table-row><table:table-cell office:value-type="string"><text:p>007</text:p></table:table-cell>
<table:table-cell office:value-type="float" office:value="2.5"><text:p>2.5</text:p></table:table-cell>
</table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"""
MANIFEST = """<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">
<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/></manifest:manifest>"""
XLS = Path(__file__).with_name("book.xls")


def test_older_and_open_workbooks_are_read(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "a.ods", "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        archive.writestr("content.xml", ODS.replace("\n<", "<"))
    for file in (tmp_path / "a.ods", XLS):
        assert read_rows(file) == ([{"id": "007", "qty": 2.5}], [])
    with pytest.raises(SourceError, match=r"b\.xls: cannot be read as xls: "):
        read_rows(write_file(tmp_path / "b.xls", b"no workbook"))
