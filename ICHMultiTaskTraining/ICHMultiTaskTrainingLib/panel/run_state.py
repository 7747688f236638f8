"""State of the training panel: message, plan, progress and button of a run. Needs no Qt."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape

from ICHMultiTaskLib.common.errors import ICHMultiTaskError, InputError
from ICHMultiTaskLib.common.progress import duration
from ICHMultiTaskLib.common.translation import translated
from ICHMultiTaskLib.model.calibration import MIN_PER_OUTCOME
from ICHMultiTaskLib.mrml.translation import tr as _

from ..data.manifest import Manifest
from ..evaluation.report import MIN_PATIENTS
from ..training.config import TrainingConfig, make_config
from ..training.curves import has_enough_outcomes
from ..training.plan import DONE, NOW, plan_of
from ..training.run_folder import RunFolder, check_same_run
from ..training.settings_text import changes_of

FINE_TUNE, DEFAULT = "fine-tune", "default"
_MARKS = {DONE: "✓", NOW: "▶"}


@dataclass(frozen=True)
class RunView:
    """What the panel shows of a run.

    Attributes
    ----------
    button : str
        Text of the button.
    enabled : bool
    text : str
        Message as rich text; "" for none.
    failed : bool
        Whether the message is an error.
    plan : str
        The phases of the run, as rich text.
    fraction : float or None
        Completed fraction of the whole run; None if it is not running.
    stage : str
        Current step.
    finished : bool
        Whether its model can be used, compared, calibrated and trained for more epochs.
    """

    button: str
    enabled: bool = False
    text: str = ""
    failed: bool = False
    plan: str = ""
    fraction: float | None = None
    stage: str = ""
    finished: bool = False


def view_of(
    run: RunFolder | None,
    read_config: Callable[[], TrainingConfig],
    manifest: Manifest | None,
    table_chosen: bool,
    running: bool,
    own: bool = True,
) -> RunView:
    """Determine what the panel shows of a run.

    Parameters
    ----------
    run : RunFolder or None
    read_config : callable () -> TrainingConfig
        Returns the chosen settings; may raise.
    manifest : Manifest or None
        The chosen table; None until it has been read.
    table_chosen : bool
        Whether a table was chosen.
    running : bool
        Whether the run is in progress.
    own : bool
        Whether this panel started it.

    Returns
    -------
    RunView
    """
    begun = bool(run and run.begun)
    if running:
        return _running(run, manifest, own)
    button = _("Continue") if begun else _("Start")
    if run is None:
        return RunView(button, text=_("Choose a folder for the run."))
    try:
        config = read_config()
        finished = begun and run.finished
        plan = _plan(config, manifest, run.history if begun else [], None, finished)
        if finished and config.epochs <= run.stored["config"]["epochs"]:
            return RunView(_("Finished"), text=finished_text(run), plan=plan, finished=True)
        if not table_chosen:
            return RunView(button, text=_("Choose a table of scans, or simulate a cohort."), plan=plan)
        if manifest is None:  # the reason is shown beside the table
            return RunView(button, plan=plan, finished=finished)
        if begun:
            stored = run.stored
            longer = config.epochs > stored["config"]["epochs"] and run.trained
            asked = replace(config, epochs=stored["config"]["epochs"]) if longer else config
            chosen = {"config": asked.as_dict(), "manifest": str(manifest.path.resolve())}
            chosen |= {"manifest_sha256": manifest.sha256} if "manifest_sha256" in stored else {}
            check_same_run(run.path, stored, stored | chosen)
    except ICHMultiTaskError as error:
        return RunView(button, text=escape(translated(error), quote=False), failed=True)
    return RunView(button, True, _progress_text(run, config) if begun else "", plan=plan, finished=finished)


def finished_text(run: RunFolder) -> str:
    """Describe the result of a finished run, each number with its number of patients.

    Parameters
    ----------
    run : RunFolder

    Returns
    -------
    str
        Rich text.
    """
    parts = [_("Finished after {n} epochs.").format(n=run.epochs_done), *_numbers(run.metrics or {})]
    if run.report:
        parts.append(f'<a href="{run.report.resolve().as_uri()}">{_("Report")}</a>')
    return " ".join(parts)


def _numbers(metrics):
    volume, prognosis = metrics.get("volume") or {}, metrics.get("prognosis") or {}
    if volume.get("mae_ml") is not None:
        few = volume["patients"] < MIN_PATIENTS
        words = _("MAE {mae:.1f} mL on {n} validation patients, too few to judge the model.") if few else _(
            "MAE {mae:.1f} mL on {n} validation patients."
        )  # fmt: skip
        yield words.format(mae=volume["mae_ml"], n=volume["patients"])
    if prognosis.get("auc") is not None:
        deaths, patients = prognosis["deaths"], prognosis["patients"]
        if has_enough_outcomes(patients, deaths):
            yield _("AUC {auc:.2f} ({deaths} of {n} died).").format(auc=prognosis["auc"], deaths=deaths, n=patients)
        else:
            yield too_few_outcomes(patients, deaths)


def too_few_outcomes(patients: float, deaths: float) -> str:
    """Explain why no AUC is shown."""
    words = _("No AUC: it needs {least} patients who died and {least} who survived; there are {deaths} and {lived}.")
    return words.format(least=MIN_PER_OUTCOME, deaths=deaths, lived=patients - deaths)


def preset_for(start_from: str, preset: str) -> str:
    """Choose the preset that matches the initial weights: fine-tune in place of default for those of a model.

    Parameters
    ----------
    start_from : str
        "" for random weights.
    preset : str
        The current one.
    """
    if start_from and preset == DEFAULT:
        return FINE_TUNE
    return DEFAULT if not start_from and preset == FINE_TUNE else preset


def more_epochs(run: RunFolder, epochs: int) -> tuple[str, dict]:
    """Preset and settings that continue a finished run.

    Parameters
    ----------
    run : RunFolder
    epochs : int
        Number of further epochs.

    Returns
    -------
    (str, dict)

    Raises
    ------
    InputError
        If the run is not finished, or the number is not above 0.
    """
    if not run.trained:
        raise InputError(
            "The run cannot be trained for more epochs: expected a finished run, found one whose epochs are not done."
        )
    if epochs < 1:
        raise InputError(f"The number of further epochs is out of range: expected at least 1, found {epochs}.")
    config = run.stored["config"]
    changes = changes_of(config) | {"epochs": config["epochs"] + epochs}
    make_config(config["preset"], **changes)
    return config["preset"], changes


def _running(run, manifest, own):
    progress = run.progress if run.running else None
    stage = progress.message if progress else _("Starting…")
    if progress and progress.seconds_left:
        stage += _("; {time} left").format(time=duration(progress.seconds_left))
    if progress and not own:
        stage += _(" (process {n} on {computer})").format(n=progress.process, computer=progress.computer)
    plan = ""
    try:
        if run.stored is not None:
            config = TrainingConfig(**run.stored["config"])  # as stored: the bundle to start from is not checked
            plan = _plan(config, manifest, run.history, progress, False)
    except ICHMultiTaskError:
        pass  # an unreadable file is reported when the run has ended
    return RunView(_("Stop"), True, plan=plan, fraction=progress.fraction if progress else 0.0, stage=stage)


def _plan(config, manifest, history, progress, finished):
    scans = sum(row.split != "test" for row in manifest.rows) if manifest else None
    steps = plan_of(config, scans, history, progress, finished)
    lines = [f"{_MARKS.get(step.state, '·')} {escape(str(step))}" for step in steps]
    if not history and progress is None:
        lines.append(f"<i>{_('Estimated times appear after the first epoch.')}</i>")
    return "<br>".join(lines)


def _progress_text(run, config):
    done, total = run.epochs_done, len(config.reductions())
    if done < total:
        return _("{done} of {total} epochs are done.").format(done=done, total=total)
    return _("All {total} epochs are done; the model and the report are still to be written.").format(total=total)
