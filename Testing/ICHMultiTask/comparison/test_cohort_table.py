"""Cells of a cohort's tables: numbers and rows as spreadsheets and people write them."""

import numpy as np
import pytest

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.comparison.cohort import compare_cohort

NAMES = ("patient_id", "volume_ml", "predicted_volume_ml", "ABC/2 (mL)")


def rows(patients=20):
    """Cells of a table with a model and a formula."""
    volumes = np.round(np.random.default_rng(0).gamma(2, 12, patients), 1)
    return [[f"P{n}", *(f"{v * factor:.1f}" for factor in (1, 1.1, 0.8))] for n, v in enumerate(volumes)]


def compare(path, cells, names=NAMES, delimiter=",", before=""):
    path.write_text(before + "\n".join(delimiter.join(row) for row in (names, *cells)), encoding="utf-8")
    return compare_cohort(path, resamples=100)


def test_rows_that_summarize_the_table_are_no_patients(tmp_path):
    """A spreadsheet's row of means would count as one more patient, whom every method measures well."""
    labels = ("Mean", "", "SD", "Mean ± SD (95 % CI)", "Summe:")
    alone = compare(tmp_path / "table.csv", rows())
    found = compare(tmp_path / "table.csv", rows() + [[label, "20", "20", "20"] for label in labels])
    assert found.rows == alone.rows
    words = " ".join(found.cohort.warnings)
    assert "no patients: row 22 (Mean); row 24 (SD); row 25 (Mean ± SD (95 % CI)); row 26 (Summe:)." in words
    for label in ("Meany", "N-1", "Sum1"):  # names of patients
        found = compare(tmp_path / "table.csv", rows() + [["Mean", "20", "20", "20"], [label, "9", "9", "9"]])
        assert found.rows[0]["patients"] == 22


def test_cubic_centimeters_are_milliliters(tmp_path):
    found = compare(tmp_path / "table.csv", rows(), ("ID", "Manual volume (cc)", "Model (cm³)", "ABC/2 (ccm)"))
    assert [row["name"] for row in found.rows] == ["Model", "ABC/2"]
    alone = compare(tmp_path / "table.csv", rows())
    assert [row["mae_ml"] for row in found.rows] == [row["mae_ml"] for row in alone.rows]


def test_decimal_commas(tmp_path):
    quoted, unquoted = 'a,"10,5","1,234"\nb,20,19\nc,"7,25",8\n', "a;10,5;1,234\nb;20;19\nc;7,25;8\n"
    (tmp_path / "a.csv").write_text("patient,volume_ml,model\n" + quoted, encoding="utf-8")
    (tmp_path / "b.csv").write_text("patient;volume_ml;model\n" + unquoted, encoding="utf-8")
    first, second = (compare_cohort(tmp_path / name, resamples=100).cohort for name in ("a.csv", "b.csv"))
    assert first.reference_ml.tolist() == second.reference_ml.tolist() == [10.5, 20, 7.25]
    np.testing.assert_array_equal(first.methods[0].volumes_ml, [np.nan, 19, 8])
    assert "row 2, model: '1,234' is not a number" in " ".join(first.warnings)
    assert second.methods[0].volumes_ml.tolist() == [1.234, 19, 8]


def test_points_that_may_separate_thousands_of_cubic_millimeters_are_refused(tmp_path):
    """12.345 mm³ of a German spreadsheet are 12 mL and not 0.01."""

    def write(text):
        (tmp_path / "table.csv").write_text("patient;reference;model\n" + text, encoding="utf-8")
        return compare_cohort(tmp_path / "table.csv", unit="mm3", resamples=100)

    with pytest.raises(InputError, match="three digits after every point, as in 12.345: expected numbers of which"):
        write("a;12.345;12.500\nb;950;1.010\n")
    assert write("a;12.345,0;12.500,5\nb;950;1010\n").cohort.reference_ml == pytest.approx([12.345, 0.95])
    assert write("a;12345.125;12500.25\nb;950.125;990\n").cohort.reference_ml == pytest.approx([12.345125, 0.950125])


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("before", ["Cohort of 2024\n", "Cohort of 2024,,,\n", "\n Cohort of 2024 \n\n"])
def test_title_above_the_names_of_the_columns_is_named(tmp_path, before, delimiter):
    with pytest.raises(InputError, match=r"is a single cell: expected the names of the columns in it, found “Cohort"):
        compare(tmp_path / "table.csv", rows(), delimiter=delimiter, before=before.replace(",", delimiter))


def test_rows_in_quotation_marks_are_named(tmp_path):
    (tmp_path / "table.csv").write_text("".join(f'"{",".join(row)}"\n' for row in (NAMES, *rows())))
    with pytest.raises(InputError, match="single cell: .* found “patient_id,volume_ml.*quotation marks around whole"):
        compare_cohort(tmp_path / "table.csv")


def test_formulas_that_keep_leading_zeros_are_their_texts(tmp_path):
    alone = compare(tmp_path / "table.csv", rows())
    found = compare(tmp_path / "table.csv", [[f'="{cell}"' for cell in row] for row in rows()])
    assert found.rows == alone.rows and found.cohort.patients == alone.cohort.patients


@pytest.mark.parametrize("spelled", ["1", "1.0", " 001", "P2", "Ｐ２"])
def test_patients_spelled_in_two_ways_are_refused(tmp_path, spelled):
    """A spreadsheet that takes the zeros from some IDs leaves a comparison of the others."""
    names = ["001", "p2", "3"]
    (tmp_path / "a.csv").write_text("id,reference_ml\n" + "".join(f"{name},{n + 5}\n" for n, name in enumerate(names)))
    same = 0 if "1" in spelled else 1
    names[same] = spelled
    text = "id,model_ml\n" + "".join(f"{name},{n + 6}\n" for n, name in enumerate(names))
    (tmp_path / "b.csv").write_text(text, encoding="utf-8")
    tables = [tmp_path / "a.csv", tmp_path / "b.csv"]
    if spelled.strip() == "001":
        assert compare_cohort(tables, resamples=100).rows[0]["patients"] == 3
        return
    with pytest.raises(
        InputError, match=f"several ways: expected one name .* found {('001', 'p2')[same]} and {spelled}"
    ):
        compare_cohort(tables, resamples=100)


def test_intervals_that_end_before_they_begin_are_refused(tmp_path):
    names = ("patient_id", "volume_ml", "model_ml", "interval_high_ml", "interval_low_ml")
    cells = [["a", "4", "5", "6", "3"], ["b", "4", "5", "3", "6"]]
    with pytest.raises(
        InputError, match="interval_low_ml must not be above interval_high_ml: found 6 and 3 for patient b"
    ):
        compare(tmp_path / "table.csv", cells, names)
