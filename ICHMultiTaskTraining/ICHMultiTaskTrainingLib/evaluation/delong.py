"""DeLong's test of two areas under ROC curves of the same patients."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm, rankdata

from ICHMultiTaskLib.comparison.statistics import plain


def delong(first: np.ndarray, second: np.ndarray, died: np.ndarray) -> dict:
    """Compare two scores by their AUC.

    Parameters
    ----------
    first, second : ndarray of shape (N,)
        Higher for a death.
    died : ndarray of shape (N,), 0 or 1

    Returns
    -------
    dict of str to float, list or None
        `auc_difference` (first − second), its 95 % interval `auc_difference_interval` and the two-sided `p`; None where
        there are fewer than two deaths or two survivors, `p` also where the scores never differ in their order.

    References
    ----------
    DeLong et al. 1988, Biometrics 44:837; by midranks, as Sun and Xu 2014, doi 10.1109/LSP.2014.2337313.
    """
    died = np.asarray(died).astype(bool)
    deaths, survivors = int(died.sum()), int((~died).sum())
    if min(deaths, survivors) < 2:
        return {"auc_difference": None, "auc_difference_interval": None, "p": None}
    areas, of_deaths, of_survivors = [], [], []
    for score in (np.asarray(first, float), np.asarray(second, float)):
        together = rankdata(score)
        # The fraction of survivors ranked below each death, and of deaths ranked above each survivor; ties count half.
        of_deaths.append((together[died] - rankdata(score[died])) / survivors)
        of_survivors.append(1 - (together[~died] - rankdata(score[~died])) / deaths)
        areas.append(of_deaths[-1].mean())
    variance = sum(
        np.var(components[0] - components[1], ddof=1) / len(components[0]) for components in (of_deaths, of_survivors)
    )
    difference, error = float(areas[0] - areas[1]), float(np.sqrt(variance))
    half = float(norm.ppf(0.975)) * error
    return {
        "auc_difference": difference,
        "auc_difference_interval": [difference - half, difference + half],
        "p": plain(2 * norm.sf(abs(difference) / error)) if error > 0 else None,
    }
