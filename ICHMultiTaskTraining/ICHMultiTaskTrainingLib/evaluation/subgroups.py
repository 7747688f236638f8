"""Accuracy in subgroups of patients, as TRIPOD+AI asks for: a model can be right on average and wrong for some."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ICHMultiTaskLib.common.clinical_variables import UNKNOWN, VARIABLES
from ICHMultiTaskLib.common.errors import InputError
from ICHMultiTaskLib.common.numbers import counted, number, percent, with_interval
from ICHMultiTaskLib.common.tables import aligned, parsed_number
from ICHMultiTaskLib.comparison.statistics import (
    SEVERE_ML,
    SMALL_ML,
    count_patients,
    divide,
    mean_where,
    with_intervals,
)
from ICHMultiTaskLib.model.calibration import MIN_PER_OUTCOME

from ..data.manifest import Row
from ..training.curves import has_enough_outcomes
from .metrics import auc

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ICHMultiTaskLib.analysis.result import Analysis

COLUMNS = ("age", "sex", "anticoagulation", "site", "scanner", "slice_mm")
"""Columns of `predictions.csv` for the subgroups, beside `volume_ml` and `location`."""
PROPERTIES = (
    ("volume", "volume_ml", (1e-9, SMALL_ML, SEVERE_ML), ("no hemorrhage", "below 5 mL", "5 to 30 mL", "from 30 mL")),
    ("location", "location", (), ()),
    ("slices", "slice_mm", (3.0 + 1e-6,), ("up to 3 mm", "above 3 mm")),
    ("scanner", "scanner", (), ()),
    ("site", "site", (), ()),
    ("sex", "sex", (0.5,), ("female", "male")),
    ("age", "age", (80.0,), ("below 80 years", "from 80 years")),
    ("anticoagulation", "anticoagulation", (0.5,), ("no", "yes")),
)
"""Name of each property, its column, lower limits of all groups but the first, and names of the groups; without limits,
each text is a group. The ICH score, too, counts from 80 years."""
MOST = 12
"""Sites, or scanners, that are shown; the smaller ones are counted together."""
EVERYONE, OTHERS, NOT_KNOWN = "all", "others", "not known"


def stated(row: Row) -> dict:
    """Columns of the manifest for the subgroups; None where there is no value."""
    values = {name: row.extra.get(name, "").strip() for name in COLUMNS}
    return {name: None if value.casefold() in UNKNOWN else value for name, value in values.items()}


def seen(record: dict, analysis: Analysis) -> dict:
    """Slice distance and scanner of the scan itself, where the manifest names none."""
    axis = analysis.prediction.network_input.axes[0]
    slice_mm, maker = analysis.head_ct.spacing_kji[axis], analysis.head_ct.facts.manufacturer
    return {"slice_mm": record["slice_mm"] or round(float(slice_mm), 2), "scanner": record["scanner"] or maker or None}


def subgroup_metrics(records: Sequence[dict], seed: int = 0) -> list[dict]:
    """Accuracy of all patients and of each subgroup.

    Parameters
    ----------
    records : sequence of dict
        Rows of `predictions.csv` with a prediction.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        The first is of all patients; then those of a property (`by`: "volume", "location", "slices", "scanner", "site",
        "sex", "age" or "anticoagulation"; a property that is the same for everybody, or not known, has none).
        `group`; `patients` and, if some have several, `scans`; `mae_ml`, `bias_ml`, `interval_coverage`; `deaths` and
        `prognoses` (patients who have one); `auc`, and `why_no_auc` (a text) if there are fewer than ten deaths or ten
        survivors; `intervals_95` of the metrics, by bootstrap over patients.
    """
    groups = {"": _places([EVERYONE] * len(records)), **_groupings(records)}
    return [
        {"by": by, "group": group, **_measured([records[n] for n in places], seed)}
        for by, grouping in groups.items()
        for group, places in grouping.items()
    ]


def subgroup_rows(subgroups: Sequence[dict]) -> list[tuple[str, ...]]:
    """The table as texts: property, subgroup, patients, MAE, bias, coverage, AUC; see `HEADINGS`."""
    rows = []
    for one in subgroups:
        bounds = one["intervals_95"]
        area = with_interval(one["auc"], bounds["auc"], 3)
        rows.append(
            (
                one["by"],
                one["group"],
                str(one["patients"]),
                with_interval(one["mae_ml"], bounds["mae_ml"], 1),
                number(one["bias_ml"], 1, sign=True),
                percent(one["interval_coverage"]),
                f"{area} {one['why_no_auc']}".strip() if one["why_no_auc"] else area,
            )
        )
    return rows


HEADINGS = ("by", "subgroup", "patients", "MAE, mL", "bias, mL", "coverage", "AUC")


def subgroup_text(subgroups: Sequence[dict]) -> str:
    """The table for the shell."""
    return "\n".join(aligned([HEADINGS, *subgroup_rows(subgroups)]))


def draw_subgroups(figure: Figure, subgroups: Sequence[dict]) -> None:
    """Draw a forest plot: MAE and AUC of each subgroup with their intervals, those of all as dashed lines."""
    areas = any(one["auc"] is not None for one in subgroups)
    panels = [("mae_ml", "Mean absolute error (mL)"), *([("auc", "AUC of the prognosis")] if areas else [])]
    places, at = [], 0.0
    for n, one in enumerate(subgroups):
        at += 1.0 + 0.6 * (n > 0 and one["by"] != subgroups[n - 1]["by"])
        places.append(at)
    labels = [": ".join(filter(None, (one["by"], one["group"]))) + f" ({one['patients']})" for one in subgroups]
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, title) in zip(all_axes, panels):
        for place, one in zip(places, subgroups):
            if one[name] is None:
                continue
            if one["intervals_95"][name]:
                axes.hlines(place, *one["intervals_95"][name], color="C0", linewidth=1.5)
            axes.plot(one[name], place, "D" if one["group"] == EVERYONE else "s", color="C0", markersize=5)
        if subgroups[0][name] is not None:
            axes.axvline(subgroups[0][name], color="0.6", linestyle="--", linewidth=1, zorder=0)
        axes.set(xlabel=title)
    all_axes[0].set(xlim=(0, None), ylim=(places[-1] + 0.7, places[0] - 0.7))
    all_axes[0].set_yticks(places, labels)


def _places(groups, order=()):
    """Indices of the records of each group, in the order of `order`, then by size."""
    found = {}
    for n, group in enumerate(groups):
        found.setdefault(NOT_KNOWN if group is None else group, []).append(n)
    rest = sorted(found.keys() - {*order, NOT_KNOWN}, key=lambda name: (-len(found[name]), name))
    for name in rest[MOST:]:
        found.setdefault(OTHERS, []).extend(found.pop(name))
    names = [*order, *rest[:MOST], OTHERS, NOT_KNOWN]
    return {name: found[name] for name in names if name in found}


def _groupings(records):
    """Groups by each property that divides the patients."""
    found = {}
    for by, column, edges, words in PROPERTIES:
        if edges:
            values = [_number(record, column) for record in records]
            groups = [None if v is None else words[bisect_right(edges, v)] for v in values]
        else:
            groups = [record.get(column) for record in records]
        found[by] = _places(groups, words)
    return {by: grouping for by, grouping in found.items() if len(grouping) > 1}


def _number(record, name):
    """A value of a record as a number; None where it is missing or none of the variable's values."""
    value = record.get(name)
    if name not in VARIABLES:
        return None if value is None else parsed_number(str(value), decimal_comma=True)
    try:
        return VARIABLES[name].number(value)
    except InputError:
        return None


