"""From a head CT to the network's input, and the exact map between the two grids.

Used by training and inference alike. Gong et al. 2023, section 4.3: window, crop the blank part, resize to 32×224×224
by linear interpolation.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass

import numpy as np

from ..common.choices import Device, SliceSampling
from ..common.errors import InputError
from ..common.translation import tr as _
from ..scan.geometry import spacing_kji, voxel_volume_mm3
from ..scan.head_ct import HeadCT

BONE_THRESHOLD_HU = 300
HEAD_THRESHOLD_HU = -300
"""Scalp, brain and bone are above; air, foam and hair are below."""
SKULL_MM = 100
"""Bone shorter than this is not a skull."""
HEAD_MARGIN_MM = 1
"""Added around the skull."""
BATCH = 32
"""Slices per matrix product: few and large, since on a busy machine the threads wait for each other in each product."""


@dataclass(frozen=True)
class PreprocessingSettings:
    """Settings of the preprocessing.

    Attributes
    ----------
    window_hu : tuple of float
        Low and high HU, mapped to 0 and 1.
    shape_kji : tuple of int
        Slices, rows and columns of the network's grid.
    average : bool
        Average all voxels of the scan under each network voxel if the network's grid is coarser (less noise; uses all
        of thin slices). Without: linear interpolation between neighbors, as in the paper.
    max_height_mm : float or None
        Keep at most this much below the top of the head, so that the neck in the field of view has no effect.
    slice_sampling : str
        How the grid's slices are made from the scan's. "linear": like rows and columns. The two ways to a uniform
        number of slices of Zunair et al. 2020 (doi 10.1007/978-3-030-59354-4_15), with which `average` applies to rows
        and columns alone: "spline": interpolating cubic spline through the slices; "even": slices of the scan at equal
        distances, each repeated if there are too few.
    """

    window_hu: tuple = (40.0, 110.0)
    shape_kji: tuple = (32, 224, 224)
    average: bool = False
    max_height_mm: float | None = None
    slice_sampling: str = SliceSampling.LINEAR.value

    def __post_init__(self):
        object.__setattr__(self, "window_hu", tuple(float(v) for v in self.window_hu))
        object.__setattr__(self, "shape_kji", tuple(int(v) for v in self.shape_kji))
        if type(self.max_height_mm) is int:
            object.__setattr__(self, "max_height_mm", float(self.max_height_mm))
        SliceSampling.check(self.slice_sampling, "slice_sampling")

    def as_dict(self) -> dict:
        """Plain values for JSON; `PreprocessingSettings(**d)` is the inverse.

        A linear `slice_sampling` is left out, so that earlier versions can use the bundle.
        """
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        if self.slice_sampling == SliceSampling.LINEAR:
            del values["slice_sampling"]
        return values


PRESETS = {
    "paper": PreprocessingSettings(),
    "default": PreprocessingSettings(
        window_hu=(0.0, 100.0), shape_kji=(32, 112, 112), average=True, max_height_mm=170.0
    ),
}


@dataclass(frozen=True)
class NetworkInput:
    """Input image of the network, and its location in the scan.

    Attributes
    ----------
    array : ndarray of shape (1, D, H, W), float32 in [0, 1]
        Axes point to the patient's superior, posterior and left.
    axes : tuple of int
        For each network axis (D, H, W), the scan's array axis (0 = k, 1 = j, 2 = i) it runs along.
    flips : tuple of bool
        For each network axis, whether it runs against the scan's axis.
    crop : tuple of (int, int)
        For each network axis, first and past-the-last scan index of the crop, along the scan's own axis.
    scan_shape : tuple of int
        Shape (K, J, I) of the scan.
    crop_volume_mm3 : float
        Physical volume of the crop.
    slices : tuple of int or None
        Scan index of each network slice, in the scan's order, if the network's are slices of the scan.
    """

    array: np.ndarray
    axes: tuple
    flips: tuple
    crop: tuple
    scan_shape: tuple
    crop_volume_mm3: float
    slices: tuple | None = None

    def cropped(self, array: np.ndarray) -> np.ndarray:
        """What the network sees of an array on the scan's grid, along the network's axes in the scan's order."""
        return _cropped(array.transpose(self.axes), self.crop, self.slices)

    def scan_to_network(self, axis: int, indices: np.ndarray) -> np.ndarray:
        """Convert scan indices along the scan axis of network axis `axis` to continuous network indices."""
        low, high = self.crop[axis]
        size = self.array.shape[1 + axis]
        if axis == 0 and self.slices is not None:
            shown, of_slice, times = np.unique(self.slices, return_inverse=True, return_counts=True)
            # A repeated slice is in the middle of its copies, one that is not shown between its neighbors.
            position = np.interp(indices, shown, np.bincount(of_slice, np.arange(size)) / times)
            return size - 1 - position if self.flips[axis] else position
        position = (np.asarray(indices, dtype=float) - low + 0.5) * size / (high - low) - 0.5
        return size - 1 - position if self.flips[axis] else position

    def to_scan(
        self,
        grid: np.ndarray,
        strides: tuple[int, int, int] = (1, 1, 1),
        offsets: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> np.ndarray:
        """Resample values on the network's grid, or on a strided feature grid, to the scan's voxels.

        Uses the cubic B-spline kernel; 0 outside the crop. Unlike with linear interpolation, a peak can lie between
        the nodes of a grid that is coarser than a small hematoma.

        Parameters
        ----------
        grid : ndarray of shape (d, h, w)
        strides : tuple of int
            Network voxels per grid step.
        offsets : tuple of float
            Network index of the first node; grid node f lies at offset + stride × f.

        Returns
        -------
        ndarray of shape (K, J, I), float32
        """
        values, matrices = np.asarray(grid, dtype=np.float32), self._spline_matrices(grid.shape, strides, offsets)
        out = np.zeros(self.scan_shape, dtype=np.float32)
        # Depth and height first, on the small grid; the width makes the full-size array.
        values = np.einsum("ad,bh,dhw->abw", matrices[0], matrices[1], values, optimize=True)
        target = out.transpose(self.axes)[tuple(slice(*c) for c in self.crop)]
        for n in range(0, len(values), BATCH):
            batch = values[n : n + BATCH]
            rows = _product(batch.reshape(-1, batch.shape[2]), matrices[2].T)
            target[n : n + BATCH] = rows.reshape(*batch.shape[:2], -1)
        return out

    def map_to_scan(
        self,
        grid: np.ndarray,
        strides: tuple[int, int, int],
        offsets: tuple[float, float, float],
        region: np.ndarray,
        device: str = Device.CPU.value,
    ) -> tuple[np.ndarray, tuple[int, int, int] | None]:
        """Resample a map to the scan's voxels, as `to_scan` does, and scale it to a maximum of 1.

        Parameters
        ----------
        grid, strides, offsets
            As in `to_scan`.
        region : ndarray of shape (K, J, I), bool
            The map is 0 outside.
        device : str
            Where it is computed.

        Returns
        -------
        ndarray of shape (K, J, I), float32
        peak : tuple of int or None
            Index (k, j, i) of the maximum; None for a blank map, which is 0 everywhere.
        """
        if device == Device.CPU:
            values = self.to_scan(grid, strides, offsets)
            values *= region
        else:
            from .device_resampling import spread

            matrices = self._spline_matrices(grid.shape, strides, offsets)
            values = spread(grid, matrices, self.axes, self.crop, region, device)
        highest = float(values.max())
        if highest <= 0 or not np.isfinite(highest):
            return np.zeros(self.scan_shape, dtype=np.float32), None
        values /= highest
        peak = np.unravel_index(int(values.argmax()), self.scan_shape)
        return values if device == Device.CPU else values.cpu().numpy(), tuple(int(n) for n in peak)

    def _spline_matrices(self, shape, strides, offsets):
        """Weights from the nodes of a grid to the voxels of the crop, for each network axis."""
        matrices = []
        for axis in range(3):
            nodes = (self.scan_to_network(axis, np.arange(*self.crop[axis])) - offsets[axis]) / strides[axis]
            matrices.append(_spline_matrix(nodes, shape[axis]))
        return matrices


def prepare(
    head_ct: HeadCT, settings: PreprocessingSettings = PRESETS["default"], device: str = Device.CPU.value
) -> NetworkInput:
    """Window, crop and resize a head CT to the network's grid.

    Parameters
    ----------
    head_ct : HeadCT
    settings : PreprocessingSettings
    device : str
        Where it is computed.

    Returns
    -------
    NetworkInput

    Raises
    ------
    InputError
        If nothing in the scan is denser than air.
    """
    axes, flips = _orientation(head_ct.ijk_to_ras)
    # Slices are read in the scan's order, for contiguous reads; only the small result is flipped.
    volume = head_ct.hu.transpose(axes)
    toward_patient = tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)
    steps = np.asarray(spacing_kji(head_ct.ijk_to_ras))[list(axes)]
    # In the patient's directions, so that the crop does not depend on the direction in which a file stores its rows.
    crop = _head_box(volume[toward_patient], steps)
    if settings.max_height_mm is not None:
        low, high = crop[0]
        crop[0] = (max(low, high - max(1, round(settings.max_height_mm / steps[0]))), high)
    crop = [(n - high, n - low) if flip else (low, high) for (low, high), n, flip in zip(crop, volume.shape, flips)]
    slices = None
    if settings.slice_sampling == SliceSampling.EVEN:
        slices = _even_slices(*crop[0], settings.shape_kji[0], flips[0])
    spline = settings.slice_sampling == SliceSampling.SPLINE
    cropped = _cropped(volume, crop, slices)
    array = resize(cropped, settings.window_hu, settings.shape_kji, settings.average, spline, device)[toward_patient]
    return NetworkInput(
        array=np.ascontiguousarray(array)[None],
        axes=axes,
        flips=flips,
        crop=tuple((int(a), int(b)) for a, b in crop),
        scan_shape=head_ct.hu.shape,
        crop_volume_mm3=float(np.prod([b - a for a, b in crop])) * voxel_volume_mm3(head_ct.ijk_to_ras),
        slices=slices,
    )


