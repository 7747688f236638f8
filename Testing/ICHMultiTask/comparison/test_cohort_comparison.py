"""Cohort comparison: tables of all kinds, what is recognized and refused, numbers, report and command."""

import csv
import html
import json
import re
import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from ICHMultiTaskLib import cli
from ICHMultiTaskLib.common.errors import InputError, OutputError
from ICHMultiTaskLib.common.provenance import provenance_facts
from ICHMultiTaskLib.common.writing import LIST_FILE
from ICHMultiTaskLib.comparison.cohort import compare_cohort
from ICHMultiTaskLib.comparison.statistics import icc
from ICHMultiTaskLib.report.cohort import cohort_html, report_cohort, summary

REAL = {
    "patient": "site,case", "reference": "thresholded volume ground truth(mm)", "method_column": "model",
    "volume_column": "thresholded volume(mm)", "unit": "mm3",
}  # fmt: skip


def columns(patients=40, missing=True):
    """A table with a model, a formula and three raters; rater 2 did not rate every fifth patient."""
    generator = np.random.default_rng(0)
    volume = np.round(np.exp(generator.normal(2.7, 1.0, patients)), 2)
    volume[:2] = 0
    table = {"patient_id": [f"P{n}" for n in range(patients)], "volume_ml": list(volume), "age": [70] * patients}
    for name, bias, spread in (
        ("predicted_volume_ml", 1.0, 0.1), ("ABC/2 (mL)", 1.2, 0.1), ("rater_1", 1.1, 0.2),
        ("rater_2 (8 years)", 1.0, 0.15), ("rater_10", 1.05, 0.1),
    ):  # fmt: skip
        table[name] = list(np.round(volume * generator.normal(bias, spread, patients), 2))
    if missing:
        table["rater_2 (8 years)"][::5] = [None] * len(table["rater_2 (8 years)"][::5])
    table["interval_low_ml"] = [0.8 * v for v in table["predicted_volume_ml"]]
    table["interval_high_ml"] = [1.2 * v for v in table["predicted_volume_ml"]]
    return table


def write(path, table, delimiter=",", decimal="."):
    def text(value):
        if isinstance(value, float):
            return str(value).replace(".", decimal)
        return "" if value is None else value

    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table)
        writer.writerows([text(value) for value in row] for row in zip(*table.values()))
    return path


def compare(tables, output=None, **options):
    options = {"resamples": 200} | options
    return compare_cohort(tables, **options) if output is None else report_cohort(tables, output, **options)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    path = write(folder / "table.csv", columns())
    return report_cohort(path, folder / "result", percent=True, resamples=200), folder / "result"


def test_columns_are_recognized(comparison):
    found, _ = comparison
    assert [(row["name"], row["kind"], row["experience_years"]) for row in found.rows] == [
        ("Model", "model", None), ("ABC/2", "method", None), ("Rater 1", "rater", None),
        ("Rater 2 (8 years)", "rater", 8), ("Rater 10", "rater", None),
    ]  # fmt: skip
    assert found.cohort.columns["reference"] == "volume_ml" and found.cohort.columns["not_used"] == ["age"]
    assert found.against == "Model" and [test["name"] for test in found.tests] == [r["name"] for r in found.rows[1:]]


def test_numbers_equal_scikit_learn(comparison):
    found, _ = comparison
    table = columns()
    for row in found.rows:
        measured = np.array(table[row["column"]], dtype=float)
        known = np.isfinite(measured)
        measured, reference = measured[known], np.array(table["volume_ml"])[known]
        bled = reference > 0
        assert (row["patients"], row["patients_above_0"]) == (known.sum(), bled.sum())
        assert row["mae_ml"] == pytest.approx(sklearn_metrics.mean_absolute_error(reference, measured))
        assert row["mse_ml2"] == pytest.approx(sklearn_metrics.mean_squared_error(reference, measured))
        percent = 100 * sklearn_metrics.mean_absolute_percentage_error(reference[bled], measured[bled])
        assert row["mape_percent"] == pytest.approx(percent)
        wrong = 1 - sklearn_metrics.accuracy_score(reference >= 30, measured >= 30)
        assert row["misclassified_30_ml"] == pytest.approx(wrong)
        assert row["icc"] == pytest.approx(float(icc(measured, reference)))
        assert row["intervals_95"]["mae_ml"][0] < row["mae_ml"] < row["intervals_95"]["mae_ml"][1]
    reference, predicted = np.array(table["volume_ml"]), np.array(table["predicted_volume_ml"])
    inside = (0.8 * predicted <= reference) & (reference <= 1.2 * predicted)
    assert found.rows[0]["interval_coverage"] == pytest.approx(inside.mean())
    assert "interval_coverage" not in found.rows[1]


