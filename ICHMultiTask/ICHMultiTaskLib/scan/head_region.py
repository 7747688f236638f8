"""Region of the whole head in a scan, including scalp, nose and sinuses, without headrest and surrounding air.

For the inside of the skull see `inside_skull`.
"""

import numpy as np

from .coarse_head import IN_PLANE, largest_part
from .head_ct import HeadCT

_AIR_HU = -300
_COARSE_MM = 3.0


def head_region(head_ct: HeadCT) -> np.ndarray:
    """Mask of the largest object denser than air, including the air inside it; its border is accurate to 3 mm.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    ndarray of shape (K, J, I), bool
        All True if nothing is denser than air.
    """
    from scipy import ndimage

    shape = head_ct.hu.shape
    steps = np.maximum(1, np.round(_COARSE_MM / head_ct.spacing_kji)).astype(int)
    dense = head_ct.hu[:: steps[0], :: steps[1], :: steps[2]] > _AIR_HU
    # Opening separates the head from the headrest that it touches.
    largest = largest_part(ndimage.binary_opening(dense, IN_PLANE))
    if not largest.any():
        return np.ones(shape, bool)
    largest = ndimage.binary_dilation(largest, IN_PLANE)
    for plane in largest:
        plane[:] = ndimage.binary_fill_holes(plane)
    for axis, step in enumerate(steps):
        largest = np.repeat(largest, step, axis=axis)
    return largest[tuple(slice(size) for size in shape)]
