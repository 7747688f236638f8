"""Packages that 3D Slicer does not include, installed when the user agrees. Elsewhere pip has installed them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import slicer

from ..common.choices import RuntimeLibrary
from ..common.errors import DependencyError
from ..model.runners import PACKAGES, is_installed
from ..mrml.translation import tr as _

ANALYSIS = ("safetensors>=0.4", "jinja2>=3.1")
LIGHT = "onnxruntime>=1.19"
"""Runs the network instead of PyTorch, where an analysis is all that is wanted."""
DECODERS = ("pylibjpeg>=2", "pylibjpeg-openjpeg>=2", "pyjpegls>=1.2")
"""pydicom decodes compressed DICOM images with these."""
TRAINING = (*ANALYSIS, *DECODERS, "tqdm>=4.60", "scikit-learn>=1.4")
FIGURES = ("matplotlib>=3.7",)
TORCH_REQUIREMENT = ">=2.4"

_MODULES = {
    "scikit-learn": "sklearn",
    "pylibjpeg-openjpeg": "openjpeg",
    "pyjpegls": "jpeg_ls",
}


def missing_packages(requirements: Sequence[str] = ANALYSIS, runtime: str | None = RuntimeLibrary.AUTO) -> list[str]:
    """Names of the packages that still have to be installed; nothing is imported.

    Parameters
    ----------
    requirements : tuple of str
        `ANALYSIS`, `TRAINING` or `FIGURES`.
    runtime : str or None
        Library that has to run networks: "torch", "auto" for PyTorch or ONNX Runtime, None for none.
    """
    names = [requirement.partition(">=")[0] for requirement in requirements]
    missing = [name for name in names if importlib.util.find_spec(_MODULES.get(name, name)) is None]
    if runtime is None or is_installed(runtime):
        return missing
    return [" or ".join(PACKAGES.values()) if runtime == RuntimeLibrary.AUTO else PACKAGES[runtime], *missing]


def install_missing_packages(requirements: Sequence[str] = ANALYSIS, runtime: str | None = RuntimeLibrary.AUTO) -> None:
    """Install missing packages, after asking: PyTorch by the PyTorch extension, the others by pip.

    Where an analysis needs PyTorch or ONNX Runtime and there is neither, the user chooses.

    Parameters
    ----------
    requirements, runtime
        As of `missing_packages`.

    Raises
    ------
    DependencyError
        If the user declines, or a package or the PyTorch extension cannot be installed.
    """
    agreed = False
    if runtime is not None and not is_installed(runtime):
        if runtime == RuntimeLibrary.AUTO:
            runtime, agreed = ask_for_library(), True
        if runtime is None:
            raise DependencyError(_("Nothing was installed; an analysis needs ONNX Runtime or PyTorch."))
        if runtime == RuntimeLibrary.TORCH:
            _install_torch(ask=not agreed)
        else:
            requirements = (*requirements, LIGHT)
    if missing_packages(requirements, None):
        _install_with_pip(requirements, ask=not agreed)
    importlib.invalidate_caches()
    still = missing_packages(requirements, runtime)
    if still:
        raise DependencyError(
            _("Required Python packages could not be installed: {still}.").format(still=", ".join(still))
        )


def ask_for_library() -> RuntimeLibrary | None:
    """Ask which library shall run the network; None if the user declines, or nobody is there to answer."""
    import qt

    if slicer.app.testingEnabled():
        return None
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setWindowTitle("ICHMultiTask")
    box.setIcon(qt.QMessageBox.Question)
    box.setText(_("An analysis needs a library that runs its network. Which one shall be installed?"))
    box.setInformativeText(
        _(
            "ONNX Runtime is a download of about 30 MB, enough to analyze scans on the processor.\n\n"
            "PyTorch takes hundreds of megabytes to gigabytes. It adds GPUs, the other attention maps and training, "
            "and can be installed later too."
        )
    )
    light = box.addButton(_("ONNX Runtime"), qt.QMessageBox.AcceptRole)
    full = box.addButton(_("PyTorch"), qt.QMessageBox.AcceptRole)
    box.addButton(qt.QMessageBox.Cancel)
    box.setDefaultButton(light)
    box.exec_()
    clicked = box.clickedButton()
    return {light: RuntimeLibrary.ONNX, full: RuntimeLibrary.TORCH}.get(clicked)


def _install_torch(ask):
    try:
        import PyTorchUtils
    except ImportError as error:
        raise DependencyError(
            _(
                "PyTorch is not installed: install the extension named PyTorch in the Extensions Manager, "
                "restart 3D Slicer and try again."
            )
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=ask, torchVersionRequirement=TORCH_REQUIREMENT) is None:
        raise DependencyError(_("PyTorch was not installed; what needs it cannot be computed."))


def _install_with_pip(requirements, ask):
    try:
        from packaging.requirements import Requirement
        from slicer.packaging import pip_ensure
    except ImportError:  # 3D Slicer before 5.12
        words = _("This needs the Python packages {packages}. Install them now?")
        question = words.format(packages=", ".join(requirements))
        if not ask or slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(list(requirements))
        return
    try:
        pip_ensure([Requirement(text) for text in requirements], prompt_install=ask, requester="ICHMultiTask")
    except RuntimeError as error:
        raise DependencyError(_("A required Python package was not installed: {error}").format(error=error)) from error
