"""Clinical scores and volume alerts from the patient's clinical data.

    context = ClinicalContext(age=71, gcs=11, location="putamen", ivh=True)
    clinical_scores(context, volume_ml, interval_ml=None) -> (ICH score, max-ICH, FUNC), each a ClinicalScore
    alerts(context, volume_ml, interval_ml=None) -> tuple of str

A severity score is recommended at baseline and must not be the sole basis for prognosis or for limiting care (AHA/ASA
guideline of 2022, doi 10.1161/STR.0000000000000407).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..common.clinical_variables import LOCATIONS, VARIABLES
from ..common.errors import InputError
from ..common.numbers import as_shown
from ..common.translation import joined
from ..common.translation import tr as _

ICH_MORTALITY_PERCENT = (0.0, 13.0, 26.0, 72.0, 97.0, 100.0)
"""30-day mortality for ICH scores of 0 to 5; nobody in the derivation cohort had 6."""
GUIDELINE = _("AHA/ASA guideline of 2022")
CEREBELLAR_ML = 15.0
SUPRATENTORIAL_ML = (20.0, 30.0)
_NUMBERS = ("age", "gcs", "nihss", "onset_hours")
_FLAGS = ("ivh", "anticoagulation", "cognitive_impairment")
_WORDS = {name: variable.words for name, variable in VARIABLES.items()}
SEXES = ("M", "F")


@dataclass(frozen=True)
class ClinicalContext:
    """Clinical data of the patient; None if unknown.

    Attributes
    ----------
    age : float or None
        Years, 0 to 120.
    gcs : int or None
        Glasgow Coma Scale, 3 to 15.
    nihss : int or None
        National Institutes of Health Stroke Scale, 0 to 42.
    location : str or None
        One of `LOCATIONS`.
    ivh, anticoagulation, cognitive_impairment : bool or None
        Blood in the ventricles; oral anticoagulation; cognitive impairment before the hemorrhage.
    sex : str or None
        "M" or "F"; not used by the scores, but by some models.
    onset_hours : float or None
        From onset to scan, from 0; not used by the scores, but by some models.

    Raises
    ------
    InputError
        If a value is impossible.
    """

    age: float | None = None
    gcs: int | None = None
    nihss: int | None = None
    location: str | None = None
    ivh: bool | None = None
    anticoagulation: bool | None = None
    cognitive_impairment: bool | None = None
    sex: str | None = None
    onset_hours: float | None = None

    def __post_init__(self):
        for name in _NUMBERS:
            value, variable = getattr(self, name), VARIABLES[name]
            if value is not None and not _is_number(value, variable.low, variable.high, variable.whole):
                raise InputError(
                    _("The {variable} is impossible: expected {expected}, found {value!r}.").format(
                        variable=variable.words, expected=variable.expected(), value=value
                    )
                )
        if self.location is not None and self.location not in LOCATIONS:
            raise InputError(
                _("The location is unknown: expected one of {locations}, found {location!r}.").format(
                    locations=", ".join(LOCATIONS), location=self.location
                )
            )
        for name in _FLAGS:
            value = getattr(self, name)
            if value is not None and value not in (0, 1):
                raise InputError(
                    _("The field {field} must be yes or no (true or false), found {value!r}.").format(
                        field=_WORDS[name], value=value
                    )
                )

        if self.sex is not None and self.sex not in SEXES:
            raise InputError(
                _("The sex is unknown: expected one of {sexes}, found {sex!r}.").format(
                    sexes=", ".join(SEXES), sex=self.sex
                )
            )

    @property
    def known(self) -> dict[str, object]:
        """The known values, by name."""
        return {name: getattr(self, name) for name in _WORDS if getattr(self, name) is not None}

    @property
    def is_empty(self) -> bool:
        """Whether all values are unknown."""
        return not self.known


def _is_number(value, low, high, whole):
    try:
        value = float(value)
    except (TypeError, ValueError):
        return False
    return math.isfinite(value) and low <= value <= high and (not whole or value == int(value))


@dataclass(frozen=True)
class ClinicalScore:
    """One score.

    Attributes
    ----------
    name : str
    points : int or None
        None if a value is missing.
    points_range : (int, int) or None
        Fewest and most points over the volume interval; None without points or interval.
    maximum : int
        Maximum of the score.
    missing : tuple of str
        Unknown values that the score needs.
    outcome : str
        Outcome of patients with these points, with the published rate; empty without points.
    outcome_percent : float or None
        The rate as a number, if published.
    source : str
    notes : tuple of str
        How the volume interval affects the score; the points for each GCS if only the GCS is missing.
    """

    name: str
    points: int | None
    points_range: tuple | None
    maximum: int
    missing: tuple
    outcome: str
    outcome_percent: float | None
    source: str
    notes: tuple = ()


def clinical_scores(
    context: ClinicalContext, volume_ml: float, interval_ml: tuple[float, float] | None = None
) -> tuple[ClinicalScore, ...]:
    """ICH score, max-ICH and FUNC.

    Parameters
    ----------
    context : ClinicalContext
    volume_ml : float
    interval_ml : (float, float), optional
        Interval of the volume.

    Returns
    -------
    tuple of ClinicalScore

    Raises
    ------
    InputError
        If the volume is not a number of at least 0.
    """
    return tuple(score(context, volume_ml, interval_ml) for score in (ich_score, max_ich_score, func_score))


def ich_score(
    context: ClinicalContext, volume_ml: float, interval_ml: tuple[float, float] | None = None
) -> ClinicalScore:
    """ICH score, 0 to 6, with the 30-day mortality of its derivation cohort.

    Parameters and errors as in `clinical_scores`.

    Returns
    -------
    ClinicalScore

    References
    ----------
    Hemphill et al. 2001, Stroke 32:891.
    """
    found = _score(
        _("ICH score"), 6, ("age", "gcs", "location", "ivh"), _ich_points, _ich_outcome,
        "Hemphill et al. 2001, Stroke 32:891", (30.0,), context, volume_ml, interval_ml,
    )  # fmt: skip
    if found.missing != (_WORDS["gcs"],):
        return found
    alert = ich_score(replace(context, gcs=15), volume_ml, interval_ml)
    words = _("It is {least} with a GCS of 13 to 15, {middle} with 5 to 12, {most} with 3 or 4.")
    notes = [words.format(least=alert.points, middle=alert.points + 1, most=alert.points + 2)]
    if alert.notes:
        words = _("The volume interval {interval} straddles 30 mL: one point {more} is possible.")
        more = _("less") if alert.points_range[0] < alert.points else _("more")
        notes.append(words.format(interval=_span(interval_ml), more=more))
    return replace(found, notes=tuple(notes))


def max_ich_score(
    context: ClinicalContext, volume_ml: float, interval_ml: tuple[float, float] | None = None
) -> ClinicalScore:
    """max-ICH score, 0 to 10, with the 5-year survival of 1022 maximally treated patients.

    A bleed in one location gives at most 9 points. Parameters and errors as in `clinical_scores`.

    Returns
    -------
    ClinicalScore

    References
    ----------
    Sembill et al. 2017, Neurology 89:423; Mrochen et al. 2025, Ann Clin Transl Neurol 12:1144, doi 10.1002/acn3.70048.
    """
    limit = 30.0 if context.location == "lobar" else 10.0
    return _score(
        "max-ICH", 10, ("age", "nihss", "location", "ivh", "anticoagulation"), _max_ich_points, _max_ich_outcome,
        _("Sembill et al. 2017, Neurology 89:423; survival: Mrochen et al. 2025, Ann Clin Transl Neurol 12:1144"),
        (limit,), context, volume_ml, interval_ml,
    )  # fmt: skip


def func_score(
    context: ClinicalContext, volume_ml: float, interval_ml: tuple[float, float] | None = None
) -> ClinicalScore:
    """FUNC score, 0 to 11; more points mean a better outcome.

    Rates are from the paper's figure, for all patients and for survivors at 90 days, as calculators reprint them
    (QxMD calculator 117 has those of the survivors); its abstract states 0 % up to 4 points and above 80 % for 11.

    Parameters and errors as in `clinical_scores`.

    Returns
    -------
    ClinicalScore

    References
    ----------
    Rost et al. 2008, Stroke 39:2304.
    """
    return _score(
        "FUNC", 11, ("age", "gcs", "location", "cognitive_impairment"), _func_points, _func_outcome,
        "Rost et al. 2008, Stroke 39:2304", (30.0, math.nextafter(60.0, math.inf)), context, volume_ml, interval_ml,
    )  # fmt: skip


def ich_points(gcs: int, volume_ml: float, ivh: bool, infratentorial: bool, age: float) -> int:
    """Points of the ICH score, 0 to 6 (Hemphill et al. 2001, Stroke 32:891)."""
    consciousness = 2 if gcs <= 4 else 1 if gcs <= 12 else 0
    return consciousness + int(volume_ml >= 30) + int(bool(ivh)) + int(bool(infratentorial)) + int(age >= 80)


def _ich_points(c, ml):
    return ich_points(c.gcs, ml, c.ivh, LOCATIONS[c.location] == "infratentorial", c.age)


def _ich_outcome(points):
    if points == 6:
        return _("30-day mortality not known: no patient of the derivation cohort had 6 points"), None
    percent = ICH_MORTALITY_PERCENT[points]
    return _("30-day mortality {percent:.0f} %").format(percent=percent), percent


def _max_ich_points(c, ml):
    severity = sum(c.nihss >= limit for limit in (7, 14, 21))
    age = sum(c.age >= limit for limit in (70, 75, 80))
    return severity + age + bool(c.ivh) + bool(c.anticoagulation) + (ml >= (30 if c.location == "lobar" else 10))


def _max_ich_outcome(points):
    percent = (85.0, 91.0, 69.0, 59.0, 47.0, 32.0, 29.0, 18.0, 0.0)[min(points, 8)]
    return _("5-year survival with maximal treatment {percent:.0f} %").format(percent=percent), percent


def _func_points(c, ml):
    volume = 4 if ml < 30 else 2 if ml <= 60 else 0
    age = 2 if c.age < 70 else 1 if c.age < 80 else 0
    location = {"lobar": 2, "deep": 1, "infratentorial": 0}[LOCATIONS[c.location]]
    return volume + age + location + (2 if c.gcs >= 9 else 0) + (not c.cognitive_impairment)


def _func_outcome(points):
    if points <= 4:
        return _("functional independence after 90 days 0 %"), 0.0
    percent, of_survivors = {8: (42.0, 48), 9: (66.0, 75), 10: (66.0, 75), 11: (82.0, 95)}.get(points, (13.0, 29))
    words = _("functional independence after 90 days {percent:.0f} % ({survivors} % of survivors)")
    return words.format(percent=percent, survivors=of_survivors), percent


def _score(name, maximum, needs, points, outcome, source, limits, context, volume_ml, interval_ml):
    """A score whose points depend on the volume only through the thresholds `limits`, in mL."""
    volume_ml, interval_ml = _as_shown(volume_ml, interval_ml)
    missing = tuple(_WORDS[need] for need in needs if getattr(context, need) is None)
    if missing:
        return ClinicalScore(name, None, None, maximum, missing, "", None, source)
    value = int(points(context, volume_ml))
    words, percent = outcome(value)
    if interval_ml is None:
        return ClinicalScore(name, value, None, maximum, (), words, percent, source)
    low, high = sorted(int(points(context, ml)) for ml in interval_ml)
    notes = ()
    if low < high:
        inside = _both(
            _("{first} and {second}"), [f"{limit:g}" for limit in limits if interval_ml[0] < limit <= interval_ml[1]]
        )
        outcomes = _both(_("{first} to {second}"), list(dict.fromkeys(outcome(n)[0] for n in (low, high))))
        note = _("The volume interval {interval} straddles {limits} mL: {low} to {high} points ({outcomes}).")
        interval = _span(interval_ml)
        notes = (note.format(interval=interval, limits=inside, low=low, high=high, outcomes=outcomes),)
    return ClinicalScore(name, value, (low, high), maximum, (), words, percent, source, notes)


def _both(words, texts):
    """One text, or two of them in a sentence's words."""
    return texts[0] if len(texts) == 1 else words.format(first=texts[0], second=texts[1])


