"""Packages that 3D Slicer does not include, installed when the user agrees. Elsewhere pip has installed them."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import slicer

from ..common.errors import DependencyError

ANALYSIS = ("safetensors>=0.4", "jinja2>=3.1")
DECODERS = ("python-gdcm>=3.0.24", "pylibjpeg>=2", "pylibjpeg-openjpeg>=2", "pyjpegls>=1.2")
"""pydicom decodes compressed DICOM images with these."""
TRAINING = (*ANALYSIS, *DECODERS, "tqdm>=4.60", "scikit-learn>=1.4")
FIGURES = ("matplotlib>=3.7",)
TORCH_REQUIREMENT = ">=2.4"

_MODULES = {
    "scikit-learn": "sklearn",
    "python-gdcm": "gdcm",
    "pylibjpeg-openjpeg": "openjpeg",
    "pyjpegls": "jpeg_ls",
}


def missing_packages(requirements: Sequence[str] = ANALYSIS, torch: bool = True) -> list[str]:
    """Names of the packages, PyTorch included, that still have to be installed; nothing is imported."""
    names = [*(["torch"] if torch else ()), *(requirement.partition(">=")[0] for requirement in requirements)]
    return [name for name in names if importlib.util.find_spec(_MODULES.get(name, name)) is None]


def install_missing_packages(requirements: Sequence[str] = ANALYSIS, torch: bool = True) -> None:
    """Install missing packages, after asking: PyTorch by the PyTorch extension, the others by pip.

    Parameters
    ----------
    requirements : tuple of str
        `ANALYSIS`, `TRAINING` or `FIGURES`.
    torch : bool
        Whether PyTorch is needed as well.

    Raises
    ------
    DependencyError
        If the user declines, or PyTorch or the PyTorch extension cannot be installed.
    """
    missing = missing_packages(requirements, torch)
    if "torch" in missing:
        _install_torch()
    if any(name != "torch" for name in missing):
        _install_with_pip(requirements)
    importlib.invalidate_caches()
    still = missing_packages(requirements, torch)
    if still:
        raise DependencyError(f"Required Python packages could not be installed: {', '.join(still)}.")


def _install_torch():
    try:
        import PyTorchUtils
    except ImportError as error:
        raise DependencyError(
            "PyTorch is not installed: install the extension named PyTorch in the Extensions Manager, "
            "restart 3D Slicer and try again."
        ) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    if logic.installTorch(askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT) is None:
        raise DependencyError("PyTorch was not installed; nothing can be computed without it.")


def _install_with_pip(requirements):
    try:
        from packaging.requirements import Requirement
        from slicer.packaging import pip_ensure
    except ImportError:  # 3D Slicer before 5.12
        question = f"This needs the Python packages {', '.join(requirements)}. Install them now?"
        if slicer.util.confirmOkCancelDisplay(question):
            slicer.util.pip_install(list(requirements))
        return
    try:
        pip_ensure([Requirement(text) for text in requirements], requester="ICHMultiTask")
    except RuntimeError as error:
        raise DependencyError(f"A required Python package was not installed: {error}") from error