def _cropped(volume, crop, slices):
    depth, height, width = (slice(*ends) for ends in crop)
    return volume[depth if slices is None else list(slices), height, width]


def _even_slices(low, high, count, flipped):
    """Scan indices of the slices at the centers of `count` equal parts of the head."""
    # Counted from the feet: the choice between two equally near ones does not depend on how the scan is stored.
    steps = [(2 * n + 1) * (high - low) // (2 * count) for n in range(count)]
    return tuple(high - 1 - n for n in reversed(steps)) if flipped else tuple(low + n for n in steps)


def _orientation(ijk_to_ras):
    """Array axis and direction nearest to superior, posterior and left, for the network's three axes."""
    directions = ijk_to_ras[:3, :3] / np.linalg.norm(ijk_to_ras[:3, :3], axis=0)
    spl = np.stack([directions[2], -directions[1], -directions[0]])[:, ::-1]  # rows S, P, L; columns k, j, i
    remaining, axes = [0, 1, 2], []
    for row in spl:
        best = max(remaining, key=lambda axis: abs(row[axis]))
        remaining.remove(best)
        axes.append(best)
    return tuple(axes), tuple(bool(spl[n, axis] < 0) for n, axis in enumerate(axes))


def _head_box(volume, steps):
    """Bounding box of the skull, or of the largest part above air if there is no bone.

    The largest connected bone is used because table, headrest and cushions often touch the scalp but never the skull.
    It is found on samples of about 4 mm, at a fraction of the cost of all voxels; its ends are then looked for in the
    voxels themselves, so that the box does not depend on where the samples lie: padding a scan, or cutting off air
    beside the head, changes nothing. `HEAD_MARGIN_MM` is added.
    """
    import SimpleITK as sitk

    stride = [max(1, round(4.0 / step)) for step in steps]
    samples = volume[tuple(slice(None, None, s) for s in stride)]
    shape = sitk.LabelShapeStatisticsImageFilter()
    for threshold in (BONE_THRESHOLD_HU, HEAD_THRESHOLD_HU):
        parts = _connected(samples > threshold)
        shape.Execute(parts)
        largest = max(shape.GetLabels(), key=shape.GetNumberOfPixels, default=None)
        if largest is None:
            continue
        box = shape.GetBoundingBox(largest)  # first index, then size, in the order width, height, depth
        if max(box[3] * stride[2] * steps[2], box[4] * stride[1] * steps[1]) >= SKULL_MM:
            break
    if largest is None:
        raise InputError(
            _("The scan is empty: expected a head denser than {head_threshold_hu} HU, found nothing above it.").format(
                head_threshold_hu=HEAD_THRESHOLD_HU
            )
        )
    head = sitk.GetArrayFromImage(parts) == largest
    box = [(first, first + size - 1) for first, size in zip(box[2::-1], box[:2:-1])]
    crop = []
    for axis, step in enumerate(steps):
        margin = round(HEAD_MARGIN_MM / step)
        low, high = (_exact_end(volume, threshold, head, box, stride, axis, end) for end in (0, 1))
        crop.append((max(0, low - margin), min(volume.shape[axis], high + 1 + margin)))
    return crop


def _connected(mask):
    """Connected parts of a mask, numbered; voxels touch at corners too, since bone is one sample thin."""
    import SimpleITK as sitk

    return sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), True)


