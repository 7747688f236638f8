"""How often the second look correctly detects or excludes a hemorrhage."""

from __future__ import annotations

import numpy as np

from ICHMultiTaskLib.analysis.second_look import Hemorrhage
from ICHMultiTaskLib.comparison.statistics import count_patients, plain

from .metrics import auc

STRATA_ML = (
    ("below_1_ml", 0.0, 1.0),
    ("1_to_5_ml", 1.0, 5.0),
    ("5_to_30_ml", 5.0, 30.0),
    ("from_30_ml", 30.0, np.inf),
)
"""Strata of the true volume: from the first number to below the second. A volume of 0 mL means no bleed."""


def hemorrhage_metrics(records: list[dict]) -> dict | None:
    """Count the verdicts of the second look on scans with and without a bleed.

    Parameters
    ----------
    records : list of dict
        Rows of `predictions.csv`.

    Returns
    -------
    dict or None
        None if no row has a verdict. `patients` and, if some have several, `scans`; `bleeds` (scans); `sensitivity`:
        "found" among bleeds, also by true volume (`STRATA_ML`); `bleeds_uncertain` and `bleeds_missed` ("none") as
        fractions of the bleeds; `specificity`: "none" among scans without a bleed; `no_bleed_uncertain`,
        `no_bleed_found`; `prognosis_withheld` and `deaths_withheld` as counts; `auc_bleeds`: AUC of the probability of
        death among bleeds with a prognosis.
    """
    known = [record for record in records if record.get("hemorrhage") and record["volume_ml"] is not None]
    if not known:
        return None
    said = np.array([record["hemorrhage"] for record in known])
    patients = np.array([record["patient_id"] for record in known])
    true = np.array([record["volume_ml"] for record in known], dtype=float)
    bleeds = true > 0

    def share(word, among):
        return plain(np.mean(said[among] == word.value)) if among.any() else None

    withheld = np.array([record["mortality_probability"] is None for record in known])
    died = np.array([record["died"] == 1 for record in known])
    shown = bleeds & ~withheld
    probability = np.array([record["mortality_probability"] or 0.0 for record in known], dtype=float)
    return {
        **count_patients(np.ones(len(known), bool), patients),
        "bleeds": int(bleeds.sum()),
        "sensitivity": share(Hemorrhage.FOUND, bleeds),
        **{
            f"sensitivity_{name}": share(Hemorrhage.FOUND, bleeds & (true >= low) & (true < high))
            for name, low, high in STRATA_ML
        },
        "bleeds_uncertain": share(Hemorrhage.UNCERTAIN, bleeds),
        "bleeds_missed": share(Hemorrhage.NONE, bleeds),
        "specificity": share(Hemorrhage.NONE, ~bleeds),
        "no_bleed_uncertain": share(Hemorrhage.UNCERTAIN, ~bleeds),
        "no_bleed_found": share(Hemorrhage.FOUND, ~bleeds),
        "prognosis_withheld": int(withheld.sum()),
        "deaths_withheld": int((withheld & died).sum()),
        "auc_bleeds": plain(auc(probability[shown], died[shown].astype(float))) if shown.any() else None,
    }
