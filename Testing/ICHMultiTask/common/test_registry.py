"""The registries: one more of each kind is a file and a line, and works everywhere at once."""

import sys
import types

import numpy as np
import pytest

from ICHMultiTaskLib.cli import COMMANDS, main
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.registry import Registry
from ICHMultiTaskLib.measures.formulas import FORMULAS, formula_volumes
from ICHMultiTaskLib.model.attention import METHODS
from ICHMultiTaskLib.model.attention.maps import attention_map
from ICHMultiTaskLib.model.networks import NETWORKS, build_network
from ICHMultiTaskLib.report import WRITERS
from ICHMultiTaskLib.report.result import write_report
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.scan.stored_volume import StoredVolume
from ICHMultiTaskLib.scan.volume_files import FORMATS


@pytest.fixture
def register(monkeypatch):
    """Register a function under a name, as a file and a line would, until the test ends."""

    def add(registry, name, label, function):
        module = types.ModuleType(f"made_for_{registry.kind.replace(' ', '_')}")
        module.made = function
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        registry.add(name, label, f"{module.__name__}:made")

    return add


def test_names_are_known_without_importing_the_code():
    registry = Registry("thing", __package__, {"absent": ("Absent", "no_such_module:made")})
    assert "absent" in registry and list(registry) == ["absent"] and registry.label("absent") == "Absent"
    with pytest.raises(ModuleNotFoundError):
        registry["absent"]


@pytest.mark.parametrize("action", [lambda r: r["x"], lambda r: r.check("x"), lambda r: r.label("x")])
def test_unknown_names_list_the_known_ones(action):
    registry = Registry("thing", __package__, {"a": ("A", "m:a"), "b": ("B", "m:b")})
    with pytest.raises(InputError, match="The thing is unknown: expected one of a, b, found 'x'"):
        action(registry)
    with pytest.raises(InputError, match="'a' is already registered"):
        registry.add("a", "A", "m:a")


def test_a_network(register):
    from torch import nn

    from ICHMultiTaskLib.model.networks.base import STAGES, MultiTaskNetwork
    from ICHMultiTaskLib.model.networks.geometry import Geometry

    class Pools(MultiTaskNetwork):
        def __init__(self, channels=3):
            super().__init__()
            self.stem = nn.Conv3d(1, channels, 3, padding=1)
            for name in STAGES:
                self.add_stage(name, nn.AvgPool3d(1), Geometry(), channels)
            self.finish({"channels": channels}, False)

    register(NETWORKS, "pools", "Pools", Pools)
    network = build_network({"network": "pools", "channels": 2})
    assert network.architecture == {"network": "pools", "channels": 2}
    assert build_network(network.architecture).stage_channels == network.stage_channels


def test_an_attention_method(register):
    import torch

    register(METHODS, "sum", "Sum", lambda features, gradients: features)
    network = build_network({"width": 1}).eval()
    with torch.no_grad():
        features = dict(network.features(torch.rand(1, 1, 16, 32, 32)))["stage2"]
    torch.testing.assert_close(attention_map(network, features, "stage2", method="sum"), features.sum(1).relu())


def test_a_formula(monkeypatch):
    monkeypatch.setitem(FORMULAS, "ABC", lambda e: e.a_mm * e.b_mm * e.height_mm)
    assert formula_volumes(10, 10, [50, 50], 5)["ABC"] == pytest.approx(1.0)


def test_a_file_format(monkeypatch, tmp_path, dicom_files):
    affine = dicom_files.affine()
    hu = dicom_files.head(affine)

    def read(path):
        return StoredVolume(np.load(path), affine, {})

    monkeypatch.setitem(FORMATS, ".npy", ("NumPy", read))
    np.save(tmp_path / "scan.npy", hu)
    found = read_head_ct(tmp_path / "scan.npy")
    np.testing.assert_array_equal(found.hu, hu)
    assert found.facts.format == "NumPy"


def test_an_output(register, tmp_path):
    from ICHMultiTaskLib.analysis.analyzer import Analyzer
    from ICHMultiTaskLib.model.testing import phantom, tiny_bundle

    def write_line(content, folder):
        path = folder / "line.txt"
        path.write_text(f"{content.report['volume_ml']:.1f} mL", encoding="utf-8")
        return path

    register(WRITERS, "line", "line.txt", write_line)
    analysis = Analyzer(tiny_bundle(tmp_path / "bundle"), "cpu").analyze(phantom(), attention=False)
    (tmp_path / "result").mkdir()
    written = write_report(analysis, tmp_path / "result")
    assert written["line"].read_text(encoding="utf-8") == f"{analysis.volume_ml:.1f} mL"
    assert written["attention"] is None and set(written) == set(WRITERS)


def test_a_command(register, capsys):
    def add_arguments(parser):
        parser.add_argument("word")
        parser.set_defaults(run=lambda options: print(options.word, "|", options.command_line))

    register(COMMANDS, "say", "say a word", add_arguments)
    assert main(["say", "a b"]) == 0
    assert capsys.readouterr().out == "a b | ichmultitask say 'a b'\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "say a word" in capsys.readouterr().out
