"""Comparison and calibration of the model of a finished run, each in its own process. Needs no Qt."""

from __future__ import annotations

import json
import os
from pathlib import Path

from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.names import first_few
from ICHMultiTaskLib.mrml.translation import tr as _

from ..cli.process import CommandProcess, LogReader
from ..data.manifest import read_manifest
from ..evaluation.report import MIN_PATIENTS
from ..evaluation.run_comparison import COMPARISON, read_comparison
from ..training.curves import has_enough_outcomes
from ..training.run_folder import RunFolder
from .run_state import too_few_outcomes

CALIBRATED = "bundle-calibrated"
"""Folder of the calibrated model inside the run folder."""
LOG = "follow-up.txt"


class FollowUp:
    """Runs one command at a time on a finished run.

    Parameters
    ----------
    run : RunFolder
    device : str

    Attributes
    ----------
    running : bool
    text : str
        Current message, or the outcome.
    failed : bool
    """

    def __init__(self, run: RunFolder, device: str = "auto"):
        self.run, self.device = run, device
        self.text, self.failed = "", False
        self._process = self._log = self._when_done = None
        self._last = ""

    @property
    def running(self) -> bool:
        """Whether a command is running."""
        return self._process is not None

    def compare(self) -> None:
        """Compare the run's model with the shipped one on the run's validation patients."""
        self._start(["compare-run", self.run.path, "--device", self.device], self._compared, _("Comparing…"))

    def calibrate(self, table: str | os.PathLike) -> None:
        """Calibrate the run's model on the scans of a table.

        Raises
        ------
        InputError
            If the table contains patients of the run's training or validation set.
        """
        check_unseen(self.run, table)
        arguments = ["calibrate", table, "--model", self.run.bundle, "--output", self.run.path / CALIBRATED]
        self._start([*arguments, "--device", self.device], self._calibrated, _("Calibrating…"))

    def stop(self) -> None:
        """Stop the command; no partial output remains."""
        if self._process is not None:
            self._process.stop()

    def follow(self) -> bool:
        """Check the command; return whether there is something new to show."""
        if self._process is None:
            return False
        status = self._process.status
        lines = [line for line in self._log.lines() if line]
        self._last = lines[-1] if lines else self._last
        if status is None:
            return bool(lines)
        process, self._process = self._process, None
        if process.stopped:
            self.text, self.failed = _("Stopped."), False
        elif status:
            self.text, self.failed = self._last, True
        else:
            self.text, self.failed = self._when_done(), False
        return True

    @property
    def bundle(self) -> Path:
        """The model to use: the calibrated one if it was made from the run's current model."""
        calibrated = self.run.path / CALIBRATED
        try:
            made = json.loads((calibrated / "configs" / "metadata.json").read_text(encoding="utf-8"))
            own = json.loads((self.run.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
            same = made["derived_from"][-1]["sha256"] == own["sha256"]
        except (OSError, ValueError, KeyError, IndexError, TypeError):
            same = False
        return calibrated if same else self.run.bundle

    def _start(self, arguments, when_done, text):
        log = self.run.path / LOG
        log.unlink(missing_ok=True)
        self._process = CommandProcess(arguments, log)
        self._log, self._when_done, self._last = LogReader(log), when_done, ""
        self.text, self.failed = text, False

    def _compared(self):
        return comparison_text(read_comparison(self.run.path / COMPARISON))

    def _calibrated(self):
        return _("Calibrated. “Use this model” now selects {folder}.").format(folder=self.run.path / CALIBRATED)


def check_unseen(run: RunFolder, table: str | os.PathLike) -> None:
    """Refuse a table with patients of the run: intervals calibrated on them would be too narrow.

    Raises
    ------
    InputError
    """
    manifest = read_manifest(table)
    try:
        split = json.loads((run.path / "splits.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The run's patients cannot be read: expected splits.json in {run.path}, found {error}."
        ) from None
    known = {*split["train"], *split["validation"]}
    stored = run.stored
    same_file = Path(stored["manifest"]).resolve() == manifest.path.resolve()
    own = same_file or stored.get("manifest_sha256") == manifest.sha256
    both = sorted({row.patient_id for row in manifest.rows} & known)
    if own or both:
        names = first_few(both)
        raise InputError(
            "The model cannot be calibrated on patients of its own training or validation: expected a table of other "
            f"patients, found {len(both)} of this run ({names})."
        )


def comparison_text(comparison: dict) -> str:
    """Describe two models on the same patients: each number with its number of patients, none if these are too few.

    Parameters
    ----------
    comparison : dict
        As `compare_models` returns.
    """
    one, (other,) = comparison["first"], comparison["others"]
    volume, prognosis = other["volume"], other["prognosis"]
    sentences = []
    if one["mae_ml"] is not None and other["mae_ml"] is not None:
        words = _("On {n} validation patients this model's MAE is {mine:.1f} mL, {name}'s {theirs:.1f} mL")
        text = words.format(n=volume["patients"], mine=one["mae_ml"], name=other["name"], theirs=other["mae_ml"])
        interval = volume["mae_difference_ml_interval"]
        if volume["patients"] < MIN_PATIENTS or interval is None:
            text += _("; too few to tell which is better.")
        elif interval[1] < 0:
            text += _(": this model is better.")
        elif interval[0] > 0:
            text += _(": this model is worse.")
        else:
            text += _(": no difference beyond chance.")
        sentences.append(text)
    if prognosis.get("auc_difference") is not None:
        if has_enough_outcomes(prognosis["patients"], prognosis["deaths"]):
            words = _("AUC {mine:.2f} against {theirs:.2f} ({deaths} of {n} died).")
            # Of the patients with a probability by both; comparisons of earlier versions have only those of each.
            mine, theirs = prognosis.get("auc_first", one["auc"]), prognosis.get("auc_other", other["auc"])
            sentences.append(
                words.format(mine=mine, theirs=theirs, deaths=prognosis["deaths"], n=prognosis["patients"])
            )
        else:
            sentences.append(too_few_outcomes(prognosis["patients"], prognosis["deaths"]))
    return " ".join(sentences)
