"""The trainer: from a manifest to a bundle, resumable, with the preprocessing of inference."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.errors import Canceled, InputError
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.data import augmentation
from ICHMultiTaskTrainingLib.data.augmentation import augment
from ICHMultiTaskTrainingLib.data.manifest import Row, outcomes, read_manifest
from ICHMultiTaskTrainingLib.data.splits import split_rows
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.losses import MaskLoss, volume_loss
from ICHMultiTaskTrainingLib.training.trainer import Trainer, TrainingError


def _weights(trainer):
    return {name: value.clone() for name, value in trainer.network.state_dict().items()}


def _measured(trainer):
    clock = ("seconds", "ended")
    return [{name: value for name, value in entry.items() if name not in clock} for entry in trainer.history]


def test_interrupted_run_ends_with_the_same_weights(training_manifest, tmp_path, small_settings):
    manifest, config = read_manifest(training_manifest), make_config(**small_settings)
    whole = Trainer(manifest, config, tmp_path / "whole", "cpu")
    whole.run()

    def stop_in_second_epoch(fraction, message):
        if message.startswith("Epoch 2"):
            raise Canceled("stopped")

    interrupted = Trainer(manifest, config, tmp_path / "parts", "cpu", progress=stop_in_second_epoch)
    with pytest.raises(Canceled):
        interrupted.run()
    resumed = Trainer(manifest, config, tmp_path / "parts", "cpu")
    assert resumed.epoch == 1
    resumed.run()
    for name, value in _weights(whole).items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    assert _measured(whole) == _measured(resumed)


def test_command_trains_a_bundle_that_infers_as_it_trained(training_manifest, tmp_path, capsys, small_settings):
    arguments = ["train", str(training_manifest), "--output", str(tmp_path / "run"), "--device", "cpu"]
    settings = small_settings | {"epochs": 12, "coarse_epochs": [], "learning_rate": 5e-3}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    assert cli.main([*arguments, "--config", str(tmp_path / "settings.json"), "--name", "small"]) == 0
    assert "Model bundle" in capsys.readouterr().out
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert history[-1]["volume_loss"] < 0.5 * history[0]["volume_loss"]

    manifest = read_manifest(training_manifest)
    trainer = Trainer(manifest, make_config(**settings), tmp_path / "run", "cpu")
    expected, log_odds = trainer.predict(trainer.validation, network=trainer.bundle_network())
    analyzer = Analyzer(tmp_path / "run" / "bundle", "cpu")
    split = split_rows(manifest.rows, 0.15, 0, tmp_path / "run" / "splits.json")
    for n, row in enumerate(split["validation"]):
        analysis = analyzer.analyze(read_head_ct(row.image))
        # The cache holds 8 bits and the bundle 16-bit weights; the two ways must agree to within that.
        assert analysis.volume_ml == pytest.approx(expected[n], rel=0.03, abs=0.3)
        assert analysis.prediction.log_odds == pytest.approx(log_odds[n], abs=0.1)
        assert analysis.volume_interval_ml is None  # three validation patients are too few for one


def test_run_folder_of_other_settings_is_refused(training_manifest, tmp_path, small_settings):
    manifest = read_manifest(training_manifest)
    Trainer(manifest, make_config(**small_settings), tmp_path, "cpu").run(until=1)
    with pytest.raises(InputError, match="belongs to a run with other settings"):
        Trainer(manifest, make_config(**small_settings | {"epochs": 3}), tmp_path, "cpu")


def test_non_finite_loss_stops_and_keeps_the_checkpoint(training_manifest, tmp_path, small_settings):
    trainer = Trainer(read_manifest(training_manifest), make_config(**small_settings), tmp_path, "cpu")
    reductions = trainer.reductions
    trainer.reductions = reductions[:1]
    trainer.run()
    trainer.reductions = reductions
    with torch.no_grad():
        trainer.network.stage4[0].conv1.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="loss is not finite in epoch 2"):
        trainer.run()
    state = torch.load(tmp_path / "latest.pt", weights_only=True)
    assert state["epoch"] == 1 and torch.isfinite(state["network"]["stage4.0.conv1.weight"]).all()


def test_manifest_lists_every_unusable_row_at_once(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "m.csv").write_text(
        "patient_id,image,volume_ml,died\n"
        "a,scan.nii.gz,3,0\n"
        "b,gone.nii.gz,3,0\n"
        "c,scan.nii.gz,-1,0\n"
        "d,scan.nii.gz,3,maybe\n"
    )
    with pytest.raises(InputError) as error:
        read_manifest(tmp_path / "m.csv")
    for part in ("3 unusable rows", "row 3: image gone.nii.gz does not exist", "row 4: volume_ml", "row 5: died"):
        assert part in str(error.value)


def test_manifest_with_two_spellings_of_a_patient(tmp_path):
    (tmp_path / "scan.nii.gz").touch()
    table = "patient_id,image,volume_ml,died\n" + "".join(
        f"{name},scan.nii.gz,3,0\n" for name in ("P1", "p1", "007", "7", "12", "12.0", "a  b", "a b")
    )
    (tmp_path / "m.csv").write_text(table)
    found = "P1 and p1, 007 and 7, 12 and 12.0, a  b and a b"
    with pytest.raises(InputError, match=f"expected one patient_id for each, found {found}"):
        read_manifest(tmp_path / "m.csv")


@pytest.mark.parametrize("name", ["1.23457E+11", "1,2E+08", "2E+15", "#N/A", "#NV", "#BEZUG!", "#NAME?"])
def test_id_that_a_spreadsheet_has_spoiled(tmp_path, name):
    """It is the same for patients who have nothing in common."""
    (tmp_path / "scan.nii.gz").touch()
    table = "patient_id;image;volume_ml;died\n"
    (tmp_path / "m.csv").write_text(f"{table}{name};scan.nii.gz;3;0\n")
    with pytest.raises(
        InputError, match="row 2: patient_id must be as in the hospital's system, found a spreadsheet's"
    ):
        read_manifest(tmp_path / "m.csv")
    (tmp_path / "m.csv").write_text(f"{table}2E3;scan.nii.gz;3;0\n#P7;scan.nii.gz;3;0\n")
    assert len(read_manifest(tmp_path / "m.csv").rows) == 2


@pytest.mark.skipif(os.name == "nt", reason="there it is the way to write a path")
def test_paths_of_a_table_from_windows(tmp_path):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "m.csv").write_text("patient_id,image,volume_ml,died\na,images\\a,3,0\n")
    assert read_manifest(tmp_path / "m.csv").rows[0].image == tmp_path / "images" / "a"
    (tmp_path / "m.csv").write_text("patient_id,image,volume_ml,died\na,D:\\images\\a,3,0\n")
    with pytest.raises(InputError, match=r"row 2: image D:\\images\\a does not exist"):
        read_manifest(tmp_path / "m.csv")


def test_manifest_with_a_misspelled_split(tmp_path):
    """As if there were no test rows, every row would be evaluated, those of the training included."""
    (tmp_path / "scan.nii.gz").touch()
    (tmp_path / "m.csv").write_text("patient_id,image,volume_ml,died,split\na,scan.nii.gz,3,0,Test \n")
    assert read_manifest(tmp_path / "m.csv").rows[0].split == "test"
    (tmp_path / "m.csv").write_text("patient_id,image,volume_ml,died,split\na,scan.nii.gz,3,0,tets\n")
    with pytest.raises(InputError, match="row 2: split must be train, validation, test or empty, found 'tets'"):
        read_manifest(tmp_path / "m.csv")


def test_manifest_without_columns(tmp_path):
    (tmp_path / "m.csv").write_text("patient_id,image,Volume (ml)\na,scan,3\n")
    with pytest.raises(InputError, match='found no volume_ml, died .*; is "Volume .ml." volume_ml\\?'):
        read_manifest(tmp_path / "m.csv")


def test_splits_are_by_patient_stratified_and_written_once(training_manifest, tmp_path):
    rows = read_manifest(training_manifest).rows
    twice = [*rows, *rows]
    split = split_rows(twice, 0.25, 1, tmp_path / "s.json")
    train, validation = ({row.patient_id for row in split[name]} for name in ("train", "validation"))
    assert not train & validation and len(validation) == 5 and len(train) == 15
    assert split_rows(twice, 0.5, 2, tmp_path / "s.json") == split
    mean = {name: np.mean([row.volume_ml for row in split[name]]) for name in split}
    assert mean["validation"] == pytest.approx(mean["train"], rel=0.25)


@pytest.mark.parametrize("content", ["{", "[]", '{"train": ["p1"]}'])
def test_damaged_split_is_named(training_manifest, tmp_path, content):
    """Drawn anew, it would validate on patients that have trained."""
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(InputError, match="patients cannot be read: expected the file of a split, found .*s.json"):
        split_rows(read_manifest(training_manifest).rows, 0.2, 0, tmp_path / "s.json")


def test_patient_on_both_sides_is_an_error(training_manifest, tmp_path):
    from dataclasses import replace

    rows = read_manifest(training_manifest).rows
    declared = [replace(row, split="validation" if n < 3 else "train") for n, row in enumerate(rows)]
    declared.append(replace(rows[0], split="train"))
    with pytest.raises(InputError, match="both training and validation.*p0"):
        split_rows(declared, 0.2, 0, tmp_path / "s.json")


def test_unknown_settings_are_named(tmp_path, training_manifest, capsys):
    with pytest.raises(InputError, match="learning_rat"):
        make_config(learning_rat=1)
    arguments = ["train", str(training_manifest), "--output", str(tmp_path), "--set", "epochs"]
    assert cli.main(arguments) == 1
    assert capsys.readouterr().err.strip() == "A setting is malformed: expected name=value, found 'epochs'."


def test_paper_preset_holds_the_stated_settings():
    config = make_config("paper")
    assert config.preprocessing["window_hu"] == [40, 110] and config.preprocessing["shape_kji"] == [32, 224, 224]
    assert (config.optimizer, config.learning_rate, config.momentum, config.weight_decay) == ("sgd", 1e-4, 0.9, 5e-4)
    assert (config.batch_size, config.epochs, config.mask_weight) == (8, 300, 0.0)
    assert config.architecture["width"] == 64 and config.target == "cube_root_ml"


def test_volume_loss_is_smallest_at_the_truth_and_finite_at_zero():
    truth = torch.tensor([0.0, 0.5])
    output = torch.zeros(2, requires_grad=True)
    volume_loss(output, truth, "fraction_percent").backward()
    assert torch.isfinite(output.grad).all() and output.grad[1] < 0
    assert volume_loss(truth, truth, "fraction_percent") == 0


@pytest.mark.parametrize("coarseness", [1, 2])
def test_mask_loss_centers_cells_on_feature_nodes(coarseness, small_settings):
    from ICHMultiTaskLib.model.networks.resnet import MultiTaskResNet

    network = MultiTaskResNet(**small_settings["architecture"])
    loss = MaskLoss(network)
    depth, height, width = network.feature_strides["stage4"]
    occupancy = torch.zeros(1, 1, 32, 56, 56)
    # Blood in one voxel column around the node at feature (3, 2, 1), in full-resolution voxels.
    row, column = 2 * height * coarseness, width * coarseness
    occupancy[0, 0, 3 * depth - 1 : 3 * depth + 1, row // 4 - 1 : row // 4 + 1, column // 4 - 1 : column // 4 + 1] = 1
    shape = (32 // depth, 224 // (height * coarseness), 224 // (width * coarseness))
    cells = loss._around_nodes(occupancy, "stage4", coarseness, shape)
    assert cells.shape[2:] == shape
    assert np.unravel_index(int(cells.argmax()), shape) == (3, 2, 1)
    assert (cells > 0).sum() == 1


def test_augmentation_keeps_the_blood_it_accounts_for():
    depth, size = 16, 64
    k, j, i = np.mgrid[:depth, :size, :size].astype(np.float32)
    ball = ((k - 8) / 4) ** 2 + ((j - 30) / 12) ** 2 + ((i - 36) / 10) ** 2 < 1
    images = torch.full((24, 1, depth, size, size), 0.3)
    occupancy = torch.from_numpy(ball.astype(np.float32)).expand(24, 1, -1, -1, -1)
    before = occupancy.mean((1, 2, 3, 4))
    changed, moved, growth = augment(images, occupancy, torch.Generator().manual_seed(0), (4.0, 10.0), size_mm(images))
    share = moved.mean((1, 2, 3, 4))
    assert share.std() > 0.03 * before[0], "nothing was scaled"
    np.testing.assert_allclose(share, before * growth, rtol=0.03)
    assert changed.std((1, 2, 3, 4)).min() > 0 and changed.min() >= 0 and changed.max() <= 1
    # Where the blood is seen and where the occupancy says it is are one place.
    bright = torch.where(occupancy > 0, 0.7, 0.3)
    seen, moved, _ = augment(bright, occupancy, torch.Generator().manual_seed(1), (4.0, 10.0), size_mm(bright))
    inside = (seen * moved).sum((1, 2, 3, 4)) / moved.sum((1, 2, 3, 4))
    outside = (seen * (1 - moved)).sum((1, 2, 3, 4)) / (1 - moved).sum((1, 2, 3, 4))
    assert (inside > outside + 0.2).all()


def size_mm(images):
    """Of heads 160 mm high in a square of 190 mm."""
    return torch.tensor([[160.0, 190.0, 190.0]]).expand(len(images), 3)


def test_augmentation_rotates_in_millimeters(monkeypatch):
    """On a grid of 6 × 2 × 1.25 mm, every voxel comes from where SciPy's turned head has it."""
    monkeypatch.setattr(augmentation, "SHIFT", 0.0)
    monkeypatch.setattr(augmentation, "SCALE", (1.0, 1.0))
    shape, spacing = np.array([24, 80, 112]), np.array([6.0, 2.0, 1.25])
    turns = (20.0, 35.0)
    in_mm, growth = augmentation._affine(6, turns, torch.Generator().manual_seed(3))
    sizes = torch.tensor(shape * spacing, dtype=torch.float32).expand(6, 3)
    maps = augmentation._in_grid_units(in_mm, sizes)
    kji = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    center = (shape - 1) / 2
    mm = (kji - center[:, None, None, None]) * spacing[:, None, None, None]
    blobs = [((mm - np.array(place)[:, None, None, None]) ** 2).sum(0) for place in ((20, -25, 15), (-30, 20, 25))]
    head = sum(np.exp(-blob / (2 * 12.0**2)) for blob in blobs).astype(np.float32)
    turned = augmentation._resample(torch.from_numpy(head).expand(6, 1, *shape), maps)[:, 0].numpy()
    for n in range(6):
        matrix = in_mm[n, :, :3].numpy()[::-1, ::-1]  # z, y, x
        assert matrix @ matrix.T == pytest.approx(np.eye(3), abs=1e-5)  # a rigid turn, or a mirrored one
        in_voxels = matrix * spacing[None, :] / spacing[:, None]
        expected = ndimage.affine_transform(head, in_voxels, center - in_voxels @ center, order=1, mode="grid-constant")
        np.testing.assert_allclose(turned[n], expected, atol=1e-4)  # both trilinear, in float32
        assert np.abs(turned[n] - head).max() > 0.1


