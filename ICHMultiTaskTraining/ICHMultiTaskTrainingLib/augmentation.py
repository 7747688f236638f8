"""Random changes of prepared scans which leave volume and outcome as they are."""

import torch
from torch.nn import functional as F


def augment(images, occupancy, generator):
    """Mirror, shift, scale and offset of HU, noise of random strength and grain.

    Parameters
    ----------
    images : tensor [N, 1, D, H, W], 0 to 1
    occupancy : tensor [N, 1, D, H / 4, W / 4]
    generator : torch.Generator
        On the CPU, so that every device sees the same draws.

    Returns
    -------
    tuple of tensor
        The changed images and occupancy.
    """
    count, device = len(images), images.device

    def draw(low, high):
        return (low + (high - low) * torch.rand(count, 1, 1, 1, 1, generator=generator)).to(device)

    mirrored = torch.rand(count, generator=generator) < 0.5
    cell = images.shape[-1] // occupancy.shape[-1]
    shifts = torch.randint(-2, 3, (count, 3), generator=generator)
    out, out_occupancy = torch.empty_like(images), torch.empty_like(occupancy)
    for n in range(count):
        image, mask = images[n], occupancy[n]
        if mirrored[n]:
            image, mask = image.flip(-1), mask.flip(-1)
        k, j, i = shifts[n].tolist()
        out[n] = _shift(image, (k, j * cell, i * cell))
        out_occupancy[n] = _shift(mask, (k, j, i))
    grain = torch.randn(images.shape, generator=generator).to(device)
    smooth = F.avg_pool3d(grain, (1, 3, 3), 1, (0, 1, 1)) * 3
    noise = torch.where(draw(0, 1) < 0.5, grain, smooth) * draw(0.0, 0.05)
    tissue = out > 0  # what the window clipped to air stays air
    changed = (out - 0.3) * draw(0.93, 1.07) + 0.3 + draw(-0.05, 0.05) + noise
    return torch.where(tissue, changed.clamp(0, 1), out), out_occupancy


def _shift(volume, steps):
    """Move a [C, D, H, W] volume; what enters is blank."""
    for axis, step in enumerate(steps, start=1):
        if step:
            volume = volume.roll(step, axis)
            edge = slice(0, step) if step > 0 else slice(step, None)
            volume[(slice(None),) * axis + (edge,)] = 0
    return volume
