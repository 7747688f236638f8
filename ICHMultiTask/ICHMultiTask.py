"""The ICHMultiTask module of 3D Slicer: registration, widget, logic and self test. The rest: ICHMultiTaskLib."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)

from ICHMultiTaskLib.mrml.layout import register_layout
from ICHMultiTaskLib.mrml.parameters import ICHMultiTaskParameterNode
from ICHMultiTaskLib.mrml.sample_data import register_sample_data
from ICHMultiTaskLib.panel.logic import Logic
from ICHMultiTaskLib.panel.panel import Panel
from ICHMultiTaskLib.panel.self_test import LogicTest


class ICHMultiTask(ScriptedLoadableModule):
    """Registration of the module."""

    def __init__(self, parent: slicer.qSlicerScriptedLoadableModule):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("ICH Multi-Task")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Quantification")]
        parent.dependencies = []
        parent.contributors = ["ICHMultiTask contributors"]
        parent.helpText = _(
            "Volume, prognosis and attention map of an intracerebral hemorrhage on a non-contrast head CT. "
            "Research use only; not validated on patients."
        )
        parent.acknowledgementText = _(
            "The network follows Gong et al., Unified ICH quantification and prognosis prediction in NCCT images using "
            "a multi-task interpretable network, Front. Neurosci. 2023, doi 10.3389/fnins.2023.1118340."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)
        slicer.app.connect("startupCompleted()", lambda: register_layout(slicer.mrmlScene))


class ICHMultiTaskWidget(ScriptedLoadableModuleWidget):
    """The panel's place in the application."""

    def setup(self) -> None:
        """Build the panel when the module is first opened."""
        ScriptedLoadableModuleWidget.setup(self)
        self.logic = ICHMultiTaskLogic()
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ICHMultiTask.ui"))
        self.layout.addWidget(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.panel = Panel(uiWidget.layout(), self._loadSection, self.logic)
        if slicer.util.selectedModule() == self.moduleName:  # reloaded, so that the module is not entered again
            self.enter()

    def _loadSection(self, name):
        return slicer.util.loadUI(self.resourcePath(f"UI/ICHMultiTask{name}.ui"))

    def cleanup(self) -> None:
        """Stop the work and observe nothing when the module is unloaded."""
        self.panel.cleanup()

    def enter(self) -> None:
        """Show what the scene holds now."""
        self.panel.enter()

    def exit(self) -> None:
        """Leave the widgets alone while another module is shown; a running analysis goes on."""
        self.panel.exit()


class ICHMultiTaskLogic(ScriptedLoadableModuleLogic, Logic):
    """What the panel does, for scripts: `ICHMultiTaskLogic().process(volumeNode)`."""

    def __init__(self):
        ScriptedLoadableModuleLogic.__init__(self)
        Logic.__init__(self)

    def getParameterNode(self) -> ICHMultiTaskParameterNode:
        """Return the module's parameters in the current scene."""
        return ICHMultiTaskParameterNode(super().getParameterNode())


class ICHMultiTaskTest(LogicTest, ScriptedLoadableModuleTest):
    """The logic on real nodes."""

    logicClass = ICHMultiTaskLogic
