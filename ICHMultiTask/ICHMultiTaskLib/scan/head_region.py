"""Where the head is in a scan: neither air around it nor what it lies on."""

import numpy as np

from .head_ct import HeadCT

_AIR_HU = -300
_COARSE_MM = 3.0


def head_region(head_ct: HeadCT) -> np.ndarray:
    """The largest thing in a scan that is denser than air, with the air inside it; its border is good to 3 mm.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    ndarray of shape (K, J, I), bool
        All True where nothing is denser than air.
    """
    from scipy import ndimage

    shape = head_ct.hu.shape
    steps = np.maximum(1, np.round(_COARSE_MM / head_ct.spacing_kji)).astype(int)
    dense = head_ct.hu[:: steps[0], :: steps[1], :: steps[2]] > _AIR_HU
    # Opened, so that the head and what it lies on, which touch, come apart.
    within = np.zeros((3, 3, 3), bool)
    within[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    labels, count = ndimage.label(ndimage.binary_opening(dense, within))
    if count == 0:
        return np.ones(shape, bool)
    largest = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    largest = ndimage.binary_dilation(largest, within)
    for plane in largest:
        plane[:] = ndimage.binary_fill_holes(plane)
    for axis, step in enumerate(steps):
        largest = np.repeat(largest, step, axis=axis)
    return largest[tuple(slice(size) for size in shape)]
