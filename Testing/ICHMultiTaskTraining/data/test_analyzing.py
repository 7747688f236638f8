"""Scans analyzed in several processes; that the results are those of one is tested with `evaluate`."""

import pytest

from ICHMultiTaskLib.model import runtime
from ICHMultiTaskTrainingLib.data import analyzing
from ICHMultiTaskTrainingLib.data.analyzing import analyze_each, processes_for

GIB = 1024**3


@pytest.mark.parametrize("free, expected", [(None, 8), (100 * GIB, 8), (5 * GIB, 2), (GIB, 1), (0, 1)])
def test_there_is_a_process_for_each_processor_if_memory_allows(monkeypatch, free, expected):
    monkeypatch.setattr(analyzing, "usable_cores", lambda: 8)
    monkeypatch.setattr(runtime, "free_memory", lambda device: free)
    assert processes_for("cpu") == expected


def test_a_gpu_is_used_by_one_process(monkeypatch):
    monkeypatch.setattr(runtime, "available_devices", lambda: ["cuda", "cpu"])
    assert processes_for("auto") == processes_for("cuda") == 1


def test_progress_counts_the_scans_in_their_order(tmp_path):
    reports = []
    scans = [tmp_path / f"{n}.nii.gz" for n in range(3)]
    names = analyze_each(
        lambda scan, reading, analyzer: scan.name, scans, None, 1, lambda *r: reports.append(r), ": read"
    )
    assert names == ["0.nii.gz", "1.nii.gz", "2.nii.gz"]
    assert reports[0] == (0.0, "Scan 1 of 3: read") and reports[-1] == (1.0, "Scan 3 of 3: read")
    assert [fraction for fraction, _ in reports] == pytest.approx([0, 1 / 3, 2 / 3, 1])
