"""The same scan gives the same number twice, and the report says what it was made with."""

import numpy as np
import torch

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.model.bundle import ModelBundle
from ICHMultiTaskLib.model.runtime import inference_runtime, repeatable
from ICHMultiTaskLib.model.testing import phantom, tiny_bundle
from ICHMultiTaskLib.report.result import report_dict


def test_number_format_is_fixed_for_each_device(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True, raising=False)
    for device in ("cpu", "cuda", "mps"):
        assert inference_runtime(device).name == "float32"
    before = torch.backends.cudnn.allow_tf32
    with repeatable("cuda"):
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


def test_same_scan_gives_the_same_number_twice(tmp_path):
    bundle, scan = tiny_bundle(tmp_path / "tiny"), phantom()
    found = [analyzer.analyze(scan) for analyzer in [Analyzer(bundle, "cpu") for _ in range(2)] for _ in range(2)]
    assert len({(one.volume_ml, one.mortality_probability) for one in found}) == 1
    made = report_dict(found[0])["provenance"]
    assert (made["device"], made["number_format"]) == ("cpu", "float32")
    assert made["libraries"]["torch"] == torch.__version__
    assert ModelBundle.load(bundle).metadata["provenance"]["code_sha256"] == made["code_sha256"]


def test_an_analysis_draws_none_of_the_callers_random_numbers(tmp_path):
    bundle, scan = tiny_bundle(tmp_path / "tiny"), phantom()
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1]
    Analyzer(bundle, "cpu", "torch").analyze(scan, method="smoothgrad", stage="input")
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
