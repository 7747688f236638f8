"""Pictures of simulated patients for Docs/simulation.md, and a local page beside a real scan.

    python Testing/figures/simulation.py
    python Testing/figures/simulation.py --real path/to/scan --output /tmp/pictures

The first command writes Docs/simulation.png and Docs/simulation-hu.png. The second writes comparison.png as well, with
a slice of the real scan at the same window: keep that one out of the repository.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.scan.reading import read_head_ct
from ICHMultiTaskLib.simulation import SimulationSettings, simulate_patient

PATIENTS = 24
SETTINGS = SimulationSettings(slices=None)
WINDOW_HU = (0.0, 80.0)
COLUMNS, TILE = 6, (176, 144)
"""Rows and columns of a tile in pixels; it shows 220 × 180 mm."""
TILE_MM = (220.0, 180.0)
GRAYS = 64
"""Fewer than 256, so that the file stays small; noise hides it."""

PLACES = {
    "CSF": ((12.0, -15.0, 21.0), 2.5),
    "white matter": ((23.0, -6.0, 41.0), 5.0),
    "gray matter": ((26.0, 3.0, 2.0), 4.0),
}
"""Lateral ventricle, centrum semiovale and putamen: atlas point of the right side and radius, mm."""
PUBLISHED_HU = {
    "CSF": (0.0, 15.0),
    "white matter": (20.0, 35.0),
    "gray matter": (30.0, 45.0),
    "blood": (40.0, 90.0),
    "compact bone": (700.0, 3000.0),
}
"""Docs/simulation.md names the sources."""


def tissue_hu(patient):
    """HU of each tissue of `PUBLISHED_HU`, found by its place on the side away from the bleed, never by its HU.

    Compact bone is the densest fifth of what is above 300 HU, since diploë and partial volume make up the rest.

    Returns
    -------
    dict of str to ndarray
    """
    hu, affine = patient.head_ct.hu, patient.facts["atlas"] @ patient.head_ct.ijk_to_ras
    side = 1.0
    if patient.mask.any():
        side = -np.sign(apply_affine(affine, np.argwhere(patient.mask)[:, ::-1].mean(axis=0))[0])
    found = {}
    for name, (center, radius) in PLACES.items():
        center = np.array(center) * (side, 1.0, 1.0)
        low, high = _box(np.linalg.inv(affine), center, radius, hu.shape)
        k, j, i = np.mgrid[tuple(slice(a, b) for a, b in zip(low, high))]
        apart = np.linalg.norm(apply_affine(affine, np.stack([i, j, k], axis=-1)) - center, axis=-1)
        found[name] = hu[k, j, i][apart < radius]
    found["blood"] = hu[patient.mask]
    bone = hu[hu > 300]
    found["compact bone"] = bone[bone > np.percentile(bone, 80)]
    return found


def _box(to_index, center, radius, shape):
    corners = center + radius * np.stack(np.meshgrid(*[(-1, 1)] * 3), -1).reshape(-1, 3)
    index = apply_affine(to_index, corners)[:, ::-1]
    low, high = np.floor(index.min(axis=0)).astype(int), np.ceil(index.max(axis=0)).astype(int) + 1
    return np.clip(low, 0, shape), np.clip(high, 0, shape)


def tile(head_ct, k):
    """Slice k at the window, around the head's middle, front up and right side left; uint8."""
    hu, affine = head_ct.hu[k], head_ct.ijk_to_ras
    rows, columns = np.nonzero(hu > 300)
    middle = np.array([0.5 * (columns.min() + columns.max()), 0.5 * (rows.min() + rows.max())])
    steps = head_ct.spacing_kji[1:]
    signs = -np.sign([affine[1, 1], affine[0, 0]])
    size = np.array(TILE)
    picture = np.arange(size[0])[:, None], np.arange(size[1])[None, :]
    # Averaged over the tile's pixel, as a screen does that shows the slice smaller.
    width = np.maximum(np.array(TILE_MM) / size / steps, 1.0)
    total = 0.0
    for a in (-0.33, 0.0, 0.33):
        for b in (-0.33, 0.0, 0.33):
            j = middle[1] + signs[0] * ((picture[0] + 0.5) / size[0] - 0.5) * TILE_MM[0] / steps[0] + a * width[0]
            i = middle[0] + signs[1] * ((picture[1] + 0.5) / size[1] - 0.5) * TILE_MM[1] / steps[1] + b * width[1]
            index = np.broadcast_arrays(j, i)
            sample = map_coordinates(hu.astype(np.float32), index, order=0, cval=-1000.0)
            total = total + np.clip(sample, -200.0, 300.0) / 9.0
    low, high = WINDOW_HU
    shades = np.clip((total - low) / (high - low), 0.0, 1.0)
    return np.rint(np.rint(shades * (GRAYS - 1)) * 255.0 / (GRAYS - 1)).astype(np.uint8)


def shown_slice(patient):
    """The slice with most of the bleed; without one, at the level of the ventricles."""
    if patient.mask.any():
        return int(patient.mask.sum(axis=(1, 2)).argmax())
    to_index = np.linalg.inv(patient.facts["atlas"] @ patient.head_ct.ijk_to_ras)
    return int(round(apply_affine(to_index, (0.0, -15.0, 15.0))[2]))


def contact_sheet(tiles):
    """Tiles in rows with thin black lines between."""
    padded = [np.pad(t, 1) for t in tiles]
    return np.vstack([np.hstack(padded[n : n + COLUMNS]) for n in range(0, len(padded), COLUMNS)])


def draw_histograms(values, path):
    """Histograms of each tissue's HU over all patients, with the published range shaded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 2.4), layout="constrained")
    for axes, (name, published) in zip(figure.subplots(1, len(PUBLISHED_HU)), PUBLISHED_HU.items()):
        hu = np.concatenate(values[name])
        low, high = np.percentile(hu, [1, 99]).astype(int)
        step = max(1, (high - low) // 40)  # whole HU, since scans hold no others
        axes.hist(hu, bins=np.arange(low, high + step, step) - 0.5, color="0.35", density=True)
        axes.axvspan(*published, color="tab:blue", alpha=0.2, linewidth=0)
        axes.set(title=f"{name}\nmedian {np.median(hu):.0f}", xlabel="HU", yticks=[])
        if name == "compact bone":
            axes.set_xlim(600, 2200)
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parents[2] / "Docs", metavar="DIR")
    parser.add_argument("--real", type=Path, metavar="SCAN", help="a real head CT for comparison.png")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    tiles, values = [], {name: [] for name in PUBLISHED_HU}
    for seed in range(1, PATIENTS + 1):
        patient = simulate_patient(seed, SETTINGS)
        tiles.append(tile(patient.head_ct, shown_slice(patient)))
        for name, hu in tissue_hu(patient).items():
            values[name].append(hu)
        print(f"{seed} of {PATIENTS}", flush=True)
    Image.fromarray(contact_sheet(tiles)).save(options.output / "simulation.png", optimize=True)
    draw_histograms(values, options.output / "simulation-hu.png")
    for name, hu in values.items():
        print(f"{name}: 5 %, median, 95 % {np.percentile(np.concatenate(hu), [5, 50, 95]).round(1)} HU")
    if options.real:
        head_ct = read_head_ct(options.real)
        real = tile(head_ct, round(0.55 * len(head_ct.hu)))
        Image.fromarray(contact_sheet([*tiles[:17], real])).save(options.output / "comparison.png")


if __name__ == "__main__":
    main()