def test_others_are_tested_against_the_model_in_pairs(comparison):
    found, _ = comparison
    table = {name: np.array(values, dtype=float) for name, values in columns().items() if name.endswith(("ml", ")"))}
    error = np.abs(table["rater_2 (8 years)"] - table["volume_ml"])
    difference = error - np.abs(table["predicted_volume_ml"] - table["volume_ml"])
    test = next(test for test in found.tests if test["name"] == "Rater 2 (8 years)")
    assert test["patients"] == 32
    assert test["mae_difference_ml"] == pytest.approx(np.nanmean(difference))
    assert 0 < test["wilcoxon_p"] <= test["wilcoxon_p_holm"] <= 1
    other = compare(columns(), model="rater_2 (8 years)")
    assert other.against == "Rater 2 (8 years)" and [t["name"] for t in other.tests][:2] == ["Model", "ABC/2"]
    assert other.rows[0]["kind"] == "rater" and other.raters["names"][0] == "Rater 2 (8 years)"


def test_raters_against_one_another(comparison):
    found, _ = comparison
    table = columns()
    volumes = [np.array(table[name], float) for name in ("rater_1", "rater_2 (8 years)", "rater_10")]
    assert found.raters["names"] == ["Rater 1", "Rater 2 (8 years)", "Rater 10"]
    assert found.raters["patients"] == [[None, 32, 40], [32, None, 32], [40, 32, None]]
    assert found.raters["mae_ml"][0][2] == found.raters["mae_ml"][2][0]
    assert found.raters["mae_ml"][0][2] == pytest.approx(np.abs(volumes[0] - volumes[2]).mean())
    assert found.raters["icc"][1][2] == pytest.approx(float(icc(volumes[1], volumes[2])))
    assert found.raters["icc_all"] == pytest.approx(float(icc(*volumes))) and found.raters["patients_all"] == 32


def test_files_say_the_same(comparison):
    found, folder = comparison
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert set(report["figures"]) == {p.name for p in folder.glob("*.png")} and len(report["figures"]) == 5
    made = report.pop("provenance")
    assert {name: value for name, value in report.items() if name != "figures"} == found.as_dict()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert made["libraries"]["numpy"] == np.__version__
    assert all(html.escape(text) in page for text in provenance_facts(made).values())
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, found.rows, strict=True):
        assert row["name"] == expected["name"] and float(row["mae_ml"]) == expected["mae_ml"]
        assert float(row["icc_ci_low"]) == expected["intervals_95"]["icc"][0]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 5 and "http" not in page
    for row in found.rows:
        assert f"<td>{row['name']}</td><td>{row['patients']}<small>{row['patients_above_0']} above 0</small>" in page
        assert f"<td>{row['mae_ml']:.2f}<small>" in page
    assert f"held the reference in {100 * found.rows[0]['interval_coverage']:.0f} %" in page
    assert "simulated" not in page and "are of different patients" in page


def test_columns_in_memory_and_files_of_all_kinds_give_the_same(tmp_path):
    expected = compare(columns()).rows
    assert compare(write(tmp_path / "a.csv", columns())).rows == expected
    assert compare(write(tmp_path / "b.csv", columns(), ";", ",")).rows == expected
    assert compare(write(tmp_path / "c.csv", columns(), "\t")).rows == expected
    (tmp_path / "d.csv").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "a.csv").read_bytes().replace(b"\r\n", b"\n\n"))
    assert compare(tmp_path / "d.csv").rows == expected


