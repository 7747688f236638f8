"""A coarse copy of a scan along the patient's axes, on which the checks take milliseconds."""

from dataclasses import dataclass

import numpy as np

from .head_ct import HeadCT

COARSE_MM = 4.0
NOISY_HU = 20.0
"""Thin slices and sharp kernels have more noise than this; most scans have 4 to 12 HU."""
IN_PLANE = np.zeros((3, 3, 3), dtype=bool)
IN_PLANE[1] = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
"""Structuring element: a voxel and its four neighbors in the plane of the first axis."""


def largest_part(mask: np.ndarray, structure: np.ndarray | None = None) -> np.ndarray:
    """The largest connected part of a mask.

    Parameters
    ----------
    mask : ndarray of bool
    structure : ndarray, optional
        Which neighbors touch, as `scipy.ndimage.label` takes it.

    Returns
    -------
    ndarray of bool
        Of the same shape; all False if the mask is.
    """
    from scipy import ndimage

    labels, count = ndimage.label(mask, structure)
    return labels == 1 + int(np.bincount(labels.ravel())[1:].argmax()) if count else np.zeros(mask.shape, bool)


@dataclass(frozen=True)
class CoarseHead:
    """A scan at about 4 mm; its axes point to the patient's superior, anterior and right.

    Attributes
    ----------
    hu : ndarray of shape (S, A, R)
        Samples.
    peak : ndarray of shape (S, A, R)
        Largest HU around each sample within its axial plane, so that thin bone has no gaps.
    step_mm : ndarray of shape (3,)
        Distance between samples along each axis; between planes, it is measured perpendicular to them.
    voxel_ml : float
    strides : tuple of int
        Voxels of the scan per sample along each axis.
    steps_mm : ndarray of shape (3, 3)
        Columns: step from sample to sample along each axis, in mm to superior, anterior and right. Not diagonal if the
        scan is oblique or the gantry was tilted.
    noise_hu : float
        `noise_hu` of the scan, before any averaging.
    """

    hu: np.ndarray
    peak: np.ndarray
    step_mm: np.ndarray
    voxel_ml: float
    strides: tuple
    steps_mm: np.ndarray
    noise_hu: float

    @property
    def pixel_cm2(self) -> float:
        """Area of a sample in its axial plane."""
        return float(self.step_mm[1] * self.step_mm[2]) / 100.0


def plane_edges(shape: tuple[int, int, int]) -> np.ndarray:
    """Voxels on the edge of each plane of an array; bool."""
    edges = np.ones(shape, dtype=bool)
    edges[:, 1:-1, 1:-1] = False
    return edges