def _exact_end(volume, threshold, head, box, stride, axis, end):
    """First (`end` 0) or last voxel of the head along an axis.

    `head` is true at its samples, and `box` holds the first and last of them along each axis. What is connected with
    the outermost samples is followed outward, by two samples at most.
    """
    import SimpleITK as sitk

    outermost, step = box[axis][end] * stride[axis], stride[axis]
    if step == 1:
        return outermost
    around = [slice(max(0, low - 1), high + 2) for low, high in box]  # in samples
    slab = [slice(a.start * s, (a.stop - 1) * s + 1) for a, s in zip(around, stride)]
    around[axis] = slice(box[axis][end], box[axis][end] + 1)
    outward = (outermost, outermost + 2 * step) if end else (max(0, outermost - 2 * step), outermost)
    slab[axis] = slice(outward[0], outward[1] + 1)
    parts = sitk.GetArrayFromImage(_connected(volume[tuple(slab)] > threshold))
    at_samples = [slice(None, None, s) for s in stride]
    at_samples[axis] = slice(0, 1) if end else slice(-1, None)
    seeds = np.unique(parts[tuple(at_samples)][head[tuple(around)]])
    planes = np.flatnonzero(np.isin(parts, seeds).any(axis=tuple(n for n in range(3) if n != axis)))
    return int(planes[-1 if end else 0]) + slab[axis].start