def test_manifest_and_predictions_are_joined(tmp_path):
    whole = columns(missing=False)
    of_model = ("patient_id", "volume_ml", "predicted_volume_ml", "interval_low_ml", "interval_high_ml")
    manifest = {name: values for name, values in whole.items() if name not in of_model[2:]}
    manifest |= {"ivh_ml": [1.0] * 40, "simulated": [1] * 40}
    predictions = {name: whole[name][10:][::-1] for name in of_model} | {"mortality_probability": [0.5] * 30}
    tables = [write(tmp_path / "manifest.csv", manifest), write(tmp_path / "predictions.csv", predictions)]
    found = compare(tables)
    assert [row["patients"] for row in found.rows] == [30, 40, 40, 40, 40]
    complete = compare(tables, complete=True)
    assert [row["patients"] for row in complete.rows] == [30] * 5
    tail = {name: values[10:] for name, values in whole.items()}
    assert [row["mae_ml"] for row in complete.rows] == pytest.approx([row["mae_ml"] for row in compare(tail).rows])
    assert complete.cohort.simulated == 30 and "ivh_ml" in complete.cohort.columns["not_used"]
    assert "All patients are simulated." in cohort_html(complete.as_dict(), {})
    assert "All patients are simulated." in summary(complete)
    predictions["volume_ml"][0] += 1
    with pytest.raises(InputError, match=r"patient P39 has \S+ in row 41 of manifest.csv and \S+ in row 2 of pred"):
        compare([tables[0], write(tmp_path / "predictions.csv", predictions)])


def test_experience_of_raters(tmp_path):
    table = columns()
    years = write(tmp_path / "years.csv", {"rater": ["Rater 1", "rater_10"], "years": [1, 2.5]})
    for source in (years, {"rater_1": 1, "rater_10": 2.5}):
        found = {row["column"]: row for row in compare(table, experience=source).rows}
        assert found["rater_1"]["name"] == "Rater 1 (1 year)" and found["rater_10"]["experience_years"] == 2.5
        assert found["rater_2 (8 years)"]["experience_years"] == 8
    with pytest.raises(InputError, match="found 'rater_3' and 2"):
        compare(table, experience={"rater_3": 2})
    with pytest.raises(InputError, match="found 'rater_1' and 'many'"):
        compare(table, experience={"rater_1": "many"})


def test_unusable_cells_are_left_out_and_named(tmp_path):
    table = columns()
    table["rater_1"][3:8] = ["about 5", "-4", "NA", "", "32905"]
    table["volume_ml"][9] = "?"
    table["patient_id"][12] = ""
    found = compare(write(tmp_path / "table.csv", table))
    words = " ".join(found.cohort.warnings)
    for expected in (
        "row 5, rater_1: 'about 5' is not a number", "row 6, rater_1: -4 is negative",
        "row 9, rater_1: 32905 mL is more than fits into a head, or is it in mm³?",
        "row 11, volume_ml: '?' is not a number", "1 of 39 patients have no reference volume (volume_ml)",
        "patient_id is empty: row 14",
    ):  # fmt: skip
        assert expected in words
    rows = {row["column"]: row for row in found.rows}
    assert rows["predicted_volume_ml"]["patients"] == 38 and rows["rater_1"]["patients"] == 33


def test_patients_that_appear_twice():
    table = columns()
    for name in table:
        table[name].append(table[name][7])
    found = compare(table)
    assert found.rows[0]["patients"] == 40
    assert "1 of 40 patients appear more than once" in " ".join(found.cohort.warnings)
    assert "P7 (row 8, row 41)" in " ".join(found.cohort.warnings)
    table["age"][-1] = 71  # not used
    assert compare(table).rows == found.rows
    table["rater_1"][-1] = 99.5
    with pytest.raises(InputError, match=r"rater_1 must be one number per patient: .*P7 has \S+ in row 8 and 99.5 in"):
        compare(table)


def test_long_table_equals_the_wide_one(tmp_path):
    wide = columns()
    methods = ["predicted_volume_ml", "ABC/2 (mL)", "rater_1"]
    count = len(wide["patient_id"])
    long = {
        "patient": wide["patient_id"] * 3, "manual": wide["volume_ml"] * 3, "dice": list(np.linspace(0, 1, 3 * count)),
        "reader": [name for name in methods for _ in range(count)], "ml": sum((wide[name] for name in methods), []),
    }  # fmt: skip
    found = compare(
        write(tmp_path / "long.csv", long), method_column="reader", volume_column="ml", model="predicted_volume_ml"
    )
    expected = compare({name: wide[name] for name in ("patient_id", "volume_ml", *methods)})
    assert [row["mae_ml"] for row in found.rows] == [row["mae_ml"] for row in expected.rows]
    assert found.tests == expected.tests and found.cohort.columns["not_used"] == ["dice"]
    with pytest.raises(InputError, match="if each method has its own row"):
        compare(tmp_path / "long.csv", methods=["ml"])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("patients", [1, 2])
