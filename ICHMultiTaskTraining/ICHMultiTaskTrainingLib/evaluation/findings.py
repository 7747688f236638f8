"""Accuracy of the findings other than the volume: location, side, and intraventricular blood."""

from __future__ import annotations

import numpy as np

from ICHMultiTaskLib.analysis.findings.finding import Findings
from ICHMultiTaskLib.comparison.statistics import count_patients
from ICHMultiTaskLib.measures.clinical_scores import LOCATIONS

from ..data.manifest import Row

COLUMNS = ("location", "side", "ivh", "found_location", "found_side", "found_ivh")
"""Columns of `predictions.csv`: reference values of the manifest, and findings."""
INFRATENTORIAL = "infratentorial"


def true_findings(row: Row) -> dict:
    """Reference values in a row of the manifest; its columns `location`, `side` and `ivh` are optional."""
    return {name: row.extra.get(name) or None for name in ("location", "side", "ivh")}


def found_findings(findings: Findings | None) -> dict:
    """Findings, as columns of `predictions.csv`."""
    values = {item.name: item.value for item in findings.items} if findings else {}
    return {
        "found_location": values.get("location"),
        "found_side": values.get("side"),
        "found_ivh": None if "ivh" not in values else int(values["ivh"]),
    }


def findings_metrics(records: list[dict]) -> dict | None:
    """Compare findings with the manifest.

    Parameters
    ----------
    records : list of dict
        Rows of `predictions.csv`.

    Returns
    -------
    dict or None
        None if the manifest has no reference values. `patients` with a detected bleed and a reference location and, if
        some have several, `scans`; `told`: number of scans with a proposed location; shares of correct proposals:
        `location` (putamen, thalamus
        and caudate count as deep), `infratentorial`, and `side` among bleeds off the midline; `ivh_sensitivity`,
        `ivh_specificity`.
    """
    found = [r for r in records if r.get("hemorrhage") == "found" and r.get("location") in LOCATIONS]
    located = [record for record in found if record["found_location"]]
    if not found:
        return None
    sided = [record for record in located if record["side"] in ("left", "right")]
    broad = [_broad(record["location"]) for record in located]
    bled = [record for record in located if record["ivh"] in ("0", "1", 0, 1)]

    def of_ventricles(truth):
        return _share(bool(r["found_ivh"]) == bool(truth) for r in bled if int(r["ivh"]) == truth)

    return {
        **count_patients(np.ones(len(found), bool), [record["patient_id"] for record in found]),
        "told": len(located),
        "location": _share(record["found_location"] == place for record, place in zip(located, broad, strict=True)),
        "infratentorial": _share(
            (LOCATIONS[record["found_location"]] == INFRATENTORIAL) == (LOCATIONS[record["location"]] == INFRATENTORIAL)
            for record in located
        ),
        "side": _share(record["found_side"] == record["side"] for record in sided),
        "ivh_sensitivity": of_ventricles(1),
        "ivh_specificity": of_ventricles(0),
    }


def _broad(location):
    return location if LOCATIONS[location] == INFRATENTORIAL else LOCATIONS[location]


def _share(right):
    right = list(right)
    return float(np.mean(right)) if right else None
