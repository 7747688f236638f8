"""Findings of one scan, derived from the marked bleed."""

from __future__ import annotations

import numpy as np

from ...common.translation import tr as _
from ...scan.geometry import apply_affine
from ...scan.head_ct import HeadCT
from .finding import Finding, Findings
from .frame import head_frame
from .head_grid import HeadGrid
from .place import center_of
from .place import place as place_of
from .ventricles import examine, inside_ventricles, share_in_brain

ACCURACY = {
    "location": _("right in 1240 of 1282 simulated bleeds"),
    "side": _("right in 1227 of 1236 simulated bleeds"),
    "infratentorial": _("right in 1275 of 1282 simulated bleeds"),
    "ivh": _("right in 396 of 507 simulated bleeds with it, and in 745 of 775 without it"),
}
"""Measured on simulated patients; see `Docs/user-guide.md`, "Findings"."""


def find(
    head_ct: HeadCT, mask: np.ndarray, attention: np.ndarray, volume_ml: float
) -> tuple[Findings | None, np.ndarray]:
    """Derive the findings other than the volume.

    Parameters
    ----------
    head_ct : HeadCT
    mask : ndarray of shape (K, J, I), bool
        All marked blood.
    attention : ndarray of shape (K, J, I)
        Map of the volume head, 0 to 1.
    volume_ml : float
        Volume of the parenchymal bleed, as predicted by the model.

    Returns
    -------
    findings : Findings or None
        None if nothing is marked or no closed skull is found.
    mask : ndarray of shape (K, J, I), bool
        The marked blood without its intraventricular part.
    """
    frame = head_frame(head_ct) if mask.any() else None
    if frame is None:
        return None, mask
    grid = HeadGrid.of(head_ct, mask, frame)
    ventricles = examine(grid)
    index = np.argwhere(mask)
    points = apply_affine(grid.ras_to_atlas @ head_ct.ijk_to_ras, index[:, ::-1])
    share = np.ones(len(points))
    if ventricles.bleed:
        depth = ventricles.depth(points)
        inside = inside_ventricles(points, depth, attention[mask], volume_ml, head_ct.voxel_volume_mm3 / 1000.0)
        if inside.any() and not inside.all():
            mask = mask.copy()
            mask[tuple(index[inside].T)] = False
            index, points, depth = index[~inside], points[~inside], depth[~inside]
        share = share_in_brain(depth)
    place = place_of(*center_of(index, points, share))
    items = (
        _finding("location", _("Location"), place.location, correctable=True),
        _finding("side", _("Side"), place.side),
        _finding("infratentorial", _("Infratentorial"), place.infratentorial),
        _finding("ivh", _("Blood in the ventricles"), ventricles.bleed, correctable=True),
    )
    return Findings(**vars(place), items=items), mask


def _finding(name, label, value, unit="", correctable=False):
    return Finding(name, label, value, unit, accuracy=ACCURACY[name], correctable=correctable)
