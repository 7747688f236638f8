"""Comparison of a cohort: volumes of a model, of formulas and of raters with reference volumes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from ..common.translation import tr as _
from .cohort_columns import Cohort, read_cohort
from .cohort_table import Tables
from .statistics import compare_errors, holm, icc, mean_where, plain, volume_metrics, with_intervals

RESAMPLES = 2000


@dataclass(frozen=True)
class CohortComparison:
    """Agreement of each method with the reference, and of the methods with one another.

    Attributes
    ----------
    cohort : Cohort
        The volumes, the columns they were read from, and warnings.
    rows : tuple of dict
        For each method, `against` first and raters last: `name`, `kind` ("model", "method" or "rater"), `column`,
        `experience_years`, `patients_above_0` (patients with a reference above 0, whom the percentages refer to), the
        metrics of `ICHMultiTaskLib.comparison.statistics.volume_metrics`, and their `intervals_95`.
    against : str
        The method that the others are tested against.
    tests : tuple of dict
        For each other method: `name`, the result of `compare_errors` of it (first) and `against` (second), and
        `wilcoxon_p_holm`, `mcnemar_p_holm`, corrected for the number of methods.
    raters : dict or None
        With two raters or more: `names`; `icc`, `mae_ml` and `patients` of each pair, as lists of lists with None on
        the diagonal; `icc_all` of all raters, `icc_all_interval` and `patients_all`, the patients with every rater.
    seed, resamples : int
        Of the bootstrap; the resamples are the same for all methods.
    """

    cohort: Cohort
    rows: tuple
    against: str
    tests: tuple
    raters: dict | None
    seed: int
    resamples: int

    def as_dict(self) -> dict:
        """Content of report.json."""
        reference = self.cohort.reference_ml
        return {
            "patients": len(self.cohort.patients),
            "simulated": self.cohort.simulated,
            "reference": {
                "column": self.cohort.columns["reference"],
                "median_ml": float(np.median(reference)),
                "lowest_ml": float(reference.min()),
                "highest_ml": float(reference.max()),
                "patients_above_0": int((reference > 0).sum()),
                "patients_from_30_ml": int((reference >= 30).sum()),
            },
            "rows": list(self.rows),
            "against": self.against,
            "tests": list(self.tests),
            "raters": self.raters,
            "columns": self.cohort.columns,
            "bootstrap": {"resamples": self.resamples, "seed": self.seed, "coverage": 0.95},
            "warnings": list(self.cohort.warnings),
        }


def compare_cohort(
    tables: Tables, *, patient: str | None = None, reference: str | None = None, model: str | None = None,
    methods: Sequence[str] | None = None, raters: Sequence[str] | None = None, method_column: str | None = None,
    volume_column: str | None = None, experience: str | os.PathLike | Mapping[str, float] | None = None,
    unit: str = "ml", complete: bool = False, seed: int = 0, resamples: int = RESAMPLES,
) -> CohortComparison:  # fmt: skip
    """Compare the volumes of a cohort with reference volumes.

    Parameters
    ----------
    tables : path, sequence of path, or mapping of str to sequence
        CSV, as spreadsheets write it, with one row per patient, or columns of such a table. Several tables, such
        as a manifest with raters and `predictions.csv` of an evaluation, are joined by patient.
    patient : str, optional
        Column that identifies the patient; several columns, separated by commas, if one does not identify patients.
    reference, model : str, optional
        Columns of the reference volumes, and of the method that the others are tested against (default: the model's,
        else the first method). In a long table `model` is one of the names in `method_column`.
    methods, raters : sequence of str, optional
        Columns of other volumes (in a long table: names in `method_column`), instead of those recognized by name:
        `rater_1`, `Reader A`, …; names that end in mL or that contain ABC or Sh.
    method_column, volume_column : str, optional
        In a long table, which has a row for each patient and method: the columns of the method's name and volume.
    experience : path or mapping of str to float, optional
        Years of experience by rater, or a CSV file with the columns rater, years. Column names such as
        "rater_1 (8 years)" are also recognized.
    unit : {"ml", "mm3"}
        Of all volumes.
    complete : bool
        Use only patients with every volume, so that all rows are of the same patients.
    seed, resamples : int
        Of the bootstrap.

    Returns
    -------
    CohortComparison

    Raises
    ------
    InputError
        If a table cannot be read, a column is missing, a patient has two different values, no patient has both a
        reference and another volume, or `resamples` is below 100.
    """
    if resamples < 100:
        raise InputError(
            _("There are too few bootstrap resamples: expected at least 100, found {resamples}.").format(
                resamples=resamples
            )
        )
    cohort = read_cohort(
        tables, patient, reference, model, methods, raters, method_column, volume_column, experience, unit, complete
    )
    return compare(cohort, seed, resamples)


def compare(cohort: Cohort, seed: int = 0, resamples: int = RESAMPLES) -> CohortComparison:
    """Compare volumes that were already read.

    Parameters
    ----------
    cohort : Cohort
    seed, resamples : int

    Returns
    -------
    CohortComparison
    """
    reference = cohort.reference_ml
    rows, tests = [], []
    for method in cohort.methods:
        bounds = method.interval_ml or ()
        metrics, intervals = volume_metrics(
            method.volumes_ml, reference, *bounds, seed=seed, resamples=resamples, patients=cohort.patients
        )
        rows.append({
            "name": method.name, "kind": method.kind, "column": method.column,
            "experience_years": method.experience_years,
            "patients_above_0": int((np.isfinite(method.volumes_ml) & (reference > 0)).sum()),
            **metrics, "intervals_95": intervals,
        })  # fmt: skip
    first, *others = cohort.methods
    for other in others:
        test = compare_errors(other.volumes_ml, first.volumes_ml, reference, seed, resamples, patients=cohort.patients)
        tests.append({"name": other.name, **test})
    for name in ("wilcoxon_p", "mcnemar_p"):
        for test, corrected in zip(tests, holm([test[name] for test in tests])):
            test[f"{name}_holm"] = corrected
    raters = [method for method in cohort.methods if method.kind == "rater"]
    return CohortComparison(
        cohort, tuple(rows), first.name, tuple(tests), _compare_raters(raters, seed, resamples), seed, resamples
    )


def _compare_raters(raters, seed, resamples):
    if len(raters) < 2:
        return None
    volumes = [rater.volumes_ml for rater in raters]

    def by_pair(function):
        return [[None if a is b else function(a, b) for b in volumes] for a in volumes]

    overall, interval = with_intervals(lambda *columns: {"icc": icc(*columns)}, volumes, {}, seed, resamples)
    return {
        "names": [rater.name for rater in raters],
        "icc": by_pair(lambda a, b: plain(icc(a, b))),
        "mae_ml": by_pair(lambda a, b: plain(mean_where(np.abs(a - b), np.isfinite(a - b)))),
        "patients": by_pair(lambda a, b: int(np.isfinite(a - b).sum())),
        "icc_all": overall["icc"],
        "icc_all_interval": interval["icc"],
        "patients_all": int(np.isfinite(np.stack(volumes)).all(0).sum()),
    }
