"""Tables as spreadsheets write them, names of files, and what a result was made with."""

import json
import os
import re
import sys

import pytest

from ICHMultiTaskLib.common import names
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import safe_name, shown, stem, utf8_path
from ICHMultiTaskLib.common.provenance import provenance
from ICHMultiTaskLib.common.signature import is_unchanged, sign
from ICHMultiTaskLib.common.tables import near_name, parsed_number, read_csv, write_csv

ROWS = [("patient_id", "Größe", "volume_ml"), ("Müller", "1,5", "12,5"), ("b; c", "", "3")]


def text(delimiter):
    return "\r\n".join(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in ROWS)


@pytest.mark.parametrize("delimiter", [";", "\t", ",", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_tables_of_every_spreadsheet_are_read_alike(tmp_path, delimiter, encoding):
    path = tmp_path / "table.csv"
    for lines in (text(delimiter), f"sep={delimiter}\r\n" + text(delimiter), text(delimiter) + "\r\n\r\n;;\r\n"[:4]):
        path.write_bytes(lines.encode(encoding))
        table = read_csv(path)
        assert (table.header, [cells for _, cells in table.rows]) == (list(ROWS[0]), [list(row) for row in ROWS[1:]])
        assert table.decimal_comma is (delimiter != ",")
    assert table.records()[0] == (2, dict(zip(ROWS[0], ROWS[1])))


@pytest.mark.parametrize("content, words", [
    (b"", "found nothing in"),
    (b"PK\x03\x04rest", "an Excel workbook"),
    (b"\xd0\xcf\x11\xe0rest", "save it as CSV first"),
    (b"\n<html><table>", "found a page of the web, as some programs name .xls"),
    (b"%PDF-1.4\n%", "found a PDF"),
    (b"\x1f\x8b\x08", "found a compressed file"),
    (b"a,b\n1,\x00\x01\x8d\n", "none of them"),
    (b'a,b\n1,"2\n3,4\n5,6\n', "a quotation mark is opened and never closed"),
    (b"a,a\n1,2\n", "has a more than once"),
    (b"a,b\n1,2,5\n", "Row 2 of .* has 3 cells"),
])  # fmt: skip
def test_files_that_are_not_tables(tmp_path, content, words):
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_csv(tmp_path / "table.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_csv(tmp_path)


def test_cells_in_quotes_may_hold_lines_and_rows_are_counted_as_a_spreadsheet_does(tmp_path):
    (tmp_path / "table.csv").write_text('a,b\n"two\nlines",5" nail\n\n3,4\n')
    assert read_csv(tmp_path / "table.csv").rows == [(2, ["two\nlines", '5" nail']), (4, ["3", "4"])]


def test_missing_columns_are_named_with_those_that_may_be_meant(tmp_path):
    assert near_name("volume_ml", ["Age", "Volume (mL)"]) == "Volume (mL)"
    assert near_name("patient_id", ["PatientID", "x"]) == "PatientID" and near_name("died", ["volume"]) is None
    (tmp_path / "table.csv").write_text("PatientID,Volume (mL)\na,3\n")
    with pytest.raises(InputError, match='found no patient_id, died among .*; is "PatientID" patient_id'):
        read_csv(tmp_path / "table.csv").require(["patient_id", "died"])


def test_numbers_of_cells():
    cells = {"12.5": 12.5, "12,5": 12.5, " −3 ": -3.0, "1e2": 100.0, "": None, "x": None, "nan": None, "1_0": None}
    assert {cell: parsed_number(cell) for cell in cells} == cells
    assert parsed_number("1,234") is None and parsed_number("1,234", decimal_comma=True) == 1.234


def test_thousands_are_recognized_where_nothing_else_can_be_meant():
    cells = {"12 345": 12345.0, "12\u00a0345,5": 12345.5, "1'234": 1234.0, "-1,234.5": -1234.5, "1.234,5": 1234.5}
    cells |= {"1.234.567": 1234567.0, "12 34": None, "1234 567": None, "1,234,56": None, "1.234,567.8": None}
    for decimal_comma in (False, True):
        assert {cell: parsed_number(cell, decimal_comma) for cell in cells} == cells
    assert parsed_number("1.234", decimal_comma=True) == 1.234


def test_written_table_is_read_back(tmp_path):
    rows = [{"a": 'say "x", y', "b": None, "c": 1}, {"a": os.fsdecode(b"M\xfcller") if os.name != "nt" else "M?ller"}]
    write_csv(tmp_path / "table.csv", rows, ["a", "b"])
    assert read_csv(tmp_path / "table.csv").rows == [(2, ['say "x", y', ""]), (3, ["M?ller", ""])]


def test_names_made_from_anything_can_be_used_everywhere():
    for given in ("CON", "nul.x", "a/b\\c:d", "..", "", "é" * 300, os.fsdecode(b"M\xfcller"), "ends. ", "-x"):
        name = safe_name(given, "scan")
        assert re.fullmatch(r"[\w][\w.-]*", name) and len(name.encode()) <= 105, given
        assert not names.RESERVED.fullmatch(name) and not name.endswith("."), given
    assert stem("/a/scan.nii.gz") == "scan" and stem("bleed.seg.nrrd") == "bleed" and stem("/a/folder") == "folder"


@pytest.mark.skipif(sys.platform != "linux", reason="names of other bytes than UTF-8")
def test_path_that_is_not_utf8_is_opened_by_another_name(tmp_path):
    folder = tmp_path / os.fsdecode(b"M\xfcller")
    folder.mkdir()
    (folder / "scan.mhd").write_text("ElementDataFile = scan.raw")
    (folder / "scan.raw").write_bytes(b"voxels")
    (folder / os.fsdecode(b"\xe4.NRRD")).write_bytes(b"voxels")
    assert shown(folder).endswith("M\N{REPLACEMENT CHARACTER}ller")
    with utf8_path(folder / "scan.mhd") as path:
        str(path).encode()
        assert path.name == "scan.mhd" and path.with_name("scan.raw").read_bytes() == b"voxels"
    with utf8_path(folder / os.fsdecode(b"\xe4.NRRD")) as path:
        str(path).encode()
        assert path.suffix == ".nrrd" and path.read_bytes() == b"voxels"
    assert not path.exists() and (folder / "scan.mhd").exists()
    with utf8_path(tmp_path) as path:
        assert path == tmp_path


def test_signature_detects_a_changed_file(tmp_path):
    path = tmp_path / "bleed.seg.nrrd"
    path.write_bytes(b"NRRD0004\ntype: uchar\n\n\x00\x01")
    assert not is_unchanged(path)
    sign(path)
    assert is_unchanged(path) and path.read_bytes().startswith(b"NRRD0004\n# ICHMultiTask sha256 ")
    content = path.read_bytes()
    for changed in (content[:-1] + b"\x02", content + b"x", content.replace(b"uchar", b"short"), b"", content[9:]):
        path.write_bytes(changed)
        assert not is_unchanged(path)


def test_provenance_states_device_and_libraries():
    import numpy

    found = json.loads(json.dumps(provenance("cpu", "float32")))
    assert found["libraries"]["numpy"] == numpy.__version__
    assert found["number_format"] == "float32" and found["device"] == "cpu" and found["device_name"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["date"])
    assert re.fullmatch(r"[0-9a-f]{16}", found["code_sha256"])
