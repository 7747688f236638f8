"""Section of the training panel with the settings of a run."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace

import qt
import slicer
from slicer.i18n import tr as _

from ..training.config import PRESETS, SHIPPED, TrainingConfig, make_config
from ..training.settings_text import changes_of, parse_settings, settings_text
from .run_state import preset_for

OWN_WIDGETS = ("epochs", "batch_size", "start_from")
"""Settings with a widget of their own; all others are entered as text."""


class SettingsSection:
    """Widgets that show and edit the settings of a run.

    Parameters
    ----------
    ui : namespace
        Widgets of the panel.
    whenChanged : callable
    """

    def __init__(self, ui: SimpleNamespace, whenChanged: Callable[[], object]):
        self.ui, self._whenChanged = ui, whenChanged
        ui.presetSelector.addItems(list(PRESETS))
        ui.startFromSelector.addItem(_("Random weights"), "")
        ui.startFromSelector.addItem(_("The shipped model"), SHIPPED)
        ui.startFromSelector.addItem(_("Choose a model…"), None)
        self._startFrom = 0
        self._showPreset()
        ui.presetSelector.connect("activated(int)", self.onPresetSelected)
        ui.startFromSelector.connect("activated(int)", self.onStartFromSelected)
        ui.epochsSpinBox.connect("valueChanged(int)", self._changed)
        ui.batchSizeSpinBox.connect("valueChanged(int)", self._changed)
        ui.furtherLineEdit.connect("editingFinished()", self._changed)

    def config(self) -> TrainingConfig:
        """The chosen settings.

        Returns
        -------
        TrainingConfig

        Raises
        ------
        InputError, BundleError
        """
        return make_config(self.preset, **self.changes())

    @property
    def preset(self) -> str:
        """Name of the chosen preset."""
        return self.ui.presetSelector.currentText

    def changes(self) -> dict:
        """Settings that differ from the preset.

        Raises
        ------
        InputError
        """
        ui, preset = self.ui, PRESETS[self.preset]
        chosen = {"epochs": ui.epochsSpinBox.value, "batch_size": ui.batchSizeSpinBox.value}
        chosen["start_from"] = ui.startFromSelector.itemData(ui.startFromSelector.currentIndex) or None
        changed = {name: value for name, value in chosen.items() if value != getattr(preset, name)}
        # The text field takes precedence: it comes after the other widgets.
        return changed | parse_settings(ui.furtherLineEdit.text)

    def show(self, config: dict) -> None:
        """Show the settings of a run in the widgets.

        Parameters
        ----------
        config : dict
            As in `config.json`.
        """
        ui = self.ui
        ui.presetSelector.currentText = config["preset"]
        self._showPreset()
        changes = changes_of(config)
        ui.epochsSpinBox.value, ui.batchSizeSpinBox.value = config["epochs"], config["batch_size"]
        self.startFrom(config["start_from"] or "")
        ui.furtherLineEdit.text = settings_text({n: v for n, v in changes.items() if n not in OWN_WIDGETS})
        self._changed()

    def startFrom(self, folder: str) -> None:
        """Select the initial weights: a bundle's folder, `SHIPPED`, or "" for random weights."""
        selector = self.ui.startFromSelector
        index = selector.findData(folder)
        if index < 0:
            index = selector.count - 1
            selector.insertItem(index, os.path.basename(os.path.normpath(folder)), folder)
            selector.setItemData(index, folder, qt.Qt.ToolTipRole)
        selector.currentIndex = self._startFrom = index
        self._changed()

    def onPresetSelected(self, index: int) -> None:
        """Show the settings of the selected preset."""
        self._showPreset()
        self._changed()

    def onStartFromSelected(self, index: int) -> None:
        """Use the selected weights; the last entry lets the user choose a bundle."""
        selector = self.ui.startFromSelector
        if index < selector.count - 1:
            self._startFrom = index
            self._followStart()
            return
        selector.currentIndex = self._startFrom
        folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), _("Choose the folder of a model bundle"))
        if folder:
            self.startFrom(folder)
            self._followStart()

    def showEpochs(self, epochs: int) -> None:
        """Show the number of epochs of a run."""
        self.ui.epochsSpinBox.value = epochs

    def _followStart(self):
        """Select the preset that matches the initial weights."""
        start = self.ui.startFromSelector.itemData(self.ui.startFromSelector.currentIndex) or ""
        preset = preset_for(start, self.preset)
        if preset != self.preset:
            self.ui.presetSelector.currentText = preset
            self._showPreset()
            self.startFrom(start)
        self._changed()

    def _showPreset(self):
        preset = PRESETS[self.preset]
        self.ui.epochsSpinBox.value, self.ui.batchSizeSpinBox.value = preset.epochs, preset.batch_size
        if preset.start_from is not None:
            self.startFrom(preset.start_from)

    def _changed(self, value=None):
        self._whenChanged()