def resize(
    cropped: np.ndarray,
    window: tuple[float, float],
    shape: tuple[int, int, int],
    average: bool,
    spline: bool = False,
    device: str = Device.CPU.value,
) -> np.ndarray:
    """Window and linearly resize a volume.

    Parameters
    ----------
    cropped : ndarray of shape (d, h, w)
    window : tuple of float
        Values mapped to 0 and 1.
    shape : tuple of int
        Of the result.
    average : bool
        As in `PreprocessingSettings`.
    spline : bool
        Interpolate between slices by a cubic spline.
    device : str
        Where it is computed.

    Returns
    -------
    ndarray of shape `shape`, float32 in [0, 1]
    """
    low, high = window
    weights = [_resize_matrix(n, m, average) for n, m in zip(cropped.shape, shape)]
    if spline:
        weights[0] = _spline_resize_matrix(cropped.shape[0], shape[0])
    if device != Device.CPU:
        from .device_resampling import resized

        return resized(cropped, window, weights, device)
    stack = np.zeros((cropped.shape[1], shape[0], cropped.shape[2]), dtype=np.float32)
    for n, row in enumerate(weights[0]):
        for k in np.flatnonzero(row):
            source = cropped[k].astype(np.float32)
            np.clip(source, low, high, out=source)
            source *= row[k]
            stack[:, n] += source
    # One matrix product per axis for all slices.
    stack = _product(stack.reshape(-1, cropped.shape[2]), weights[2].T).reshape(cropped.shape[1], -1)
    out = _product(weights[1], stack).reshape(shape[1], shape[0], shape[2]).transpose(1, 0, 2)
    out -= low
    out /= high - low
    # A spline overshoots at edges; rounding errors can exceed the interval by 1e-7.
    return np.clip(out, 0.0, 1.0, out=out)