def in_patient_axes(head_ct: HeadCT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """View a scan along the patient's axes.

    Parameters
    ----------
    head_ct : HeadCT

    Returns
    -------
    hu : ndarray of shape (S, A, R)
        A view of the scan's voxels whose axes point nearest to superior, anterior and right.
    spacing_mm : ndarray of shape (3,)
        Distance between voxels along each.
    steps_mm : ndarray of shape (3, 3)
        Columns: step from voxel to voxel along each, in mm to superior, anterior and right.
    """
    axes, steps, columns = _patient_axes(head_ct)
    hu = head_ct.hu.transpose(axes)[tuple(slice(None, None, step) for step in steps)]
    return hu, head_ct.spacing_kji[axes], columns[::-1, axes] * steps


def dicom_order(head_ct: HeadCT) -> tuple[tuple[int, int, int], tuple[slice, slice, slice]]:
    """Array axes nearest to superior, posterior and left, as DICOM slices are stored, and slices that point them there.

    `array.transpose(axes)[directions]` is a view in that order, and `view[directions].transpose(np.argsort(axes))` of
    it the array again.
    """
    axes, steps, _columns = _patient_axes(head_ct)
    return tuple(axes), tuple(slice(None, None, step) for step in (steps[0], -steps[1], -steps[2]))


def _patient_axes(head_ct):
    """Array axes nearest to superior, anterior and right, their directions (1 or -1), and the RAS step of each axis."""
    columns = head_ct.ijk_to_ras[:3, :3][:, ::-1]  # of the array axes k, j, i
    shares = columns / np.linalg.norm(columns, axis=0)
    remaining, axes = [0, 1, 2], []
    for row in (2, 1, 0):
        axes.append(max(remaining, key=lambda axis, row=row: abs(shares[row, axis])))
        remaining.remove(axes[-1])
    return axes, [-1 if shares[row, axis] < 0 else 1 for row, axis in zip((2, 1, 0), axes, strict=True)], columns


def on_scan(values: np.ndarray, coarse: CoarseHead, head_ct: HeadCT, box: tuple[slice, slice, slice]) -> np.ndarray:
    """Values of the coarse copy, a mask for example, on a part of the scan's grid.

    Parameters
    ----------
    values : ndarray of shape (S, A, R)
    coarse : CoarseHead
    head_ct : HeadCT
        The scan that it was made of.
    box : tuple of slice
        The part, along k, j and i.

    Returns
    -------
    ndarray
        Of the shape of the part.
    """
    axes, steps, _columns = _patient_axes(head_ct)
    indices = []
    for place, (axis, step) in enumerate(zip(axes, steps, strict=True)):
        size, stride = head_ct.hu.shape[axis], coarse.strides[place]
        voxels = np.arange(size)[::step][box[axis]]
        # Samples stand for blocks of pixels, but for the slices around them.
        indices.append(np.minimum((voxels + (stride // 2 if place == 0 else 0)) // stride, values.shape[place] - 1))
    return values[np.ix_(*indices)].transpose(np.argsort(axes))


def coarse_head(head_ct: HeadCT) -> CoarseHead:
    """Subsample a scan; a noisy one is first averaged over about 2 mm in plane."""
    hu, spacing, steps = in_patient_axes(head_ct)
    strides = np.maximum(1, np.floor(COARSE_MM / spacing + 0.1)).astype(int)
    planes = hu[:: strides[0]]
    samples = np.ascontiguousarray(planes[:, :: strides[1], :: strides[2]])
    remaining, noise = strides[1:], noise_hu(samples)
    if noise > NOISY_HU and remaining.max() > 1:
        remaining = np.where(strides[1:] % 2 == 0, 2, 1)
        planes = _averaged(planes, strides[1:] // remaining)
        samples = _averaged(planes, remaining)
    peak = _pooled_maximum(_pooled_maximum(planes, 1, remaining[0]), 2, remaining[1])
    peak = peak[:, : samples.shape[1], : samples.shape[2]]
    spacing[0] = head_ct.voxel_volume_mm3 / (spacing[1] * spacing[2])
    return CoarseHead(
        samples,
        np.ascontiguousarray(peak),
        spacing * strides,
        head_ct.voxel_volume_mm3 * float(np.prod(strides)) / 1000.0,
        tuple(strides.tolist()),
        steps * strides,
        noise,
    )


def noise_hu(samples: np.ndarray) -> float:
    """Standard deviation of soft tissue between neighbors along the last axis; includes anatomical differences.

    Parameters
    ----------
    samples : ndarray of shape (S, A, R)
        HU.

    Returns
    -------
    float
        0 without soft tissue.
    """
    steps = np.abs(np.diff(samples.astype(np.float32), axis=2))
    soft = (samples > -150) & (samples < 200)
    steps = steps[soft[:, :, 1:] & soft[:, :, :-1]]
    return float(np.median(steps) / (0.6745 * np.sqrt(2))) if steps.size else 0.0


def _averaged(planes, size):
    """Means of in-plane blocks of voxels, without incomplete blocks at the edge; float32."""
    rows, columns = np.array(planes.shape[1:]) // size
    blocks = planes[:, : rows * size[0], : columns * size[1]].reshape(len(planes), rows, size[0], columns, size[1])
    return blocks.mean(axis=(2, 4), dtype=np.float32)


def _pooled_maximum(array, axis, size):
    """Maximum of `size` neighbors along an axis, at every `size`-th sample."""
    index = [slice(None)] * 3
    count = -(-array.shape[axis] // size)
    index[axis] = slice(0, None, size)
    pooled = array[tuple(index)].copy()
    for offset in range(1, size):
        index[axis] = slice(offset, None, size)
        part = array[tuple(index)]
        target = [slice(None)] * 3
        target[axis] = slice(0, min(count, part.shape[axis]))
        np.maximum(pooled[tuple(target)], part, out=pooled[tuple(target)])
    return pooled
