"""The module's classes on slicer-core, its panel file, and what CMake ships."""

import ast
import importlib.util
import re
import sys
import threading
import time
import types
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from ICHMultiTaskLib.common.background import BackgroundTask
from ICHMultiTaskLib.common.errors import Canceled, InputError

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

REPOSITORY = Path(__file__).parents[3]
MODULES = {"ICHMultiTask": REPOSITORY / "ICHMultiTask", "ICHMultiTaskTraining": REPOSITORY / "ICHMultiTaskTraining"}


class _Base:
    """Stands in for the application's base classes of modules, which slicer-core lacks."""

    def __init__(self, parent=None):
        super().__init__()


class _TestBase(unittest.TestCase):
    """Stands in for the application's base class of self tests."""


def stand_ins():
    """What slicer-core lacks of the application: Qt, translation, and the base classes, which here do nothing."""
    names = ("ScriptedLoadableModule", "ScriptedLoadableModuleLogic", "ScriptedLoadableModuleWidget")
    contents = {
        "qt": {},
        "ctk": {},
        "slicer.i18n": {"tr": str, "translate": lambda context, text: text},
        "slicer.parameterNodeWrapper": {"parameterNodeWrapper": lambda cls: cls, "WithinRange": lambda *limits: limits},
        "slicer.ScriptedLoadableModule": {name: type(name, (_Base,), {}) for name in names}
        | {"ScriptedLoadableModuleTest": _TestBase},
    }
    modules = {}
    for name, members in contents.items():
        modules[name] = types.ModuleType(name)
        vars(modules[name]).update(members)
    return modules


