"""What the prognosis head takes beside the image: standardized values, a mask of what is known, and refusals."""

import json

import numpy as np
import pytest
import torch

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.common.clinical_variables import read_with
from ICHMultiTaskLib.common.errors import BundleError, InputError
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.bundle import METADATA, ModelBundle, save_bundle
from ICHMultiTaskLib.model.clinical import ClinicalInputs
from ICHMultiTaskLib.model.networks import build_network
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle

TINY = {"width": 2, "stem_stride": [2, 4, 4], "stage_strides": [1, 2, 2, 1], "final_relu": False}
PATIENTS = {
    "a": {"age": "60", "gcs": "15", "location": "putamen", "ivh": "0", "sex": "M"},
    "b": {"age": "70", "gcs": "", "location": "Lobar", "ivh": "1", "sex": "female"},
    "c": {"age": "80", "gcs": "9", "location": "", "ivh": "yes", "sex": ""},
}


def test_values_are_standardized_by_the_known_ones_of_the_training_set():
    inputs = ClinicalInputs.fit(["age", "gcs"], PATIENTS)
    spread = np.std([60, 70, 80])
    assert inputs.means == ((70.0,), (12.0,)) and inputs.spreads == ((pytest.approx(spread),), (3.0,))
    # Values first, then whether each is known; what is not known is the mean.
    assert inputs.encode({"age": 80, "gcs": 9}) == pytest.approx([10 / spread, -1.0, 1.0, 1.0])
    assert inputs.encode({"age": 80, "gcs": None}) == pytest.approx([10 / spread, 0.0, 1.0, 0.0])
    assert inputs.encode({}).tolist() == [0.0] * 4


def test_a_cell_a_number_and_a_truth_value_mean_the_same():
    inputs = ClinicalInputs.fit(["age", "ivh", "sex"], PATIENTS)
    as_text = inputs.encode({"age": "71", "ivh": "yes", "sex": "M"})
    assert np.array_equal(as_text, inputs.encode({"age": 71.0, "ivh": True, "sex": "male"}))
    assert np.array_equal(as_text, inputs.encode({"age": "71,0", "ivh": "1", "sex": "m"}))
    for unknown in ("", " ", "NA", "nan", "unknown", None, float("nan")):
        assert inputs.encode({"age": unknown})[3] == 0.0


def test_values_are_said_in_words():
    values = {"age": 56.0, "gcs": 14, "location": "putamen", "ivh": False, "anticoagulation": "yes", "sex": "F"}
    words = "56 years, GCS 14, location putamen, no blood in the ventricles, oral anticoagulation, female"
    assert read_with(values | {"onset_hours": "3,5"}) == f"from the image and {words}, 3.5 hours from onset to scan"
    assert read_with({"age": None}) == "from the image alone"


def test_a_location_is_two_numbers_of_one_variable():
    inputs = ClinicalInputs.fit(["location", "age"], PATIENTS)
    assert inputs.owners.tolist() == [0, 0, 1, 0, 1]
    deep, lobar, below = (inputs.encode({"location": place})[:2] for place in ("deep", "lobar", "brainstem"))
    assert np.array_equal(inputs.encode({"location": "thalamus"})[:2], deep)
    assert lobar[0] > deep[0] and lobar[1] == deep[1]
    assert below[1] == 0.0  # no training patient had one: nothing can be said of it


def test_a_constant_variable_is_encoded_as_zero():
    inputs = ClinicalInputs.fit(["age"], {"a": {"age": "70"}, "b": {"age": "70"}})
    assert inputs.encode({"age": 20}).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "names, patients, words",
    [
        (["age", "shoe_size"], PATIENTS, "unknown: expected some of age, gcs, .* found shoe_size"),
        (["age", "age"], PATIENTS, "appears twice"),
        (["nihss"], PATIENTS, "no column nihss"),
        (["gcs"], {"a": {"gcs": ""}, "b": {"gcs": "NA"}}, "column gcs is empty: expected the GCS of at least one"),
        (["gcs"], {"a": {"gcs": "2"}, "b": {"gcs": "x"}, "c": {"gcs": 15}}, "2 clinical values .*a: The GCS .*b: "),
        (["location"], {"a": {"location": "foot"}}, "a: The location is unknown"),
        (["sex"], {"a": {"sex": "x"}}, "expected m, f, male, female or"),
        (["age"], {"a": {"age": "-1"}}, "from 0 to 120, found '-1'"),
    ],
)
def test_impossible_values_are_refused(names, patients, words):
    with pytest.raises(InputError, match=words):
        ClinicalInputs.fit(names, patients)


def test_clinical_branch_does_not_change_the_initial_outputs():
    torch.manual_seed(0)
    plain = build_network(TINY).eval()
    network = build_network(TINY | {"clinical": 4}).eval()
    assert network.architecture == plain.architecture | {"clinical": 4}
    network.load_state_dict(plain.state_dict(), strict=False)
    image, clinical = torch.rand(2, 1, 8, 32, 32), torch.randn(2, 4)
    for one, other in zip(plain(image), network(image, clinical)):
        assert torch.equal(one, other)


