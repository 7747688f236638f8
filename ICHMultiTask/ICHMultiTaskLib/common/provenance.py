"""Provenance of a result: software, device and libraries, so that it can be reproduced."""

from __future__ import annotations

import functools
import hashlib
import platform
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

_PACKAGES = ("ICHMultiTaskLib", "ICHMultiTaskTrainingLib")
_LIBRARIES = {
    "numpy": "numpy", "scipy": "scipy", "torch": "torch", "onnxruntime": "onnxruntime", "safetensors": "safetensors",
    "SimpleITK": "SimpleITK", "pydicom": "pydicom", "sklearn": "scikit-learn", "vtk": "vtk", "slicer": "slicer-core",
}  # fmt: skip
"""Libraries that affect numbers: name for import, and name of the distribution."""


def provenance(device: str | None = None, number_format: str | None = None) -> dict:
    """Describe the software and hardware in use.

    Parameters
    ----------
    device : str, optional
        Device of the network: "cpu", "cuda" or "mps".
    number_format : str, optional
        Of the network's computations, such as "float32".

    Returns
    -------
    dict
        `software`, `version`, `code_sha256` (first 16 digits of the SHA-256 of all Python files of the program), `date`
        (UTC, ISO 8601), `device`, `device_name`, `number_format`, `python`, `system` and `libraries` (version of each
        loaded library).
    """
    return {
        "software": "ICHMultiTask",
        "version": sys.modules[_PACKAGES[0]].__version__,
        "code_sha256": _code_sha256(tuple(name for name in _PACKAGES if name in sys.modules)),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "device": device,
        "device_name": _device_name(device),
        "number_format": number_format,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "libraries": {name: _version(name, dist) for name, dist in _LIBRARIES.items() if sys.modules.get(name)},
    }


def provenance_facts(made: dict | None) -> dict[str, str]:
    """Provenance of a result as texts for a page.

    Parameters
    ----------
    made : dict or None
        From `provenance`; None or empty for a result of an earlier version.

    Returns
    -------
    dict of str to str
        Texts by heading; empty if nothing is known.
    """
    if not made:
        return {}
    place = " ".join(filter(None, [made["device"], made["device_name"] and f"({made['device_name']})"]))
    libraries = {"Python": made["python"], **made["libraries"]}
    return {
        "Software": f"{made['software']} {made['version']}, code {made['code_sha256']}",
        "Made": made["date"],
        "Computed": " in ".join(filter(None, [place, made["number_format"]])),
        "System": made["system"],
        "Libraries": ", ".join(f"{name} {version}" for name, version in libraries.items()),
    }


@functools.cache
def _code_sha256(packages):
    digest = hashlib.sha256()
    for package in packages:
        folder = Path(sys.modules[package].__file__).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _device_name(device):
    if device == "cuda":
        return sys.modules["torch"].cuda.get_device_name()
    return None if device is None else platform.processor() or platform.machine()


def _version(name, distribution):
    stated = getattr(sys.modules[name], "__version__", None)
    if stated is not None:
        return str(stated)
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"