def _measured(records, seed):
    columns = "predicted_volume_ml", "volume_ml", "interval_low_ml", "interval_high_ml"
    volumes = [_column(records, name) for name in columns]
    patients = np.array([record["patient_id"] for record in records])
    metrics, intervals = with_intervals(
        _volume, volumes, count_patients(np.ones(len(records), bool), patients), seed, patients=patients
    )
    probability, died = _column(records, "mortality_probability"), _column(records, "died")
    told = np.isfinite(probability)
    everyone, dead = (len(set(patients[which].tolist())) for which in (told, told & (died == 1)))
    metrics |= {"prognoses": everyone, "deaths": dead, "auc": None, "why_no_auc": ""}
    intervals["auc"] = None
    if not everyone:
        metrics["why_no_auc"] = "no prognosis"
    elif not has_enough_outcomes(everyone, dead):
        few, word = (dead, "death") if dead < MIN_PER_OUTCOME else (everyone - dead, "survivor")
        metrics["why_no_auc"] = f"{counted(few, word)}, {MIN_PER_OUTCOME} needed"
    else:
        area, bounds = with_intervals(
            lambda *both: {"auc": auc(*both)}, [probability[told], died[told]], {}, seed, patients=patients[told]
        )
        metrics |= area
        intervals |= bounds
    return metrics | {"intervals_95": intervals}


def _volume(predicted, true, low, high):
    known, bounded = np.isfinite(predicted), np.isfinite(low) & np.isfinite(high)
    inside = (true >= low) & (true <= high)
    return {
        "mae_ml": mean_where(np.abs(predicted - true), known),
        "bias_ml": mean_where(predicted - true, known),
        "interval_coverage": divide((inside & bounded).sum(-1), bounded.sum(-1)),
    }


def _column(records, name):
    return np.array([np.nan if record.get(name) is None else record[name] for record in records], float)
