"""The text of a scan's result in the panel. Needs no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..common.numbers import probability, probability_range
from ..common.research_use import RESEARCH_USE
from ..common.translation import translated
from ..mrml.translation import tr as _


@dataclass(frozen=True)
class ResultView:
    """Texts of a result, from top to bottom.

    Attributes
    ----------
    outdated : tuple of str
        Why the numbers are outdated: the scan was changed, another model is chosen, an earlier version computed them,
        or clinical values that the model reads have changed.
    warnings : tuple of str
        Warnings of the scan and its analysis, shown above the numbers.
    headline : str
        The volume; or that there is no hemorrhage, or that it is uncertain.
    detail : str
        Interval of the volume; if the headline has no volume, the measured volume.
    mortality : str
        30-day mortality with its range; empty if it is not given.
    use : str
        Statement of research use.
    model : str
    """

    outdated: tuple
    warnings: tuple
    headline: str
    detail: str
    mortality: str
    use: str
    model: str


def headline_of(facts: dict) -> str:
    """The volume of a stored result; or that there is no hemorrhage, or that it is uncertain."""
    if facts["hemorrhage"] == "found":
        return _("{volume:.1f} mL").format(volume=facts["volume_ml"])
    return _("No hemorrhage found") if facts["hemorrhage"] == "none" else _("Hemorrhage uncertain")


def result_view(
    facts: dict,
    chosen: tuple[str, str] | None = None,
    known: Mapping[str, object] | None = None,
    changed: bool = False,
) -> ResultView:
    """Put a result into words.

    Parameters
    ----------
    facts : dict
        Stored result, from `kept_results.kept_result`.
    chosen : (str, str), optional
        `ModelBundle.identity` of the model that is chosen now.
    known : mapping, optional
        What is known of the patient now, as `Analyzer.analyze` takes it.
    changed : bool
        Whether the scan was changed since.

    Returns
    -------
    ResultView
    """
    found = facts["hemorrhage"]
    volume = _("{volume:.1f} mL").format(volume=facts["volume_ml"])
    interval, model = facts["volume_interval_ml"], facts["model"]
    span = ""
    if interval is not None:
        words = _("{coverage:.0%} interval {low:.1f} to {high:.1f} mL")
        span = words.format(coverage=facts["interval_coverage"], low=interval[0], high=interval[1])
    detail = span
    if found != "found":
        detail = _("The model measured {volume}").format(volume=volume) + (f" ({span})" if span else "")
        detail = translated(facts["hemorrhage_reason"]) or detail
    mortality = ""
    if found == "found" and facts["mortality_probability"] is not None:
        mortality = _("30-day mortality {percent}").format(
            percent=translated(probability(facts["mortality_probability"]))
        )
        if facts["mortality_range"] is not None:
            mortality += _(" ({range} if mirrored, turned or 3 HU off)").format(
                range=translated(probability_range(facts["mortality_range"]))
            )
    return ResultView(
        outdated=tuple(_outdated(facts, chosen, known or {}, changed)),
        warnings=tuple(map(translated, facts["scan"]["warnings"])),
        headline=headline_of(facts),
        detail=detail,
        mortality=mortality,
        use=translated(RESEARCH_USE),
        model=_("Model {name} {version}. {data}").format(
            name=model["name"], version=model["version"], data=model["training_data"]
        ),
    )


def _outdated(facts, chosen, known, changed):
    model = facts["model"]
    if changed:
        yield _("The voxels, spacing or transform of the scan were changed since this analysis: press Analyze.")
    if chosen and model["sha256"] and (model["version"], model["sha256"]) != chosen:
        words = _("These results are from the model {name} {version}, not from the one chosen now: press Analyze.")
        yield words.format(name=model["name"], version=model["version"])
    if facts["format"] == 0:
        yield _("These results were saved by an earlier version of this software: press Analyze to update them.")
    read = facts["clinical_inputs"] or {}
    if any(known.get(name) != value for name, value in read.items()):
        yield _("The prognosis was read from other clinical values than those entered now: press Analyze.")
