"""Random augmentation of prepared scans, with the resulting change of volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

SHIFT, SCALE = 0.02, (0.90, 1.03)
"""Largest shift, as a fraction of half the image, and scale along each axis. Small, because blood that is moved out of
the image would still count."""


def augment(
    images: torch.Tensor,
    occupancy: torch.Tensor,
    generator: torch.Generator,
    rotation_deg: Sequence[float],
    size_mm: torch.Tensor,
    reduction: int = 1,
    count: int | None = None,
    own: slice = slice(None),
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mirror, rotate, scale, shift and blur the head; change the offset, scale and noise of its HU.

    Parameters
    ----------
    images : tensor [N, 1, D, H, W], 0 to 1
    occupancy : tensor [N, 1, D, h, w]
        Fraction of blood on a coarser grid of the same extent.
    generator : torch.Generator
        On the CPU, so that every device gets the same numbers. Only the noise is drawn on the images' device, from a
        seed drawn here, and differs between kinds of devices.
    rotation_deg : sequence of float, length 2
        Largest rotation out of the axial plane, and in it.
    size_mm : tensor [N, 3]
        Depth, height and width of each image: the head is rotated as a rigid body, whatever the shape of its voxels.
    reduction : int
        Factor by which rows and columns were already reduced.
    count : int, optional
        Size of the whole batch, if `images` are only the slice `own` of it. The changes of an image then do not depend
        on the number of processes.
    own : slice

    Returns
    -------
    images, occupancy : tensor
    growth : tensor [N]
        Factor by which the fraction of blood in the image has grown.
    """
    count, device = count or len(images), images.device

    def draw(low, high):
        return (low + (high - low) * torch.rand(count, 1, 1, 1, 1, generator=generator))[own]

    affine, growth = (drawn[own] for drawn in _affine(count, rotation_deg, generator))
    affine = _in_grid_units(affine, size_mm.to(affine))
    in_plane, across = (largest * draw(-1.0, 1.0).clamp(0) for largest in (1.0 / reduction, 1.0))
    smooth, amount = draw(0, 1) < 0.5, draw(-0.01, 0.05).clamp(0)  # half of the images get grainy noise, half smooth
    contrast, offset = draw(0.93, 1.07), draw(-0.06, 0.06)
    numbers = torch.cat(
        [growth[:, None], *(v.flatten(1) for v in (in_plane, across, amount, contrast, offset, affine))], 1
    )
    # Which images are blurred is known on the CPU, and all numbers are copied at once: no waiting for the device.
    blurred, smoothed = [_rows(v, device) for v in (in_plane, across)], _rows(smooth, device)
    numbers = numbers.to(device, non_blocking=True)
    affine = numbers[:, 6:].view(-1, 3, 4)
    in_plane, across, amount, contrast, offset = numbers[:, 1:6].T.reshape(5, -1, 1, 1, 1, 1)
    images, occupancy = (_resample(volume, affine) for volume in (images, occupancy))
    tissue = images > 0  # voxels clipped to air stay air
    for kernel, share, rows in (((1, 3, 3), in_plane, blurred[0]), ((3, 1, 1), across, blurred[1])):
        images[rows] = images[rows].lerp(_mean(images[rows], kernel, inside=True), share[rows])
    seed = int(torch.randint(2**62, (), generator=generator))
    noise = torch.randn(
        count, *images.shape[1:], device=device, generator=torch.Generator(device).manual_seed(seed)
    )[own]  # fmt: skip
    noise[smoothed] = 3 * _mean(noise[smoothed], (1, 3, 3))
    images.sub_(0.3).mul_(contrast).add_(offset + 0.3).add_(noise.mul_(amount))
    return images.clamp_(0, 1).mul_(tissue), occupancy, numbers[:, 0]


def _rows(values, device):
    """Indices of the rows that are not zero; about half of the images are not blurred."""
    return values.flatten().nonzero().flatten().to(device, non_blocking=True)


def _mean(volumes, kernel, inside=False):
    """Mean over a neighborhood of odd size, of voxels `inside` the image only, or with zeros around it."""
    if not len(volumes):
        return volumes
    return F.avg_pool3d(volumes, kernel, 1, tuple(n // 2 for n in kernel), count_include_pad=not inside)


def _affine(count, rotation_deg, generator):
    """Draw affine maps [N, 3, 4] from output to input positions (x, y, z).

    In mm, except for the shift, which is a fraction of half the image.
    """

    def draw(low, high, *size):
        return low + (high - low) * torch.rand(count, *size, generator=generator)

    turns = draw(-1.0, 1.0, 3) * torch.tensor([math.radians(t) for t in (rotation_deg[0], *rotation_deg)])
    scale = draw(*SCALE, 3)
    mirror = torch.where(draw(0.0, 1.0) < 0.5, -1.0, 1.0)
    matrix = torch.eye(3).repeat(count, 1, 1)
    for axis in range(3):
        a, b = [n for n in range(3) if n != axis]
        turn = torch.eye(3).repeat(count, 1, 1)
        turn[:, a, a] = turn[:, b, b] = turns[:, axis].cos()
        turn[:, a, b], turn[:, b, a] = -turns[:, axis].sin(), turns[:, axis].sin()
        matrix = matrix @ turn
    matrix = matrix / scale[:, None, :]
    matrix[:, 0] *= mirror[:, None]
    shift = draw(-SHIFT, SHIFT, 3, 1)
    return torch.cat([matrix, shift], dim=2), scale.prod(1)


def _in_grid_units(affine, size_mm):
    """The maps in the units of `affine_grid`, in which each axis of the image goes from −1 to 1."""
    half = size_mm.flip(1) / 2  # x, y, z
    turned = affine[:, :, :3] * half[:, None, :] / half[:, :, None]
    return torch.cat([turned, affine[:, :, 3:]], dim=2)


def _resample(volume, affine):
    grid = F.affine_grid(affine, list(volume.shape), align_corners=False)
    return F.grid_sample(volume, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
