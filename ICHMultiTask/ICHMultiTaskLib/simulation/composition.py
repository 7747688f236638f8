"""Composition of a cohort."""

from dataclasses import dataclass

from ..common.choices import Cohort


@dataclass(frozen=True)
class Composition:
    """Shares and sizes in a cohort.

    Attributes
    ----------
    no_bleed : float
        Share of patients without a parenchymal hemorrhage.
    volume : float
        Factor on the median volume of every location.
    lost_gcs : float
        Factor on the loss of GCS points for a given bleed.
    ruptured : float
        Factor on the odds of rupture into the ventricles.
    lesions, lesions_without_bleed : float
        Mean number of infarcts, defects and cysts in a head with and without a bleed.
    mimics : float
        Factor on the shares of mimics of blood, see `mimics`.
    surgery : float
        Factor on the shares of surgical openings of the skull, see `surgery`.
    mortality : float
        Of patients with a bleed, measured on 20,000 draws.
    """

    no_bleed: float
    volume: float
    lost_gcs: float
    ruptured: float
    lesions: float
    lesions_without_bleed: float
    mimics: float
    surgery: float
    mortality: float


COMPOSITIONS = {
    Cohort.TRAINING: Composition(0.30, 1.0, 1.7, 1.4, 0.25, 0.9, 1.0, 1.0, 0.37),
    Cohort.PAPER: Composition(0.0, 0.6, 0.1, 0.4, 0.2, 0.0, 0.0, 0.0, 0.12),
}
"""`training`: many heads without a bleed, with many mimics, and the mortality of population studies (30 to 40 % in 30
days). `paper`: all with a bleed, 12 % mortality, as in Gong et al. 2023 (31 of 258)."""