def test_augmentation_rotates_by_the_stated_angle():
    # A bar along the rows; its direction is that of the largest second moment.
    images = torch.zeros(200, 1, 4, 64, 64)
    images[:, :, :, 8:56, 30:34] = 0.8
    found = []
    for turn in (0.0, 20.0):
        generator = torch.Generator().manual_seed(0)
        turned, _, _ = augment(images, images[:, :, :, ::2, ::2], generator, (0.0, turn), size_mm(images))
        weight = turned[:, 0].sum(1).double()
        j, i = torch.meshgrid(torch.arange(64.0).double(), torch.arange(64.0).double(), indexing="ij")
        j, i = (axis - (weight * axis).sum((1, 2), keepdim=True) / weight.sum((1, 2), keepdim=True) for axis in (j, i))
        slope = 2 * (weight * i * j).sum((1, 2)) / (weight * (j**2 - i**2)).sum((1, 2))
        found.append(torch.rad2deg(0.5 * slope.atan()).abs().max())
    assert found[0] < 1 and 17 < found[1] < 23


def test_outcomes_may_be_probabilities_and_nothing_else():
    rows = [Row(f"p{n}", None, 1.0, 1, None, "", {"risk": text}) for n, text in enumerate(["0.25", "1"])]
    np.testing.assert_array_equal(outcomes(rows, "risk"), [0.25, 1.0])
    np.testing.assert_array_equal(outcomes(rows, "died"), [1.0, 1.0])
    for text in ("", "high", "1.2", "nan"):
        with pytest.raises(InputError, match="column risk cannot be the outcome: .* for q"):
            outcomes([Row("q", None, 1.0, 1, None, "", {"risk": text})], "risk")


