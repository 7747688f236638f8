"""From a head CT to the result: numbers, attention in the scan's geometry, progress, cancellation, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from ICHMultiTaskLib import analyze
from ICHMultiTaskLib.analysis import analyzer as analyzer_module
from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.growth import growth
from ICHMultiTaskLib.analysis.marking import mark, propose
from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.cli.analyze import summary
from ICHMultiTaskLib.common.choices import Head
from ICHMultiTaskLib.common.errors import BundleError, Canceled, InputError
from ICHMultiTaskLib.measures.agreement import compare_volumes
from ICHMultiTaskLib.model.attention import LOCATOR, METHODS
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.bundle import NO_CALIBRATION, ModelBundle, save_bundle
from ICHMultiTaskLib.model.calibration import output_to_volume
from ICHMultiTaskLib.model.networks.base import STAGES
from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet
from ICHMultiTaskLib.model.preprocessing import PRESETS, PreprocessingSettings, prepare
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskLib.model.two_readings import joint_volume
from ICHMultiTaskLib.report.html import report_html
from ICHMultiTaskLib.report.result import report_dict
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.head_ct import HeadCT
from ICHMultiTaskLib.scan.head_region import head_region

SHIPPED = {"stem_stride": (1, 2, 2), "stage_strides": (1, 2, (1, 2, 2), 1), "final_relu": False}
OUTLINE = {"weight": 0.75, "correction": {"knots_cm": [[1.0, 1.0], [2.0, 2.0]], "softening_ml": 1.0}}
INTERVAL = {"coverage": 0.9, "strata": [{"up_to_ml": None, "half_width_cm": 0.3}]}


def save(folder, network, **changes):
    metadata = {
        "name": "test", "version": "0.0.1", "license": "Apache-2.0", "intended_use": "Tests.",
        "training_data": "Random weights; no scans.", "architecture": network.architecture,
        "preprocessing": PRESETS["default"].as_dict(), "target": "cube_root_ml",
        "calibration": NO_CALIBRATION, "metrics": {},
    }  # fmt: skip
    return save_bundle(folder, network.state_dict(), {**metadata, **changes}, "# Test\n")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    network = MultiTaskResNet(width=2, **SHIPPED)
    network.volume_head.dense.weight.data.abs_()
    network.volume_head.dense.bias.data.fill_(2.0)
    calibration = {"volume_interval": INTERVAL, "temperature": 2.0, "bias": -0.3}
    return save(tmp_path_factory.mktemp("bundles") / "test", network, calibration=calibration)


@pytest.fixture(scope="module")
def analyzer(bundle):
    return Analyzer(bundle, "cpu")


@pytest.fixture(scope="module")
def scan():
    return phantom()


@pytest.fixture(scope="module")
def analysis(analyzer, scan):
    return analyzer.analyze(scan, stage="stage3", method="layercam")


def test_numbers_are_those_of_the_network_and_the_calibration(analysis, bundle, scan):
    settings = PreprocessingSettings(**bundle.metadata["preprocessing"])
    prepared = prepare(scan, settings)
    with torch.no_grad():
        output, scores = bundle.network()(torch.from_numpy(prepared.array)[None])
    volume = float(output) ** 3
    assert analysis.volume_ml == pytest.approx(volume, rel=1e-3)
    assert analysis.volume_ml == pytest.approx(output_to_volume(float(output), "cube_root_ml", 1.0), rel=1e-3)
    root = np.cbrt(volume)
    assert analysis.volume_interval_ml == pytest.approx(((root - 0.3) ** 3, (root + 0.3) ** 3), rel=1e-3)
    assert analysis.interval_coverage == 0.9
    odds = float(scores[0, 1] - scores[0, 0]) / 2.0 - 0.3
    assert analysis.mortality_probability == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-3)
    assert analysis.prognosis == ("death" if analysis.mortality_probability > 0.5 else "survival")
    assert analysis.model == {
        "name": "test", "version": "0.0.1", "sha256": bundle.sha256, "training_data": "Random weights; no scans.",
    }  # fmt: skip


def test_attention_lies_in_the_scan(analysis, scan):
    attention = analysis.attention
    assert (attention.head, attention.stage, attention.method) == ("volume", "stage3", "layercam")
    assert attention.array.shape == scan.hu.shape and attention.array.dtype == np.float32
    assert attention.array.min() == 0 and attention.array.max() == 1
    peak_kji = np.rint(apply_affine(np.linalg.inv(scan.ijk_to_ras), attention.peak_ras_mm))[::-1].astype(int)
    assert attention.array[tuple(peak_kji)] == 1
    prediction, network = analysis.prediction, analysis.prediction.runner.network
    grid = attention_map(network, prediction.features["stage3"], "stage3", "volume", "layercam")[0].numpy()
    expected = prediction.network_input.to_scan(grid, network.feature_strides["stage3"]) * head_region(scan)
    np.testing.assert_allclose(attention.array, expected / expected.max(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("stage", STAGES)
def test_attention_for_equals_a_fresh_run(analysis, analyzer, scan, stage):
    for n, head in enumerate(Head.values()):
        method = tuple(METHODS)[(STAGES.index(stage) + n) % 3]
        again = analysis.attention_for(head, stage, method)
        fresh = analyzer.analyze(scan, head=head, stage=stage, method=method).attention
        assert (again.head, again.stage, again.method) == (head, stage, method)
        assert again.peak_ras_mm == fresh.peak_ras_mm
        np.testing.assert_array_equal(again.array, fresh.array)


def test_other_attention_maps_need_no_second_run_of_the_encoder(analysis, monkeypatch):
    monkeypatch.setattr(MultiTaskResNet, "features", None)
    monkeypatch.setattr(analysis.prediction.runner.network.stem, "forward", None)
    assert analysis.attention_for("prognosis", "stage1", "gradcam++").array.shape == analysis.head_ct.hu.shape


def test_the_head_is_found_once_for_all_maps_of_a_scan(analyzer, scan, monkeypatch):
    found = []
    monkeypatch.setattr(analyzer_module, "head_region", lambda head_ct: found.append(1) or head_region(head_ct))
    again = analyzer.analyze(scan, stage="stage2", method="gradcam")
    again.attention_for("prognosis", "stage4", "gradcam")
    assert len(found) == 1


@pytest.mark.parametrize("step", [(0, 0, 5.0), (0, 0, -5.0), (0, 1.7, 5.0)], ids=["up", "down", "tilted"])
def test_attention_peaks_on_the_bleed_in_any_geometry(tmp_path, step):
    """A network whose weights are all alike can but blur: its attention must lie where the image is bright."""
    network = MultiTaskResNet(width=1, **SHIPPED, dense_from="stage3").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.weight.data.fill_(1 / module.weight[0].numel())
    settings = {**PRESETS["default"].as_dict(), "window_hu": [50, 100]}
    analyzer = Analyzer(save(tmp_path / "blur", network, preprocessing=settings), "cpu")
    shape = (34, 150, 140)
    matrix = np.eye(4)
    matrix[:3, :3] = np.transpose([(1.3, 0, 0), (0, -1.3, 0), step])
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    points = apply_affine(matrix, np.moveaxis(np.indices(shape)[::-1], 0, -1))
    for bleed in ([-30.0, 25.0, 20.0], [35.0, -40.0, -25.0]):
        hu = np.where(np.linalg.norm(points / [68, 85, 75], axis=-1) < 1, 20, -1000)
        hu[np.linalg.norm(points - bleed, axis=-1) < 15] = 90
        scan = HeadCT(hu.astype(np.int16), matrix)
        # No bone, which would be brighter still: past the check of the scan.
        prediction = analyzer.predict(prepare(scan, analyzer.settings))
        for stage, reach_mm in (("stage1", 12), ("stage4", 20)):
            grid = attention_map(analyzer.runner.network, prediction.features[stage], stage)[0].numpy()
            found = prediction.network_input.to_scan(grid, analyzer.runner.network.feature_strides[stage])
            peak = apply_affine(matrix, np.unravel_index(found.argmax(), shape)[::-1])
            assert np.linalg.norm(peak - bleed) < reach_mm, stage


def test_second_look_follows_the_volume_head_whatever_map_is_shown(analyzer, scan, monkeypatch):
    followed = []
    monkeypatch.setattr(analyzer_module, "propose", lambda *of: followed.append(of[1]) or propose(*of))
    found = analyzer.analyze(scan, head="prognosis", stage="stage3", method="layercam")
    assert (found.attention.head, found.attention.stage, found.attention.method) == ("prognosis", "stage3", "layercam")
    (map_followed,) = followed
    np.testing.assert_array_equal(map_followed.array, found.attention_for(*LOCATOR).array)
    assert (map_followed.head, map_followed.stage, map_followed.method) == LOCATOR


@pytest.mark.parametrize("hemorrhage", list(Hemorrhage))
def test_volume_is_of_both_readings_where_a_hemorrhage_is_found(bundle, scan, monkeypatch, hemorrhage):
    """What is certainly blood is read a second time, from the borders in the scan."""
    metadata = {**bundle.metadata, "calibration": {**bundle.metadata["calibration"], "outline": OUTLINE}}
    analyzer = Analyzer(replace(bundle, metadata=metadata), "cpu")
    monkeypatch.setattr(analyzer_module, "decide", lambda *of: (hemorrhage, ""))
    found, alone = analyzer.analyze(scan), Analyzer(bundle, "cpu").analyze(scan)
    assert found.network_volume_ml == alone.network_volume_ml == alone.volume_ml
    assert found.marking.mask.any() and found.marking.expected_ml == found.volume_ml
    report = report_dict(found)
    assert report["network_volume_ml"] == found.network_volume_ml
    assert report["outlined_volume_ml"] == found.outlined_volume_ml
    assert found.volume_interval_ml == bundle.volume_interval_ml(found.volume_ml)
    if hemorrhage != Hemorrhage.FOUND:
        assert found.outlined_volume_ml is None and found.volume_ml == found.network_volume_ml
        return
    assert found.outlined_volume_ml == found.marking.volume_ml
    assert found.volume_ml == joint_volume(found.network_volume_ml, found.outlined_volume_ml, OUTLINE)
    assert found.volume_ml != found.network_volume_ml
    outlined = f"{found.outlined_volume_ml:.1f} mL are outlined in the scan"
    assert outlined in " ".join(summary(found).split())
    assert outlined in report_html(report, scan.facts, ())


def test_results_are_the_same_without_attention(analysis, analyzer, scan):
    bare = analyzer.analyze(scan, attention=False)
    assert bare.attention is None and bare.hemorrhage == analysis.hemorrhage
    assert (bare.volume_ml, bare.mortality_probability) == (analysis.volume_ml, analysis.mortality_probability)


def test_timings_name_every_step(analysis):
    assert list(analysis.timing_s) == ["check", "prepare", "network", "attention", "second_look"]
    assert all(seconds >= 0 for seconds in analysis.timing_s.values())


@pytest.mark.parametrize("with_loading", [True, False])
def test_progress_rises_from_0_to_1(scan, bundle, analyzer, with_loading):
    reports = []

    def progress(*report):
        reports.append(report)

    if with_loading:
        analyze(scan, bundle, "cpu", progress=progress)
    else:
        analyzer.analyze(scan, progress=progress)
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and 0 <= fractions[0] < 0.5
    assert len(reports) >= 8 and all(message for _, message in reports)


@pytest.mark.parametrize("at", ["Checking", "Preparing", "Network: stage 2", "Attention"])
def test_cancel_stops_at_the_next_report(scan, analyzer, at):
    seen = []

    def progress(_fraction, message):
        seen.append(message)
        if message.startswith(at):
            raise Canceled("Stopped.")

    with pytest.raises(Canceled, match="Stopped"):
        analyzer.analyze(scan, progress=progress)
    assert seen[-1].startswith(at)
    assert analyzer.analyze(scan).volume_ml > 0  # and the analyzer is fit for the next scan


def test_analyze_from_a_file_equals_analyze_in_memory(tmp_path, scan, bundle, analysis):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(scan.hu)
    lps = np.diag([-1, -1, 1, 1]) @ scan.ijk_to_ras
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((lps[:3, :3] / spacing).ravel())
    image.SetOrigin(lps[:3, 3])
    sitk.WriteImage(image, str(tmp_path / "scan.nii.gz"))
    found = analyze(tmp_path / "scan.nii.gz", bundle, "cpu", stage="stage3", method="layercam")
    assert found.volume_ml == pytest.approx(analysis.volume_ml, rel=1e-4)
    assert found.attention.peak_ras_mm == pytest.approx(analysis.attention.peak_ras_mm, abs=1e-3)
    assert list(found.timing_s)[:2] == ["read", "load_model"]


def test_warnings_of_the_scan_and_of_the_model_are_passed_on(tmp_path, scan):
    marked = replace(scan, facts=replace(scan.facts, warnings=(*scan.facts.warnings, "The scan has a dent.")))
    torch.manual_seed(0)
    network = MultiTaskResNet(width=2, **SHIPPED)
    for head in (network.volume_head, network.prognosis_head):
        head.dense.weight.data.zero_()  # nothing in the scan can raise a score
        head.dense.bias.data.zero_()
    analysis = Analyzer(save(tmp_path / "blank", network), "cpu").analyze(marked)
    assert analysis.attention.peak_ras_mm is None and not analysis.attention.array.any()
    warnings = " ".join(analysis.warnings)
    assert "The scan has a dent." in warnings
    assert "The model has no calibrated interval" in warnings
    assert analysis.hemorrhage == "none"
    assert analysis.hemorrhage_reason.startswith("No hemorrhage found: the model measured")
    assert analysis.mortality_probability is None and analysis.prognosis is None
    assert "The attention map of the volume head is blank" in warnings


def test_unknown_device_is_refused(bundle):
    with pytest.raises(InputError, match="device 'abacus' is not available: expected auto or one of .*cpu"):
        Analyzer(bundle, "abacus")


def test_a_missing_bundle_is_refused(tmp_path):
    with pytest.raises(BundleError, match="is not a model bundle"):
        Analyzer(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"stage": "stage9"}, "attention stage is unknown: expected one of stage1, stage2, .*, found 'stage9'"),
        ({"head": "liver"}, "attention head is unknown: expected one of volume, prognosis, found 'liver'"),
        ({"method": "x-ray"}, "attention method is unknown: expected one of gradcam, .*, found 'x-ray'"),
    ],
)
def test_unknown_attention_is_refused(analyzer, scan, choice, message):
    with pytest.raises(InputError, match=message):
        analyzer.analyze(scan, **choice)


def test_a_network_that_gives_nan_is_refused(bundle, scan):
    broken = Analyzer(bundle, "cpu")
    broken.runner.network.stage2[0].conv1.weight.data[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="network's output is not finite: expected numbers, found NaN or infinity"):
        broken.analyze(scan)


def test_scans_that_are_not_heads_are_refused(analyzer):
    with pytest.raises(InputError):
        analyzer.analyze(HeadCT(np.full((30, 128, 128), -1000, np.int16), np.diag([2.0, 2.0, 5.0, 1.0])))


def test_what_is_no_scan_is_refused(analyzer, scan):
    for given in (None, scan.hu, "scan"):
        with pytest.raises(InputError, match=f"expected a HeadCT, as read_head_ct gives, found {type(given).__name__}"):
            analyzer.analyze(given)


def test_tiny_bundle_with_the_paper_preset_runs(tmp_path, scan):
    result = analyze(scan, tiny_bundle(tmp_path / "tiny"), "cpu", head="prognosis")
    assert np.isfinite([result.volume_ml, result.mortality_probability]).all()
    assert result.volume_interval_ml is None and result.attention.head == "prognosis"


def test_a_simulated_patient_is_analyzed(tmp_path):
    from ICHMultiTaskLib.simulation import simulate_patient

    patient = simulate_patient(1)
    result = Analyzer(tiny_bundle(tmp_path / "bundle"), "cpu").analyze(patient.head_ct)
    assert result.attention.array.shape == patient.head_ct.hu.shape
    assert result.volume_ml > 0


@pytest.mark.parametrize("task, other", [("volume", "prognosis"), ("prognosis", "volume")])
def test_head_that_was_never_trained_gives_null_and_a_word(task, other, tmp_path):
    metadata = dict(ModelBundle.load(tiny_bundle(tmp_path / "tiny")).metadata)
    del metadata["sha256"]
    metadata["training"] = {"config": {"tasks": task}, "command": "train"}
    state = ModelBundle.load(tmp_path / "tiny").network().state_dict()
    analysis = Analyzer(save_bundle(tmp_path / "one", state, metadata, "# One\n"), "cpu").analyze(phantom())
    report = json.loads(json.dumps(report_dict(analysis), allow_nan=False))
    given = {"volume": report["volume_ml"], "prognosis": report["mortality_probability"]}
    assert given[task] is not None and given[other] is None
    assert (report["prognosis"] is None) == (other == "prognosis")
    assert f"The model was trained for the {task} only: it gives no {other}." in report["scan"]["warnings"]
    assert report["attention"]["head"] == task
    lines = summary(analysis).split("\n")
    shown = next(line for line in lines if line.startswith(other.capitalize()))
    assert shown == "Volume      – mL" if other == "volume" else "probability of death" not in shown
    if other == "volume":
        with pytest.raises(InputError, match="expected a model trained to measure volume"):
            mark(analysis)
        with pytest.raises(InputError, match="There is no first volume"):
            growth(analysis.volume_ml, None, 5.0, None)
        with pytest.raises(InputError, match="no volume to compare with"):
            compare_volumes(analysis.volume_ml, None, [("ABC/2", 3.0)])
