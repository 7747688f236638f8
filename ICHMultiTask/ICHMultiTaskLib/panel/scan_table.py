"""The dialog that adds a scan and a segment to a table of scans."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _

SETTINGS_KEY = "ICHMultiTask/ScanTable"


class ScanTableDialog:
    """Asks for the table, the patient and the outcome.

    Parameters
    ----------
    patient_id : str
        Proposed patient ID.
    segment : str
        Displayed name of the segment.
    """

    def __init__(self, patient_id: str, segment: str):
        self.dialog = dialog = qt.QDialog(slicer.util.mainWindow())
        dialog.setWindowTitle(_("Add to a table of scans"))
        form = qt.QFormLayout(dialog)
        words = _(
            "The volume of “{segment}” is measured and checked. Scan and mask are saved beside the table, and nothing "
            "else of the patient."
        )
        about = qt.QLabel(words.format(segment=segment))
        about.wordWrap = True
        form.addRow(about)
        self.path = qt.QLineEdit(qt.QSettings().value(SETTINGS_KEY) or "")
        self.path.setToolTip(_("CSV file; it is created if it does not exist"))
        choose = qt.QToolButton()
        choose.setText("…")
        choose.setToolTip(_("Choose the table, or name a new one"))
        choose.connect("clicked()", self._choose)
        row = qt.QHBoxLayout()
        row.addWidget(self.path)
        row.addWidget(choose)
        form.addRow(_("Table:"), row)
        self.patient = qt.QLineEdit(patient_id)
        self.patient.setToolTip(_("Patient ID for the table; use a pseudonym if names must not be stored"))
        form.addRow(_("Patient:"), self.patient)
        self.outcome = qt.QComboBox()
        self.outcome.setToolTip(_("Within 30 days"))
        for text, died in ((_("Choose…"), None), (_("survived 30 days"), 0), (_("died within 30 days"), 1)):
            self.outcome.addItem(text, died)
        form.addRow(_("Outcome:"), self.outcome)
        self.buttons = qt.QDialogButtonBox()
        self.addButton = self.buttons.addButton(_("Add"), qt.QDialogButtonBox.AcceptRole)
        self.buttons.addButton(_("Cancel"), qt.QDialogButtonBox.RejectRole)
        self.buttons.connect("accepted()", dialog.accept)
        self.buttons.connect("rejected()", dialog.reject)
        form.addRow(self.buttons)
        dialog.setMinimumWidth(420)
        self.path.connect("textChanged(QString)", self._update)
        self.patient.connect("textChanged(QString)", self._update)
        self.outcome.connect("currentIndexChanged(int)", self._update)
        self._update()

    def answer(self) -> tuple[str, str, int | None]:
        """Entered table, patient and outcome (None: not chosen)."""
        return self.path.text.strip(), self.patient.text.strip(), self.outcome.itemData(self.outcome.currentIndex)

    def ask(self) -> tuple[str, str, int | None] | None:
        """Show the dialog; return the answer, or None if it was canceled."""
        if not self.dialog.exec_():
            return None
        qt.QSettings().setValue(SETTINGS_KEY, self.path.text.strip())
        return self.answer()

    def _choose(self):
        options = qt.QFileDialog.DontConfirmOverwrite  # an existing table is extended, not overwritten
        path = qt.QFileDialog.getSaveFileName(
            self.dialog, _("Choose a table of scans"), self.path.text, "CSV (*.csv)", "", options
        )
        if path:
            ending = "" if path.lower().endswith(".csv") else ".csv"
            self.path.text = path + ending

    def _update(self, value=None):
        table, patient, died = self.answer()
        self.addButton.enabled = bool(table and patient and died is not None)