def _product(a, b):
    """Matrix product, by PyTorch where it runs the network: NumPy's threads would keep spinning beside its own."""
    torch = sys.modules.get("torch")
    return a @ b if torch is None else (torch.from_numpy(a) @ torch.from_numpy(b)).numpy()


def _linear_matrix(positions, size):
    """Rows of linear-interpolation weights of `positions` on `size` nodes; constant beyond the ends."""
    positions = np.clip(positions, 0, size - 1)
    first = np.minimum(positions.astype(int), max(size - 2, 0))
    fraction = positions - first
    matrix = np.zeros((len(positions), size), dtype=np.float32)
    rows = np.arange(len(positions))
    matrix[rows, first] = 1 - fraction
    if size > 1:
        matrix[rows, first + 1] += fraction
    return matrix


def _spline_matrix(positions, size):
    """Rows of cubic B-spline weights of `positions` on `size` nodes; mirrored at the ends, constant beyond them."""
    positions = np.clip(positions, 0, size - 1)
    nodes = np.floor(positions).astype(int)[:, None] + np.arange(-1, 3)
    distance = np.abs(positions[:, None] - nodes)
    near, far = (4 - 6 * distance**2 + 3 * distance**3) / 6, np.maximum(2 - distance, 0) ** 3 / 6
    nodes = np.abs(nodes) % max(2 * (size - 1), 1)
    matrix = np.zeros((len(positions), size), dtype=np.float32)
    np.add.at(
        matrix,
        (np.arange(len(positions))[:, None], np.minimum(nodes, 2 * (size - 1) - nodes)),
        np.where(distance < 1, near, far),
    )
    return matrix


def _resize_matrix(source, target, average):
    """[target, source] weights of a one-dimensional linear resize between voxel-center grids."""
    scale = source / target
    centers = (np.arange(target) + 0.5) * scale - 0.5
    if not average or scale <= 1:
        return _linear_matrix(centers, source)
    # A triangle kernel as wide as the step, so that every source voxel counts.
    matrix = np.maximum(0.0, 1.0 - np.abs(np.arange(source)[None] - centers[:, None]) / scale)
    return (matrix / matrix.sum(1, keepdims=True)).astype(np.float32)


def _spline_resize_matrix(source, target):
    """[target, source] weights of a one-dimensional resize by an interpolating cubic spline, constant at the ends."""
    from scipy.ndimage import zoom

    matrix = zoom(np.eye(source), (target / source, 1), order=3, mode="nearest", grid_mode=True)
    matrix[np.abs(matrix) < 1e-6] = 0  # a slice a dozen slices away adds nothing, but would have to be read
    return matrix.astype(np.float32)
