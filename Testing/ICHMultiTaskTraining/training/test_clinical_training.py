"""Training with clinical variables."""

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskTrainingLib import cli
from ICHMultiTaskTrainingLib.bundles.export import export_bundle
from ICHMultiTaskTrainingLib.data.batches import HIDDEN_SHARE
from ICHMultiTaskTrainingLib.data.manifest import read_manifest
from ICHMultiTaskTrainingLib.training.config import make_config
from ICHMultiTaskTrainingLib.training.run_folder import check_start
from ICHMultiTaskTrainingLib.training.settings_text import parse_assignments
from ICHMultiTaskTrainingLib.training.trainer import Trainer


@pytest.fixture(scope="module")
def clinical_manifest(with_columns):
    """The same heads with an age, which tells the outcome, and a GCS that is missing in every other row."""
    return with_columns(
        lambda n, row: {
            "age": 85 if row["died"] == "1" else 55, "gcs": "" if n % 2 else 9 + n % 5, "empty": "",
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(clinical_manifest, small_settings, tmp_path_factory):
    """A short run that reads age and GCS, and its bundle."""
    folder = tmp_path_factory.mktemp("run")
    settings = small_settings | {"coarse_epochs": [], "epochs": 2, "clinical": ["age", "gcs"]}
    trainer = Trainer(read_manifest(clinical_manifest), make_config(**settings), folder / "run", "cpu")
    trainer.run()
    return trainer, export_bundle(trainer, folder / "bundle", None, None, None, "train")


def test_settings_take_a_list_of_plain_words():
    expected = {"clinical": ["age", "gcs"]}
    for text in ("clinical=[age,gcs]", "clinical=[ age , gcs ]", 'clinical=["age","gcs"]'):
        assert parse_assignments([text]) == expected
    assert parse_assignments(["name=[age,"]) == {"name": "[age,"}


def test_bundle_of_a_run_keeps_what_standardizes_the_values(run):
    trainer, bundle = run
    loaded = ModelBundle.load(bundle.folder)
    assert loaded.clinical == trainer.clinical and loaded.metadata["architecture"]["clinical"] == 4
    ages = [float(row.extra["age"]) for row in read_manifest(trainer_manifest(trainer)).rows
            if row.patient_id not in {other.patient_id for other in trainer.validation_rows}]  # fmt: skip
    assert loaded.clinical.means[0] == pytest.approx((np.mean(ages),))
    card = (bundle.folder / "docs" / "README.md").read_text()
    assert "age, GCS; each may be missing" in card
    network = loaded.network()
    with torch.no_grad():
        image, known = torch.rand(1, 1, *loaded.metadata["preprocessing"]["shape_kji"]), torch.ones(1, 4)
        assert torch.allclose(network(image, known)[1], trainer.bundle_network()(image, known)[1], atol=0.02)


def trainer_manifest(trainer):
    """Path of the manifest that a run was made of."""
    from ICHMultiTaskTrainingLib.training.run_folder import RunFolder

    return RunFolder(trainer.folder).stored["manifest"]


def test_the_values_are_learned_from(run):
    trainer, _ = run
    assert trainer.network.clinical.dense.weight.abs().max() > 0
    # What a validation patient's age is, changes what the network says of him.
    _, as_is = trainer.predict(trainer.validation)
    kept = trainer.validation.clinical.copy()
    try:
        trainer.validation.clinical[:] = 0
        _, unknown = trainer.predict(trainer.validation)
    finally:
        trainer.validation.clinical[:] = kept
    assert not np.allclose(as_is, unknown)


def test_some_values_are_hidden_in_training_with_their_marks(run):
    trainer, _ = run
    owners, names = trainer.clinical.owners, trainer.clinical.names
    seen = hidden = 0
    for epoch in range(20):
        for batch in trainer.batches.epoch(epoch, 1):
            known = batch.clinical[:, len(names) :].numpy()
            values = batch.clinical[:, : len(names)].numpy()
            assert (values[known == 0] == 0).all()
            seen, hidden = seen + known[:, 0].size, hidden + (known[:, 0] == 0).sum()
    assert owners.tolist() == [0, 1, 0, 1]
    # Of some 300 draws: within four standard errors.
    assert hidden / seen == pytest.approx(HIDDEN_SHARE, abs=4 * np.sqrt(HIDDEN_SHARE * (1 - HIDDEN_SHARE) / seen))


def test_clinical_inputs_added_to_an_image_model_change_no_initial_output(
    training_manifest, clinical_manifest, small_settings, tmp_path
):
    first = Trainer(
        read_manifest(training_manifest), make_config(**small_settings | {"coarse_epochs": [], "epochs": 1}),
        tmp_path / "first", "cpu",
    )  # fmt: skip
    first.run()
    start = export_bundle(first, tmp_path / "bundle", None, None, None, "train")
    config = make_config(
        "fine-tune",
        start_from=str(start.folder),
        epochs=1,
        clinical=["age"],
        prognosis_weight=1.0,
        mix_with_start=False,
    )
    trainer = Trainer(read_manifest(clinical_manifest), config, tmp_path / "run", "cpu")
    image = torch.rand(1, 1, *start.metadata["preprocessing"]["shape_kji"])
    with torch.no_grad():
        assert torch.equal(trainer.network.eval()(image, torch.ones(1, 2))[1], start.network()(image)[1])
    trainer.run()
    bundle = export_bundle(trainer, tmp_path / "tuned", None, None, None, "train")
    assert bundle.clinical.names == ("age",)
    # And from there on with the same standardization, without asking for it again.
    config = make_config("fine-tune", start_from=str(bundle.folder), epochs=1, prognosis_weight=1.0)
    assert config.clinical == ["age"] and "clinical" not in config.architecture
    again = Trainer(read_manifest(clinical_manifest), config, tmp_path / "again", "cpu")
    assert again.clinical == bundle.clinical
    with pytest.raises(InputError, match="clinical cannot differ"):
        make_config("fine-tune", start_from=str(bundle.folder), prognosis_weight=1.0, clinical=["gcs"])


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"clinical": ["shoe_size"]}, "Clinical variables are unknown: expected some of age, gcs"),
        ({"clinical": ["nihss"]}, "The table has no column nihss"),
        ({"clinical": ["age"], "tasks": "volume"}, "only used by the prognosis"),
        ({"clinical": ["age"], "prognosis_weight": 0.0}, "only used by the prognosis"),
        ({"clinical": "age"}, "expected a list, found 'age'"),
    ],
)
def test_impossible_settings_are_refused_before_the_folder_is_touched(
    clinical_manifest, small_settings, changes, words
):
    with pytest.raises(InputError, match=words):
        check_start(read_manifest(clinical_manifest), make_config(**small_settings | changes))


def test_an_impossible_value_is_refused_with_its_patient(clinical_manifest, small_settings, tmp_path, capsys):
    text = clinical_manifest.read_text().replace(",85,", ",850,")
    (tmp_path / "manifest.csv").write_text(text)
    arguments = ["train", str(tmp_path / "manifest.csv"), "--output", str(tmp_path / "run"), "--set", "clinical=[age]"]
    assert cli.main(arguments) == 1
    assert "The age is impossible: expected a number from 0 to 120, found '850'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