def alerts(
    context: ClinicalContext, volume_ml: float, interval_ml: tuple[float, float] | None = None
) -> tuple[str, ...]:
    """Volume thresholds of the guideline that the hematoma reaches, by location and GCS; never treatment advice.

    The AHA/ASA guideline of 2022 (doi 10.1161/STR.0000000000000407) names 15 mL for the cerebellum, and more than 20 to
    30 mL with GCS 5 to 12 for supratentorial hematomas; it names no volume for the brainstem.

    Parameters
    ----------
    context : ClinicalContext
    volume_ml : float
    interval_ml : (float, float), optional

    Returns
    -------
    tuple of str

    Raises
    ------
    InputError
        If the volume is not a number of at least 0.
    """
    volume_ml, interval_ml = _as_shown(volume_ml, interval_ml)
    if context.location is None:
        if max((volume_ml, *(interval_ml or ()))) < CEREBELLAR_ML:
            return ()
        return (_("The location is not given; the volume thresholds of the guideline depend on it."),)
    if context.location == "cerebellum":
        return _cerebellar_alert(volume_ml, interval_ml)
    if context.location == "brainstem":
        return ()
    least, most = SUPRATENTORIAL_ML
    if max((volume_ml, *(interval_ml or ()))) <= least:
        return ()
    if context.gcs is None:
        words = _(
            "Supratentorial hematoma that may exceed {least:g} mL: the {guideline} names {least:g} to {most:g} mL "
            "together with a GCS of 5 to 12; the GCS is not given."
        )
        return (words.format(least=least, most=most, guideline=GUIDELINE),)
    if not 5 <= context.gcs <= 12:
        return ()
    if volume_ml > most:
        relation = _("{volume:.1f} mL is above")
    elif volume_ml > least:
        relation = _("{volume:.1f} mL is within")
    else:
        relation = _("{volume:.1f} mL is below, but its interval {interval} reaches")
    span = _span(interval_ml) if interval_ml is not None else ""
    sentence = _(
        "Supratentorial hematoma with GCS {gcs:g}: {relation} the 20 to 30 mL from which the {guideline} discusses "
        "minimally invasive evacuation for a GCS of 5 to 12. This states the volume; it is not treatment advice."
    ).format(gcs=context.gcs, relation=relation.format(volume=volume_ml, interval=span), guideline=GUIDELINE)
    if volume_ml > least and interval_ml is not None and interval_ml[0] <= least:
        below = _("The interval {interval} reaches 20 mL or less.").format(interval=span)
        return (joined(" ", (sentence, below)),)
    return (sentence,)