def test_only_the_prognosis_uses_clinical_values_and_none_means_unknown():
    torch.manual_seed(0)
    network = build_network(TINY | {"clinical": 4}).eval()
    torch.nn.init.normal_(network.clinical.dense.weight)
    image, clinical = torch.rand(2, 1, 8, 32, 32), torch.randn(2, 4)
    volume, scores = network(image, clinical)
    other_volume, other_scores = network(image, -clinical)
    assert torch.equal(volume, other_volume) and not torch.allclose(scores, other_scores)
    assert torch.equal(network(image)[1], network(image, torch.zeros(2, 4))[1])
    # Each patient's scores are of his own values, also among others.
    assert torch.allclose(network(image[1:], clinical[1:])[1], scores[1:], atol=1e-5)


def test_an_ensemble_passes_the_values_to_its_members():
    torch.manual_seed(0)
    ensemble = build_network({"network": "ensemble", "members": 2, "member": TINY | {"clinical": 4}}).eval()
    for member in ensemble.members:
        torch.nn.init.normal_(member.clinical.dense.weight)
    image, clinical = torch.rand(1, 1, 8, 32, 32), torch.randn(1, 4)
    expected = torch.stack([member(image, clinical)[1] for member in ensemble.members]).mean(0)
    assert torch.allclose(ensemble(image, clinical)[1], expected, atol=1e-6)


def test_the_prognosis_map_uses_the_clinical_values():
    """With the paper's ReLU a score below 0 has no gradient; the values can lift it above."""
    torch.manual_seed(0)
    network = build_network(TINY | {"clinical": 2, "final_relu": True}).eval()
    features = torch.rand(1, 16, 2, 2, 2)
    with torch.no_grad():
        network.clinical.hidden.weight.fill_(1.0)
        network.clinical.dense.weight.fill_(1.0)
        network.prognosis_head.dense.bias.fill_(-5.0)
        network.prognosis_head.dense.weight.abs_()
    blank = attention_map(network, features, "stage4", "prognosis")
    lifted = attention_map(network, features, "stage4", "prognosis", clinical=torch.ones(1, 2))
    assert not blank.any() and lifted.any()


@pytest.fixture
def bundle(tmp_path):
    """A tiny bundle whose prognosis reads age and GCS."""
    inputs = ClinicalInputs.fit(["age", "gcs"], PATIENTS)
    plain = ModelBundle.load(tiny_bundle(tmp_path / "plain"))
    metadata = {key: value for key, value in plain.metadata.items() if key != "sha256"}
    metadata["architecture"] = metadata["architecture"] | {"clinical": inputs.width}
    metadata["clinical"] = inputs.metadata()
    torch.manual_seed(0)
    network = build_network(metadata["architecture"])
    torch.nn.init.normal_(network.clinical.dense.weight)
    return save_bundle(tmp_path / "bundle", network.state_dict(), metadata, "# Tiny\n")


def test_bundle_keeps_the_standardization(bundle):
    assert ModelBundle.load(bundle.folder).clinical == ClinicalInputs.fit(["age", "gcs"], PATIENTS)


def test_analysis_uses_known_values_and_reports_missing_ones(bundle):
    analyzer, head = Analyzer(bundle, "cpu"), phantom()
    with_both = analyzer.analyze(head, attention=False, clinical={"age": 80, "gcs": 4, "nihss": 12})
    without = analyzer.analyze(head, attention=False)
    partly = analyzer.analyze(head, attention=False, clinical={"age": 80, "gcs": None})
    assert with_both.clinical == {"age": 80, "gcs": 4} and not any("also reads" in w for w in with_both.warnings)
    assert without.clinical == {"age": None, "gcs": None}
    assert "The prognosis was made without what the model also reads: age, GCS." in without.warnings
    assert "The prognosis was made without what the model also reads: GCS." in partly.warnings
    margins = {result.prediction.log_odds for result in (with_both, without, partly)}
    assert len(margins) == 3
    assert with_both.volume_ml == without.volume_ml
    with pytest.raises(InputError, match="The GCS is impossible"):
        analyzer.analyze(head, clinical={"gcs": 2})


@pytest.mark.parametrize("change", ["drop", "name", "mean"])
def test_bundle_whose_values_are_not_those_of_its_network_is_refused(bundle, change):
    path = bundle.folder / METADATA
    metadata = json.loads(path.read_text(encoding="utf-8"))
    if change == "drop":
        del metadata["clinical"]
    elif change == "name":
        metadata["clinical"][0]["name"] = "shoe_size"
    else:
        metadata["clinical"][0]["mean"] = "seventy"
    path.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(BundleError, match="clinical in the metadata"):
        ModelBundle.load(bundle.folder)
