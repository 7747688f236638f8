"""Assign the columns of a cohort's table to the reference, the model, methods and raters; read their volumes."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..common.tables import plain_name, read_csv
from ..common.translation import joined
from ..common.translation import tr as _
from .cohort_checks import UNIT_SUFFIX, check_intervals, check_points, check_sizes, check_unit
from .cohort_table import Tables, detect, listed, missing_column, plain_volume, read_tables

UNITS = {"ml": 1.0, "mm3": 1e-3}
LARGEST_ML = 2000.0
"""More than fits into a head: a larger number is in the wrong unit, or a typo."""

REFERENCE = (
    "reference_ml", "reference_volume_ml", "ground_truth_ml", "gold_standard_ml", "reference", "reference_volume",
    "ground_truth", "ground_truth_volume_ml", "ground_truth_volume", "gold_standard", "manual_ml", "manual_volume_ml",
    "manual", "true_volume_ml", "volume_ml",
)  # fmt: skip
MODEL = ("predicted_volume_ml", "model_ml", "model_volume_ml", "model", "predicted_ml", "prediction_ml", "prediction")
INTERVAL = ("interval_low_ml", "interval_high_ml")
EXPERIENCE = re.compile(r"[ _(\[,-]*(?<![\d.])(\d+(?:\.\d+)?)[ _-]*(?:years?|yrs?|y)(?![a-z])[)\]]?", re.IGNORECASE)
RATER = re.compile(r"(rater|reader|clinician|observer|radiologist|surgeon)[ _-]*(\d+|[a-z])", re.IGNORECASE)
METHOD = re.compile(r"(^|_)(abc|sh)(_|$|\d)|_ml$|_volume$")
_AMBIGUOUS = re.compile(r"abc_?2(_(m?l|volume))*")
OTHER_VOLUME = re.compile(r"^interval|ivh|edema|growth|difference|error")
"""Columns in mL that are not volumes of the hematoma."""
MISSING = {"", "na", "n/a", "nan", "none", "null", "-", "–", "."}


@dataclass(frozen=True)
class Method:
    """A column of volumes that is compared with the reference.

    Attributes
    ----------
    name : str
        For display.
    kind : str
        "model", "method" or "rater".
    column : str
        Name in the table.
    volumes_ml : ndarray of shape (N,)
        NaN if missing.
    experience_years : float or None
        Of a rater.
    interval_ml : tuple of two ndarray of shape (N,), or None
        Bounds of a model's interval.
    """

    name: str
    kind: str
    column: str
    volumes_ml: np.ndarray
    experience_years: float | None = None
    interval_ml: tuple | None = None


@dataclass(frozen=True)
class Cohort:
    """Volumes of the patients with a reference.

    Attributes
    ----------
    patients : tuple of str
    reference_ml : ndarray of shape (N,)
    methods : tuple of Method
        First the one that the others are tested against, such as the model; then methods, then raters.
    simulated : int
        Number of simulated patients.
    columns : dict
        `reference`, `model`, `methods`, `raters`: columns with these roles; `not_used`: all others.
    warnings : tuple of str
    """

    patients: tuple
    reference_ml: np.ndarray
    methods: tuple
    simulated: int
    columns: dict
    warnings: tuple


def read_cohort(
    tables: Tables, patient: str | None = None, reference: str | None = None, model: str | None = None,
    methods: Sequence[str] | None = None, raters: Sequence[str] | None = None, method_column: str | None = None,
    volume_column: str | None = None, experience: str | os.PathLike | Mapping[str, float] | None = None,
    unit: str = "ml", complete: bool = False,
) -> Cohort:  # fmt: skip
    """Read the volumes of a cohort; see `compare_cohort` for the parameters.

    Returns
    -------
    Cohort

    Raises
    ------
    InputError
        If a table cannot be read, a column is missing, a patient has two different values, or no patient has both a
        reference and another volume.
    """
    if unit not in UNITS:
        raise InputError(
            _("Unknown unit of volumes: expected one of {units}, found {unit!r}.").format(
                units=", ".join(UNITS), unit=unit
            )
        )
    if (method_column is None) != (volume_column is None):
        raise InputError(_("A long table needs both: the column that names the method and the one with its volumes."))
    table = read_tables(tables, patient, method_column, volume_column)
    columns, warnings = _assign(table, reference, model, methods, raters), table.warnings
    kinds = _kinds(columns)
    check_unit(unit, (columns["reference"], *kinds))
    volumes = {name: _volumes(table, name, unit) for name in (columns["reference"], *kinds)}
    check_sizes(columns["reference"], volumes)
    check_points(unit, [text for name in volumes for text, _place in table.cells[name].values()])
    patients = _patients(table.patients, volumes, columns["reference"], complete, warnings)

    def array(found):
        return np.array([found.get(name, np.nan) for name in patients], dtype=float)

    intervals = {}
    if set(INTERVAL) <= set(table.cells) and (predicted := detect(MODEL, list(kinds))):
        bounds = [_volumes(table, name, unit, -math.inf) for name in INTERVAL]
        intervals[predicted] = tuple(array(bound) for bound in bounds)
        check_intervals(INTERVAL, patients, *intervals[predicted])
    warnings += [
        _(
            "{name} is used as named in the table, which does not say whether C is the full height (Tada) "
            "or weighted by the slices' areas (Kothari); both are called ABC/2."
        ).format(name=name)
        for name in columns["methods"]
        if _AMBIGUOUS.fullmatch(plain_name(name))
    ]
    years = _experience(experience, columns["raters"])
    shown = _shown_names(kinds, years)
    built = tuple(
        Method(shown[name], kind, name, array(volumes[name]), years.get(name), intervals.get(name))
        for name, kind in kinds.items()
    )
    warnings += _count_warnings({method.name: int(np.isfinite(method.volumes_ml).sum()) for method in built})
    marks = table.cells.get("simulated", {})
    simulated = sum(marks.get(name, ("", ""))[0].casefold() in ("1", "true") for name in patients)
    reference_ml = array(volumes[columns["reference"]])
    return Cohort(tuple(patients), reference_ml, built, simulated, columns, tuple(warnings))


def _kinds(columns):
    """Kind of `Method` of each column that is compared with the reference, in their order."""
    compared = dict.fromkeys(filter(None, (columns["model"], *columns["methods"], *columns["raters"])))
    models = columns["model"], detect(MODEL, list(compared))
    return {
        name: "rater" if name in columns["raters"] else "model" if name in models else "method" for name in compared
    }


def _patients(all_patients, volumes, reference, complete, warnings):
    """Patients with a reference volume, and with all others if `complete`; appends to `warnings` who is left out."""
    patients = [name for name in all_patients if name in volumes[reference]]
    if len(patients) < len(all_patients):
        warnings.append(
            _("{count} of {patients} patients have no reference volume ({reference}) and are left out.").format(
                count=len(all_patients) - len(patients), patients=len(all_patients), reference=reference
            )
        )
    if complete:
        whole = [name for name in patients if all(name in found for found in volumes.values())]
        if len(whole) < len(patients):
            warnings.append(
                _("{count} of {patients} patients lack a volume and are left out.").format(
                    count=len(patients) - len(whole), patients=len(patients)
                )
            )
        patients = whole
    compared = [column for column in volumes if column != reference]
    if not any(name in volumes[column] for column in compared for name in patients):
        none = (
            _(
                "Nothing can be compared: expected patients with a reference volume ({reference}) and all of "
                "{columns}, found none."
            )
            if complete
            else _(
                "Nothing can be compared: expected patients with a reference volume ({reference}) and one of "
                "{columns}, found none."
            )
        )
        raise InputError(joined(" ", (none.format(reference=reference, columns=", ".join(compared)), *warnings[:3])))
    return patients


def _count_warnings(counts):
    """What to say of methods with volumes of few or no patients; `counts` are by the shown name."""
    empty = [name for name, count in counts.items() if not count]
    if empty:
        yield _("No volume of any patient with a reference: {empty}.").format(empty=", ".join(empty))
    if len(set(counts.values()) - {0}) > 1:
        yield _(
            "The methods have volumes of {fewest} to {most} patients, so their rows are of different "
            "patients. The paired tests use patients with both volumes; the option for complete "
            "patients uses the same patients in all rows."
        ).format(fewest=min(filter(None, counts.values())), most=max(counts.values()))


def _assign(table, reference, model, methods, raters):
    """Use the columns that were named; recognize the others by their names."""
    columns = list(table.cells)
    wide = [name for name in columns if name not in table.methods]
    for role, names in (("reference", [reference]), ("model", [model]), ("method", methods), ("rater", raters)):
        for name in names or ():
            if name is not None and name not in columns:
                raise InputError(
                    _("There is no column {name!r} for the {role}: found {columns}.").format(
                        name=name, role=role, columns=", ".join(columns)
                    )
                )
    reference = reference or detect(REFERENCE, wide) or missing_column("reference", REFERENCE, columns)
    if model == reference:
        raise InputError(
            _("{reference} is named as the reference and as the model: expected two columns.").format(
                reference=reference
            )
        )
    rest = [name for name in columns if name != reference]
    model = model or detect(MODEL, [name for name in wide if name != reference])
    if raters is None:
        raters = sorted((name for name in rest if _rater(name)), key=_natural)
    raters = [name for name in dict.fromkeys(raters) if name != reference]
    if methods is None:
        methods = [name for name in rest if name in table.methods or _is_volume(table, name)]
    methods = [name for name in dict.fromkeys(methods) if name not in (reference, model, *raters)]
    if not (model or methods or raters):
        raise InputError(
            _(
                "There is nothing to compare with {reference}: expected columns of a model, methods or "
                "raters, or options that name them; found {columns}."
            ).format(reference=reference, columns=", ".join(columns))
        )
    used = {reference, model, *methods, *raters, *INTERVAL, "simulated"}
    return {
        "reference": reference, "model": model, "methods": methods, "raters": raters,
        "not_used": [name for name in columns if name not in used],
    }  # fmt: skip


def _is_volume(table, name):
    plain = plain_volume(name)
    named_so = METHOD.search(plain) and not OTHER_VOLUME.search(plain) and plain not in REFERENCE
    return bool(named_so) and any(table.number(text) is not None for text, _ in table.cells[name].values())


def _volumes(table, name, unit, smallest=0.0):
    """Volumes in mL by patient; other values are left out with a warning."""
    if name in table.conflicts:
        raise InputError(
            _(
                "{name} must be one number per patient: {listed}. Correct the table, name the columns that "
                "identify a patient's scans or, if each method has its own row, name the method's column."
            ).format(name=name, listed=listed(table.conflicts[name], 3))
        )
    volumes, problems = {}, []
    for patient, (text, place) in table.cells[name].items():
        if text.casefold() in MISSING:
            continue
        number = table.number(text)
        if number is None:
            problems.append(_("{place}, {name}: {value!r} is not a number").format(place=place, name=name, value=text))
        elif number < smallest:
            problems.append(_("{place}, {name}: {value} is negative").format(place=place, name=name, value=text))
        elif number * UNITS[unit] > LARGEST_ML:
            words = _("{place}, {name}: {volume:.0f} mL is more than fits into a head")
            if unit == "ml":
                words = _("{place}, {name}: {volume:.0f} mL is more than fits into a head, or is it in mm³?")
            problems.append(words.format(place=place, name=name, volume=number * UNITS[unit]))
        else:
            volumes[patient] = number * UNITS[unit]
    if problems:
        table.warnings.append(_("Left out: {listed}.").format(listed=listed(problems)))
    return volumes


def _experience(source, raters):
    """Years of experience by column, from the names of raters and from `source`."""
    years = {name: float(found[1]) for name in raters if (found := EXPERIENCE.search(name))}
    if source is None:
        return years
    if not hasattr(source, "items"):
        table = read_csv(source)
        header = [plain_name(cell) for cell in table.header]
        if not {"rater", "years"} <= set(header):
            raise InputError(
                _("The table of experience needs the columns rater, years: found {header} in {source}.").format(
                    header=", ".join(table.header), source=source
                )
            )
        rater, number = header.index("rater"), header.index("years")
        source = {row[rater]: row[number] for _, row in table.rows}
    for name, value in source.items():
        column = next((r for r in raters if plain_name(name) in (plain_name(r), plain_name(_rater(r) or ""))), None)
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = -1.0
        if column is None or not 0 <= number < 100:
            raise InputError(
                _(
                    "Experience must be given in years for raters of the table: expected one of {raters} "
                    "and a number, found {name!r} and {value!r}."
                ).format(raters=", ".join(raters), name=name, value=value)
            )
        years[column] = number
    return years


def _shown_names(kinds, years):
    shown = {}
    for column, kind in kinds.items():
        name = _rater(column) if kind == "rater" else "Model" if detect(MODEL, [column]) and kind == "model" else None
        name = name or UNIT_SUFFIX.sub("", column) or column
        if column in years and not EXPERIENCE.search(name):
            name += f" ({years[column]:g} year{'' if years[column] == 1 else 's'})"
        shown[column] = column if name in shown.values() else name
    return shown


def _rater(column):
    """The name of a rater, such as "Rater 1", if the column is named like one."""
    found = RATER.fullmatch(UNIT_SUFFIX.sub("", EXPERIENCE.sub("", column)).strip(" _"))
    return f"{found[1].capitalize()} {found[2].upper()}" if found else None


def _natural(name):
    return [(int(part), "") if part.isdigit() else (0, part.casefold()) for part in re.split(r"(\d+)", name)]