def load(name):
    """Import a module file the way the application does, from its own folder."""
    missing = {key: value for key, value in stand_ins().items() if importlib.util.find_spec(key) is None}
    before = {key: sys.modules.get(key) for key in missing}
    sys.modules.update(missing)
    try:
        spec = importlib.util.spec_from_file_location(name, MODULES[name] / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        for key, value in before.items():
            sys.modules.pop(key) if value is None else sys.modules.update({key: value})


@pytest.fixture(scope="module")
def modules():
    return {name: load(name) for name in MODULES}


def self_tests():
    """Names of the modules' self tests, read from their source so that each is a test of its own here."""
    for name, folder in MODULES.items():
        for file in (folder / f"{name}.py", folder / f"{name}Lib" / "panel" / "self_test.py"):
            for test in re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8") if file.is_file() else ""):
                yield name, test


@pytest.mark.parametrize("name, test", list(self_tests()))
def test_self_test(modules, name, test):
    result = unittest.TestResult()
    getattr(modules[name], f"{name}Test")(test).run(result)
    problems = result.errors + result.failures
    assert not problems, problems[0][1]
    assert result.testsRun == 1
    if result.skipped:
        pytest.skip(result.skipped[0][1])


def test_background_task_reports_progress_and_result():
    seen = threading.Event()

    def work(progress):
        progress(0.5, "half")
        seen.wait(120)
        return 7

    task = BackgroundTask(work)
    while task.message != "half":
        time.sleep(0.001)
    assert not task.done and task.fraction == 0.5
    seen.set()
    assert task.result() == 7 and task.done


def test_background_task_stops_at_the_next_report_of_progress():
    steps = []

    def work(progress):
        for n in range(1000):
            progress(n / 1000, "step")
            steps.append(n)
            time.sleep(0.005)

    task = BackgroundTask(work)
    while not steps:
        time.sleep(0.001)
    task.cancel()
    with pytest.raises(Canceled):
        task.result()
    assert len(steps) < 1000


def test_background_task_canceled_at_the_last_moment_gives_no_result():
    task = BackgroundTask(lambda progress: 7)
    task.wait()
    task.cancel()
    with pytest.raises(Canceled):
        task.result()


def test_background_task_raises_what_the_work_raised():
    def work(progress):
        raise InputError("The scan is no head.")

    with pytest.raises(InputError, match="The scan is no head"):
        BackgroundTask(work).result()


def panel(name):
    folder = REPOSITORY / Path(CODE_OF_PANELS[name]).parts[0]
    return ElementTree.parse(folder / "Resources" / "UI" / f"{name}.ui").getroot()


CODE_OF_PANELS = {
    "ICHMultiTaskAnalyze": "ICHMultiTask/ICHMultiTaskLib/panel/analyze.py",
    "ICHMultiTaskAttention": "ICHMultiTask/ICHMultiTaskLib/panel/attention.py",
    "ICHMultiTaskTraining": "ICHMultiTaskTraining/ICHMultiTaskTraining.py",
    "ICHMultiTaskClinical": "ICHMultiTask/ICHMultiTaskLib/panel/clinical.py",
    "ICHMultiTaskCohort": "ICHMultiTask/ICHMultiTaskLib/panel/cohort.py",
    "ICHMultiTaskFindings": "ICHMultiTask/ICHMultiTaskLib/panel/findings.py",
    "ICHMultiTaskCompare": "ICHMultiTask/ICHMultiTaskLib/panel/compare.py",
    "ICHMultiTaskTour": "ICHMultiTask/ICHMultiTaskLib/panel/tour.py",
    "ICHMultiTaskRepeat": "ICHMultiTask/ICHMultiTaskLib/panel/repeat.py",
}


@pytest.mark.parametrize("name", CODE_OF_PANELS)
def test_every_widget_that_the_code_uses_is_in_the_panel(name):
    code = (REPOSITORY / CODE_OF_PANELS[name]).read_text(encoding="utf-8")
    used = set(re.findall(r"\bui\.(\w+)", code))
    names = [widget.get("name") for widget in panel(name).iter("widget")]
    assert used and used <= set(names)
    assert len(names) == len(set(names))


def test_every_section_of_the_panel_is_checked():
    found = {path.stem for folder in MODULES.values() for path in folder.glob("Resources/UI/*.ui")}
    assert found == {"ICHMultiTask", *CODE_OF_PANELS}, "ICHMultiTask.ui holds the sections and no more"


def test_panel_is_bound_to_every_parameter_but_scans_bundle_and_segments(modules):
    names = "ICHMultiTaskAnalyze", "ICHMultiTaskAttention"
    properties = [found for name in names for found in panel(name).iter("property")]
    bound = {found.findtext("string") for found in properties if found.get("name") == "SlicerParameterName"}
    assert bound == set(modules["ICHMultiTask"].ICHMultiTaskParameterNode.__annotations__) - {
        "inputVolume",
        "bundleFolder",
        "comparedSegments",
        "earlierVolume",
    }


def test_choices_offer_what_the_library_knows(modules):
    from ICHMultiTaskLib.common.choices import Device, Head, Stage
    from ICHMultiTaskLib.model.attention import METHODS
    from ICHMultiTaskLib.mrml import parameters

    assert {device.value for device in parameters.Device} == set(Device.values())
    assert {head.value for head in parameters.AttentionHead} == set(Head.values())
    assert {stage.value for stage in parameters.AttentionStage} == set(Stage.values())
    assert {method.value for method in parameters.AttentionMethod} == set(METHODS)
    for choice in (parameters.Device, parameters.AttentionStage, parameters.AttentionMethod):
        assert len({member.label() for member in choice}) == len(choice)


@pytest.mark.parametrize("name", MODULES)
def test_cmake_ships_every_file_of_a_module(name):
    text = (MODULES[name] / "CMakeLists.txt").read_text(encoding="utf-8")
    patterns = [p.replace("${MODULE_NAME}", name) for p in re.findall(r"^  (\S*\*\S*|\S*\.py)$", text, re.MULTILINE)]
    shipped = set()
    for pattern in patterns:
        folder, _, last = pattern.rpartition("/")
        shipped |= {path for path in (MODULES[name] / folder).rglob(last) if path.is_file()}
    tracked = {
        path for path in MODULES[name].rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.name != "CMakeLists.txt"
    }  # fmt: skip
    assert tracked <= shipped


def test_extension_metadata_is_complete():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    values = dict(re.findall(r'set\(EXTENSION_(\w+)\s+"([^"]+)"', text))
    assert {"HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS"} <= set(values)
    assert values["DEPENDS"] == "PyTorch"
    for key in ("LICENSE_FILE", "README_FILE"):
        name = values[key].removeprefix("${CMAKE_CURRENT_SOURCE_DIR}/")
        assert (REPOSITORY / name).is_file()
    assert {f"add_subdirectory({name})" for name in MODULES} <= set(text.split("\n"))


SHOWN = {"text", "toolTip", "setText", "setToolTip", "setFormat", "addItem", "addItems", "getExistingDirectory"}


def untranslated(path):
    """Places where a text with letters reaches the user without `_()`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values = []
        if isinstance(node, ast.Assign) and any(getattr(t, "attr", "") in SHOWN for t in node.targets):
            values = [node.value]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in SHOWN:
            values = node.args
        for value in values:
            parts = [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]
            for part in parts:
                texts = part.values if isinstance(part, ast.JoinedStr) else [part]
                words = [t.value for t in texts if isinstance(t, ast.Constant) and isinstance(t.value, str)]
                if re.search(r"[A-Za-z]{3}", re.sub("<[^>]*>", "", " ".join(words))):
                    yield f"{path.name}:{node.lineno}: {' '.join(words)}"


def test_what_the_panel_says_is_translated():
    folder = REPOSITORY / "ICHMultiTask" / "ICHMultiTaskLib" / "panel"
    assert [place for path in sorted(folder.glob("*.py")) for place in untranslated(path)] == []
    imports = re.compile(
        r"^from (slicer\.i18n|\.\.(mrml|common)\.translation|\.translation) import tr as _$", re.MULTILINE
    )
    for path in [*folder.glob("*.py"), *(folder.parent / "mrml").glob("*.py")]:
        code = path.read_text(encoding="utf-8")
        assert not re.search(r"\b_\(f[\"']", code), f"{path.name}: a text with values in it cannot be looked up"
        assert not re.search(r"(?<![\w.])_\(", code) or imports.search(code), path.name
        assert "str(error)" not in code, f"{path.name}: an error is shown by translated(error) or outcome_text(error)"


def test_untranslated_texts_are_found(tmp_path):
    path = tmp_path / "section.py"
    path.write_text('label.text = "Loading"\nlabel.setToolTip(f"{name} hidden")\nlabel.text = _("Fine")\n', "utf-8")
    assert len(list(untranslated(path))) == 2
