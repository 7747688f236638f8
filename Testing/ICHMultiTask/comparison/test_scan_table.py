"""A table of scans that grows scan by scan: the same checks as for a folder, and nothing half-written."""

import csv

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.comparison import scan_table
from ICHMultiTaskLib.comparison.scan_table import add_scan, check_addition
from ICHMultiTaskLib.measures.labeled_scan import choose_segment, label_of, on_lattice
from ICHMultiTaskLib.measures.segment import Segment
from ICHMultiTaskLib.scan.geometry import voxel_volume_mm3
from ICHMultiTaskLib.scan.head_ct import HeadCT, ScanFacts
from ICHMultiTaskLib.scan.reading import read_head_ct


@pytest.fixture
def pair(dicom_files):
    """A tilted head with a cube of blood, and its segment."""
    affine = dicom_files.affine(15.0)
    hu = dicom_files.head(affine)
    mask = np.zeros(hu.shape, bool)
    mask[14:18, 24:30, 24:30] = True
    hu[mask] = 62
    return HeadCT(hu, affine, ScanFacts(patient_id="P1", patient_name="Doe^Jane")), Segment("Bleed", mask, affine, "A")


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_scan_and_mask_stand_beside_the_table_with_the_volume_of_the_sheared_grid(tmp_path, pair):
    scan, segment = pair
    added = add_scan(tmp_path / "t.csv", check_addition(tmp_path / "t.csv", " P1 ", 1, scan, segment))
    (row,) = rows(tmp_path / "t.csv")
    volume = 4 * 6 * 6 * voxel_volume_mm3(scan.ijk_to_ras) / 1000
    assert float(row["volume_ml"]) == pytest.approx(volume, abs=1e-3) and added.scans == 1
    assert (row["patient_id"], row["died"], row["segment"]) == ("P1", "1", "Bleed (A)")
    back, mask = (read_head_ct(tmp_path / row[name]) for name in ("image", "mask"))
    assert np.array_equal(back.hu, scan.hu) and np.array_equal(mask.hu > 0, segment.mask)
    np.testing.assert_allclose(back.ijk_to_ras, scan.ijk_to_ras, atol=1e-4)
    stored = b"".join((tmp_path / name).read_bytes() for name in files(tmp_path))
    assert b"Doe" not in stored


def test_table_of_a_spreadsheet_grows_and_keeps_its_columns(tmp_path, pair):
    scan, segment = pair
    table = tmp_path / "t.csv"
    table.write_text("patient_id;image;volume_ml;died;ward\nP0;p0.nii;12,5;0;3B\n", encoding="cp1252")
    add_scan(table, check_addition(table, "P1", 0, scan, segment))
    first, second = rows(table)
    assert first == first | {"patient_id": "P0", "volume_ml": "12.5", "ward": "3B"}
    assert (second["ward"], second["image"]) == ("", "images/P1.nii.gz")


def test_second_scan_of_a_patient_has_a_name_of_its_own_and_the_same_scan_is_refused(tmp_path, pair):
    scan, segment = pair
    table = tmp_path / "t.csv"
    add_scan(table, check_addition(table, "P1", 1, scan, segment))
    before = files(tmp_path)
    with pytest.raises(InputError, match="in the table already, as images/P1.nii.gz of P1: expected each scan once"):
        add_scan(table, check_addition(table, "P2", 0, scan, segment))
    assert files(tmp_path) == before and len(rows(table)) == 1
    later = HeadCT(scan.hu + np.int16(1), scan.ijk_to_ras)
    add_scan(table, check_addition(table, "P1", 1, later, segment))
    assert [row["image"] for row in rows(table)] == ["images/P1.nii.gz", "images/P1-2.nii.gz"]


@pytest.mark.parametrize(
    "patient, died, message",
    [
        ("", 1, "expected an ID, found none"),
        ("P1", None, "expected whether the patient died within 30 days"),
        ("P0", 1, "the table says another outcome of P0: expected 0, found 1"),
    ],
)
def test_missing_patient_or_outcome_is_reported(tmp_path, pair, patient, died, message):
    table = tmp_path / "t.csv"
    table.write_text("patient_id,image,volume_ml,died\nP0,p0.nii,12,0\n")
    with pytest.raises(InputError, match=message):
        check_addition(table, patient, died, *pair)
    assert files(tmp_path) == ["t.csv"]


def test_all_problems_of_a_pair_are_reported_at_once(tmp_path, pair):
    scan, segment = pair
    empty = Segment("Bleed", np.zeros_like(segment.mask), segment.ijk_to_ras, draft=True)
    with pytest.raises(InputError, match="model's own draft.*the segment is empty"):
        check_addition(tmp_path / "t.csv", "P1", 1, scan, empty)
    huge = Segment("Bleed", np.ones_like(segment.mask), segment.ijk_to_ras)
    problems = " ".join(label_of(huge, scan).problems)
    assert "does not lie on blood" in problems and "expected at most 500 mL" in problems
    moved = segment.ijk_to_ras.copy()
    moved[2, 3] += 20
    assert "on a wrong grid" in label_of(Segment("Bleed", segment.mask, moved), scan).problems[0]
    moved[2, 3] += 200
    outside = label_of(Segment("Bleed", segment.mask[:20], moved), scan)
    assert outside.problems == ("the segment is not of this scan: 100% of it lies outside",)
    assert label_of(empty, scan, may_be_empty=True).problems[1:] == ()


@pytest.mark.parametrize("existing", [False, True])
def test_full_disk_leaves_everything_as_it_was(tmp_path, pair, monkeypatch, existing):
    scan, segment = pair
    table = tmp_path / "t.csv"
    if existing:
        table.write_text("patient_id,image,volume_ml,died\nP0,p0.nii,12,0\n")
    addition = check_addition(table, "P1", 1, scan, segment)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}

    def full(*arguments):
        raise OutputError("The disk is full.")

    monkeypatch.setattr(scan_table, "write_csv", full)
    with pytest.raises(OutputError):
        add_scan(table, addition)
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before
    assert not (tmp_path / "images").exists()


def test_choice_of_the_segment(pair):
    _, segment = pair
    named = [Segment(name, segment.mask, segment.ijk_to_ras, "A") for name in ("Skull", "Intracerebral Haematoma")]
    assert choose_segment(named).name == "Intracerebral Haematoma"
    assert choose_segment(named, "skull").name == "Skull"
    with pytest.raises(InputError, match="expected one named “edema”, found “Skull .A.”, “Intra"):
        choose_segment(named, "edema")
    with pytest.raises(InputError, match="found none"):
        choose_segment([])


def test_part_of_the_grid_lies_on_its_lattice_and_another_grid_does_not(pair):
    scan, segment = pair
    part = segment.ijk_to_ras.copy()
    part[:3, 3] += 3 * part[:3, 2] + 5 * part[:3, 0]
    assert on_lattice(Segment("x", segment.mask[3:20, :, 5:40], part), scan)
    assert not on_lattice(Segment("x", segment.mask[:, :, 5:], part), scan), "beyond its end"
    part[:3, 3] += 0.4 * part[:3, 0]
    assert not on_lattice(Segment("x", segment.mask[3:20, :, 5:40], part), scan)
