"""Models to choose from in the panel, and the network that is held ready. Needs no Qt."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from ..analysis.analyzer import Analyzer
from ..analysis.result import Analysis
from ..common.choices import Device, RuntimeLibrary
from ..model.bundle import ModelBundle, default_bundle, find_bundles
from ..model.runners import choose_library, library_for


class Models:
    """Model bundles, and the most recently used network, because loading one takes longer than using it.

    Thread-safe.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._held = None
        self._folders = []
        self._used = {}  # in the order of their use; a result may need its model again

    def analyzer(self, bundle: ModelBundle | str | os.PathLike | None = None, device: str = "auto") -> Analyzer:
        """Return the analyzer for a device and a bundle; a bundle that has changed on disk is loaded again.

        Parameters
        ----------
        bundle : ModelBundle, path or None
            None: the shipped bundle.
        device : str

        Returns
        -------
        Analyzer
        """
        if not isinstance(bundle, ModelBundle):
            bundle = ModelBundle.load(bundle or default_bundle())
        key = bundle.sha256, json.dumps(bundle.metadata, sort_keys=True), device, choose_library()
        with self._lock:
            if self._held is None or self._held[0] != key:
                self._held = key, Analyzer(bundle, device)
            return self._held[1]

    def remember(self, bundle: ModelBundle | str | os.PathLike | None) -> None:
        """Remember that a bundle was used, so that `of` finds it; no-op for None, the shipped bundle."""
        if bundle is not None:
            self._used[str(bundle)] = bundle

    def of(self, analysis: Analysis) -> ModelBundle | None:
        """The bundle that made an analysis, as it is on disk now; None if it is no longer available."""
        loaded = (_loaded(bundle) for bundle in (*self._used.values(), *find_bundles()))
        return next((found for found in loaded if found and found.sha256 == analysis.model["sha256"]), None)

    def bundles(self) -> list[tuple[str, Path]]:
        """Usable model bundles to choose from, as (name and version, folder), the shipped ones first."""
        found = []
        for folder in find_bundles(self._folders):
            try:
                bundle = ModelBundle.load(folder)
            except ValueError:
                continue
            found.append((f"{bundle.name} {bundle.version}", folder))
        return found

    def add(self, folder: str | os.PathLike) -> Path:
        """Add a user's bundle to the choice.

        Returns
        -------
        Path

        Raises
        ------
        BundleError
            If the folder is not a valid bundle.
        """
        ModelBundle.load(folder)
        if folder not in self._folders:
            self._folders.append(folder)
        return Path(folder)

    @staticmethod
    def identity_of(folder: str | os.PathLike) -> tuple[str, str] | None:
        """`ModelBundle.identity` of a folder; None if it cannot be read."""
        bundle = _loaded(folder)
        return bundle and bundle.identity

    @staticmethod
    def library_for(folder: str | os.PathLike | None) -> RuntimeLibrary:
        """The library that a bundle needs, "auto" where any will do; None: of the shipped bundle."""
        bundle = _loaded(folder or default_bundle())
        return library_for(bundle.metadata["architecture"]) if bundle else RuntimeLibrary.AUTO

    @staticmethod
    def devices() -> list[str]:
        """Names of the available devices; loads PyTorch, which takes seconds the first time, where it is installed."""
        if choose_library() == RuntimeLibrary.ONNX:
            return [Device.CPU.value]
        from ..model.runtime import available_devices

        return available_devices()


def _loaded(bundle):
    """A bundle as it is on disk now, or None if it can no longer be loaded."""
    try:
        return bundle if isinstance(bundle, ModelBundle) else ModelBundle.load(bundle)
    except (ValueError, OSError):
        return None
