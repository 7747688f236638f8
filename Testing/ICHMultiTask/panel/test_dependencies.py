"""What is installed at the first click: only what the user chose. Nothing is installed here."""

import importlib.util
import sys
from types import SimpleNamespace

import pytest

pytest.importorskip("slicer", reason="needs slicer-core or the 3D Slicer application")

from ICHMultiTaskLib.common.errors import DependencyError  # noqa: E402
from ICHMultiTaskLib.panel import dependencies  # noqa: E402
from ICHMultiTaskLib.panel.dependencies import TRAINING, install_missing_packages, missing_packages  # noqa: E402


class Computer:
    """One on which some packages are found, an installer adds others, and a user answers."""

    def __init__(self, monkeypatch, installed, answer=None):
        self.installed, self.asked, self.got = set(installed), 0, []
        self.answer = answer
        found = importlib.util.find_spec
        packages = {"torch", "onnxruntime", "safetensors", "jinja2"}
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name: (name in self.installed or None) if name in packages else found(name),
        )
        monkeypatch.setattr(dependencies, "ask_for_library", self._ask)
        monkeypatch.setattr(dependencies, "_install_with_pip", self._pip)
        logic = SimpleNamespace(installTorch=self._torch)
        utils = SimpleNamespace(PyTorchUtilsLogic=lambda: logic)
        monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)

    def _ask(self):
        self.asked += 1
        return self.answer

    def _pip(self, requirements, ask):
        names = [requirement.partition(">=")[0] for requirement in requirements]
        self.got += [name for name in names if name not in self.installed]
        self.installed |= set(names)
        self.asked += ask

    def _torch(self, askConfirmation, torchVersionRequirement):
        self.got.append("torch")
        self.installed.add("torch")
        self.asked += askConfirmation
        return "torch"


@pytest.mark.parametrize(
    "answer, got", [("onnx", ["safetensors", "jinja2", "onnxruntime"]), ("torch", ["torch", "safetensors", "jinja2"])]
)
def test_first_click_asks_once_and_installs_what_was_chosen(monkeypatch, answer, got):
    computer = Computer(monkeypatch, (), answer)
    assert missing_packages() == ["torch or onnxruntime", "safetensors", "jinja2"]
    install_missing_packages()
    assert computer.got == got and computer.asked == 1
    assert missing_packages() == []
    install_missing_packages()
    assert computer.asked == 1


@pytest.mark.parametrize("library", ["torch", "onnxruntime"])
def test_either_library_is_enough_for_an_analysis(monkeypatch, library):
    computer = Computer(monkeypatch, {library, "safetensors", "jinja2"})
    install_missing_packages()
    assert computer.got == [] and computer.asked == 0


def test_nothing_is_installed_where_the_user_declines(monkeypatch):
    computer = Computer(monkeypatch, ())
    with pytest.raises(DependencyError, match="Nothing was installed; an analysis needs ONNX Runtime or PyTorch"):
        install_missing_packages()
    assert computer.got == []


def test_training_needs_pytorch_whatever_else_there_is(monkeypatch):
    computer = Computer(monkeypatch, {"onnxruntime", "safetensors", "jinja2"})
    assert missing_packages(TRAINING, "torch")[0] == "torch"
    install_missing_packages(runtime="torch")
    assert computer.got == ["torch"] and computer.asked == 1


def test_figures_need_no_network(monkeypatch):
    Computer(monkeypatch, {"matplotlib"})
    assert missing_packages(("jinja2>=3.1",), None) == ["jinja2"]