def test_few_patients_give_dashes_and_never_nan(tmp_path, patients):
    table = {name: values[2 : 2 + patients] for name, values in columns(missing=False).items()}
    found = compare(table, output=tmp_path / "result", percent=True)
    report = (tmp_path / "result" / "report.json").read_text(encoding="utf-8")
    page = (tmp_path / "result" / "report.html").read_text(encoding="utf-8")
    assert "NaN" not in report and ">nan" not in page and "–" in page
    assert found.rows[0]["patients"] == patients and found.rows[0]["mae_ml"] is not None
    if patients == 1:
        assert found.rows[0]["icc"] is None and found.rows[0]["limit_low_ml"] is None
        assert set(found.rows[0]["intervals_95"].values()) == {None}
    assert f'<span class="soft">{patients} patient{"s" if patients > 1 else ""}</span>' in page


@pytest.mark.filterwarnings("error")
def test_scans_without_a_bleed_have_no_percentage(tmp_path):
    table = {"patient_id": ["a", "b", "c"], "reference": [0, 0, 0], "model": [0, 0.4, 1], "rater_1": [None] * 3}
    found = compare(table, output=tmp_path / "result", percent=True)
    assert found.rows[0]["patients_above_0"] == 0 and found.rows[0]["mape_percent"] is None
    assert found.rows[1]["patients"] == 0 and found.rows[1]["mae_ml"] is None and found.tests[0]["wilcoxon_p"] is None
    assert "No volume of any patient with a reference: Rater 1." in found.cohort.warnings


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda t: t.pop("volume_ml"), {}, "recognized as the reference: expected a name such as reference_ml"),
        (lambda t: t.pop("patient_id"), {}, "recognized as the patient: expected a name such as patient_id"),
        (lambda t: [t.pop(name) for name in list(t)[3:]], {}, "nothing to compare with volume_ml.*found.*age"),
        (lambda t: None, {"reference": "truth"}, "no column 'truth' for the reference: found volume_ml, age"),
        (lambda t: None, {"raters": ["Dr. No"]}, "no column 'Dr. No' for the rater"),
        (lambda t: None, {"patient": "site,case"}, "no column site, case in the table"),
        (lambda t: None, {"unit": "cc"}, "expected one of ml, mm3, found 'cc'"),
        (lambda t: None, {"unit": "mm3"}, "said to be in mm3, but volume_ml, .* in mL by name: expected one unit"),
        (lambda t: t.update({"ABC mm³": t.pop("rater_1")}), {}, "said to be in ml, but ABC mm³ in mm³ by name"),
        (
            lambda t: t.update(volume_ml=[v / 1e3 for v in t["volume_ml"]]),
            {},
            "largest volume of volume_ml is 0.066 mL",
        ),
        (lambda t: t.update(rater_1=[v / 1e3 for v in t["rater_1"]]), {}, "of rater_1 are 0.001.* times those of vol"),
        (lambda t: None, {"method_column": "age"}, "needs both"),
        (lambda t: None, {"method_column": "age", "volume_column": "mL"}, "no column mL in the table"),
        (lambda t: None, {"resamples": 5}, "at least 100, found 5"),
        (lambda t: t.update(volume_ml=[None] * 40), {}, "Nothing can be .*40 of 40 patients have no reference"),
        (lambda t: t.update(rater_1=[1.0]), {}, "must have the same length"),
        (lambda t: t.clear(), {}, "No table was given"),
        (lambda t: None, {"model": "volume_ml"}, "volume_ml is named as the reference and as the model"),
    ],
)
def test_cohorts_that_cannot_be_compared_are_refused(change, options, words):
    table = columns()
    change(table)
    with pytest.raises(InputError, match=words):
        compare(table, **options)


