"""A folder of scans without labels."""

import csv
import shutil

import pytest

from ICHMultiTaskLib.analysis import analyzer as analyzer_module
from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.model.testing import tiny_bundle
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.evaluation.prediction import predict


def test_every_scan_of_a_folder_gets_a_row(training_manifest, tmp_path, capsys):
    scans, bundle = tmp_path / "scans", tiny_bundle(tmp_path / "bundle")
    scans.mkdir()
    for n in (0, 1):
        shutil.copy(training_manifest.with_name(f"scan{n}.nii.gz"), scans)
    (scans / "broken.nii.gz").write_bytes(b"not a scan")
    command = ["predict", str(scans), "--output", str(tmp_path / "said"), "--model", str(bundle), "--device", "cpu"]
    assert cli.main(command) == 0
    assert "2 of 3 scans" in capsys.readouterr().out
    with (tmp_path / "said" / "predictions.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = {row["scan"]: row for row in csv.DictReader(file)}
    assert set(rows) == {"scan0.nii.gz", "scan1.nii.gz", "broken.nii.gz"}
    assert rows["broken.nii.gz"]["problem"] and not rows["broken.nii.gz"]["predicted_volume_ml"]
    analysis = Analyzer(bundle, "cpu").analyze(read_head_ct(scans / "scan1.nii.gz"), attention=False)
    row = rows["scan1.nii.gz"]
    # The file has as many digits as are shown, or more.
    assert abs(float(row["predicted_volume_ml"]) - analysis.volume_ml) < 0.01 * max(analysis.volume_ml, 1)
    assert row["hemorrhage"] == analysis.hemorrhage.value and row["interval_low_ml"] == ""
    assert row["trained_on"] == "Random weights; no scans."
    shutil.copy(training_manifest, scans / "only.txt")
    (tmp_path / "none").mkdir()
    assert cli.main(["predict", str(tmp_path / "none"), "--output", str(tmp_path / "other")]) == 1
    assert "holds no scans" in capsys.readouterr().err and not (tmp_path / "other").exists()


@pytest.mark.parametrize("decision, given", [(Hemorrhage.FOUND, True), (Hemorrhage.UNCERTAIN, False)])
def test_a_prognosis_is_given_only_where_a_hemorrhage_is_found(
    training_manifest, tmp_path, monkeypatch, decision, given
):
    monkeypatch.setattr(analyzer_module, "decide", lambda *of: (decision, "" if given else "Look again."))
    (tmp_path / "scans").mkdir()
    shutil.copy(training_manifest.with_name("scan0.nii.gz"), tmp_path / "scans")
    (row,) = predict(tmp_path / "scans", tmp_path / "said", tiny_bundle(tmp_path / "bundle"), "cpu")
    assert row["hemorrhage"] == decision.value and row["predicted_volume_ml"] is not None
    assert (row["mortality_probability"] is not None) == (row["prognosis"] is not None) == given
    assert ("Look again." in row["warnings"]) != given