def test_coarse_epochs_come_first_and_are_checked():
    assert make_config(coarse_epochs=[[4, 2], [2, 1]], epochs=1).reductions() == [4, 4, 2, 1]
    with pytest.raises(InputError, match="coarse_epochs is malformed"):
        make_config(coarse_epochs=[[3, 2]])


@pytest.mark.parametrize("turns", ([4.0], [4.0, -1.0], [4.0, 90.0], ["4", 10.0], [True, 10.0]))
def test_rotations_are_checked(turns):
    with pytest.raises(InputError, match="rotation_deg is malformed: expected two from 0 to 45, found"):
        make_config(rotation_deg=turns)


def test_settings_of_earlier_versions_are_read():
    assert make_config(turn_deg=[1.0, 2.0]) == make_config(rotation_deg=[1.0, 2.0])


def test_unusable_scans_are_an_error_or_left_out(training_manifest, tmp_path, small_settings):
    manifest = read_manifest(training_manifest)
    for n in (3, 11):
        (tmp_path / f"broken{n}.nii.gz").write_bytes(b"no scan %d" % n)
    rows = (
        replace(row, image=tmp_path / f"broken{n}.nii.gz") if n in (3, 11) else row
        for n, row in enumerate(manifest.rows)
    )
    manifest = replace(manifest, rows=tuple(rows))
    config = make_config(**small_settings)
    with pytest.raises(InputError, match="2 of 20 scans cannot be used: .*p3: .*p11: |2 of 20 .*p11: .*p3: "):
        Trainer(manifest, config, tmp_path / "strict", "cpu")
    lines = []
    trainer = Trainer(manifest, config, tmp_path / "run", "cpu", log=lines.append, skip_unusable=True)
    assert len(trainer.scans.died) + len(trainer.validation.died) == 18
    assert len(lines) == 1 and "2 of 20 scans cannot be used" in lines[0]
    used = {row.patient_id for row in trainer.validation_rows}
    assert len(used) == len(trainer.validation.died) and not used & {"p3", "p11"}


def test_too_few_scans_that_are_left(training_manifest, tmp_path, small_settings):
    """All that are held out, or all deaths, cannot be read."""
    manifest, config = read_manifest(training_manifest), make_config(**small_settings)
    held_out = {row.patient_id for row in split_rows(manifest.rows, 0.15, 0, tmp_path / "s.json")["validation"]}
    (tmp_path / "broken.nii.gz").write_bytes(b"no scan")

    def without(broken):
        rows = (replace(row, image=tmp_path / "broken.nii.gz") if broken(row) else row for row in manifest.rows)
        patch.setattr("ICHMultiTaskTrainingLib.training.run_folder.check_labels", lambda *arguments: None)
        return Trainer(replace(manifest, rows=tuple(rows)), config, tmp_path / "run", "cpu", skip_unusable=True)

    with pytest.MonkeyPatch.context() as patch:
        with pytest.raises(InputError, match="Too few scans for validation: expected at least 2, found 0"):
            without(lambda row: row.patient_id in held_out)
        with pytest.raises(InputError, match="expected both outcomes among them, found 0 deaths of"):
            without(lambda row: row.died and row.patient_id not in held_out)