def test_no_patient_in_common(tmp_path):
    table = columns()
    manifest = write(tmp_path / "a.csv", {name: table[name][:20] for name in ("patient_id", "volume_ml")})
    model = write(tmp_path / "b.csv", {name: table[name][20:] for name in ("patient_id", "predicted_volume_ml")})
    with pytest.raises(InputError, match=r"Nothing can be compared: expected patients with a reference volume"):
        compare([manifest, model])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "found nothing in"),
        (b"patient_id,volume_ml,model\n", "found only a header"),
        (b"patient_id,model,volume_ml\na,12,5,13\n", "Row 2 of .* has 4 cells: expected 3.* comma needs quotes"),
        (b"patient_id,model,model\na,1,2\n", "has model more than once"),
        (b"patient_id,model\n\x8d\x8f,1\n", "expected CSV in UTF-8, UTF-16 or Windows-1252"),
        (b"PK\x03\x04...", "found an Excel workbook"),
        (None, "does not exist"),
    ],
)
def test_files_that_are_not_tables_are_refused(tmp_path, content, words):
    if content is not None:
        (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(InputError, match=words):
        compare(tmp_path / "table.csv", output=tmp_path / "result")
    assert not (tmp_path / "result").exists()


def test_report_without_matplotlib(tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    found = compare(columns(), output=tmp_path / "result")
    written = [LIST_FILE, "report.html", "report.json", "table.csv"]
    assert sorted(p.name for p in (tmp_path / "result").iterdir()) == written
    assert f"<td>{found.rows[0]['mae_ml']:.2f}<small>" in (tmp_path / "result" / "report.html").read_text("utf-8")


def test_names_are_escaped():
    table = columns()
    table["<b>ABC</b> & co"] = table.pop("ABC/2 (mL)")
    page = cohort_html(compare(table).as_dict(), {})
    assert "&lt;b&gt;ABC&lt;/b&gt; &amp; co" in page and "<b>ABC" not in page


def test_command(tmp_path, capsys):
    path, output = write(tmp_path / "table.csv", columns()), tmp_path / "deep" / "result"
    arguments = ["compare", str(path), "--output", str(output), "--resamples", "100"]
    assert cli.main(arguments) == 0
    printed = capsys.readouterr()
    assert re.search(r"Reference +column volume_ml", printed.out) and re.search(r"Not used +age", printed.out)
    assert re.search(r"Rater 2 \(8 years\) +32 +\d+\.\d\d \(\d", printed.out) and str(output) in printed.out
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    assert report["bootstrap"]["resamples"] == 100
    assert cli.main(arguments) == 1
    assert "is not empty" in capsys.readouterr().err
    assert cli.main([*arguments, "--overwrite", "--methods", "age"]) == 0
    assert json.loads((output / "report.json").read_text(encoding="utf-8"))["columns"]["methods"] == ["age"]
    capsys.readouterr()
    assert cli.main(["compare", str(tmp_path / "none.csv"), "--output", str(tmp_path / "other")]) == 1
    assert capsys.readouterr().err.startswith("The table does not exist")
    assert not (tmp_path / "other").exists()
    with pytest.raises(SystemExit) as stop:
        cli.main(["compare", str(path)])
    assert stop.value.code == 2


def test_a_taken_folder_is_refused_before_the_work(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(OutputError, match="is not empty"):
        report_cohort(tmp_path / "absent.csv", tmp_path, overwrite=True)


def test_real_volumes_of_five_networks(data_folder):
    """A long table in mm³, in which 11 scans stand twice."""
    found = compare_cohort(data_folder / "auto_vs_manual_volumes.csv", model="nih_ssl", **REAL)
    with (data_folder / "auto_vs_manual_volumes.csv").open(newline="") as file:
        records = {(row["site"], row["case"], row["model"]): row for row in csv.DictReader(file)}
    assert [row["patients"] for row in found.rows] == [94] * 5 and "11 of 94 patients" in found.cohort.warnings[0]
    for row in found.rows:
        mine = [record for key, record in records.items() if key[2] == row["column"]]
        measured, manual = (
            [float(record[name]) / 1000 for record in mine] for name in (REAL["volume_column"], REAL["reference"])
        )
        assert row["mae_ml"] == pytest.approx(sklearn_metrics.mean_absolute_error(manual, measured))
        assert row["icc"] == pytest.approx(float(icc(measured, manual)))
    assert found.rows[0]["mae_ml"] == min(row["mae_ml"] for row in found.rows)