def _cerebellar_alert(volume_ml, interval_ml):
    limit, advice = CEREBELLAR_ML, _("This states the volume; it is not treatment advice.")
    reference = _("the {limit:g} mL from which the {guideline} discusses evacuation of a cerebellar hematoma").format(
        limit=limit, guideline=GUIDELINE
    )
    span = _span(interval_ml) if interval_ml is not None else ""
    if volume_ml >= limit:
        sentences = [
            _("{volume:.1f} mL is at or above {reference}.").format(volume=volume_ml, reference=reference),
            advice,
        ]
        if interval_ml is not None and interval_ml[0] < limit:
            sentences.append(_("The interval {interval} reaches below it.").format(interval=span))
        return (joined(" ", sentences),)
    if interval_ml is not None and interval_ml[1] >= limit:
        words = _("{volume:.1f} mL is below {reference}, but its interval {interval} reaches it.")
        sentence = words.format(volume=volume_ml, reference=reference, interval=span)
        return (joined(" ", (sentence, advice)),)
    return ()


def _span(interval_ml):
    return _("{low:.1f} to {high:.1f} mL").format(low=interval_ml[0], high=interval_ml[1])


def _as_shown(volume_ml, interval_ml):
    """The volumes that are shown: a bleed that reads 30.0 mL has the points of one of 30 mL."""
    for ml in (volume_ml, *(interval_ml or ())):
        if not _is_number(ml, 0, math.inf, False):
            raise InputError(
                _("The hematoma volume is impossible: expected 0 mL or more, found {volume!r}.").format(volume=ml)
            )
    return as_shown(volume_ml), interval_ml and tuple(map(as_shown, interval_ml))
