"""Picture of marked bleeds beside the simulated ones, for Docs/user-guide.md.

python Testing/figures/marking.py
python Testing/figures/marking.py --model path/to/bundle --seeds 3 5 --output /tmp/mark.png
"""

import argparse
from io import BytesIO
from pathlib import Path

import numpy as np
from few_colors import save_few_colors
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy.ndimage import map_coordinates

from ICHMultiTaskLib.analysis.analyzer import Analyzer
from ICHMultiTaskLib.analysis.marking import mark
from ICHMultiTaskLib.measures.agreement import compare_segments
from ICHMultiTaskLib.measures.segment import Segment
from ICHMultiTaskLib.scan.geometry import apply_affine
from ICHMultiTaskLib.simulation import DEMONSTRATION_SEED, SimulationSettings, simulate_patient

WINDOW_HU = (0.0, 80.0)
HALF_MM = 60.0
"""Half of the width and of the height of a view."""
STEP_MM = 0.4
VIEWS = {
    "axial": ((-1, 0, 0), (0, -1, 0)),
    "coronal": ((-1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, -1, 0), (0, 0, -1)),
}
"""RAS directions to the right and down, as in 3D Slicer."""
OUTLINES = {"simulated": ("#56B4E9", 2.6), "marked": ("#E69F00", 1.3)}
"""Color and width; colors of the palette of Okabe and Ito, which color-blind readers can tell apart."""


def section(array, ijk_to_ras, center_ras, right, down, outside):
    """A plane through the scan, interpolated linearly.

    Returns
    -------
    ndarray of shape (rows, columns)
    """
    steps = np.arange(-HALF_MM, HALF_MM + STEP_MM, STEP_MM)
    points = center_ras + steps[None, :, None] * np.array(right) + steps[:, None, None] * np.array(down)
    index = apply_affine(np.linalg.inv(ijk_to_ras), points)[..., ::-1]
    return map_coordinates(array.astype(np.float32), np.moveaxis(index, -1, 0), order=1, cval=outside)


def draw(rows, path):
    """Three views a row, through the middle of the simulated bleed, with the outlines of both masks.

    Parameters
    ----------
    rows : sequence of (HeadCT, dict of str to ndarray, str)
        Scan, masks of shape (K, J, I) by the names in `OUTLINES`, and a title.
    path : path-like
    """
    figure = Figure(figsize=(9.6, 0.3 + 3.3 * len(rows)), layout="constrained", facecolor="black")
    for part, (head_ct, masks, title) in zip(np.atleast_1d(figure.subfigures(len(rows), 1)), rows, strict=True):
        part.set_facecolor("black")
        part.suptitle(title, color="white", fontsize=9)
        center = apply_affine(head_ct.ijk_to_ras, np.argwhere(masks["simulated"])[:, ::-1].mean(axis=0))
        for axes, plane in zip(part.subplots(1, len(VIEWS)), VIEWS.values(), strict=True):
            picture = section(head_ct.hu, head_ct.ijk_to_ras, center, *plane, -1000.0)
            axes.imshow(picture, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1])
            axes.axis("off")
            for name, (color, width) in OUTLINES.items():
                inside = section(masks[name], head_ct.ijk_to_ras, center, *plane, 0.0)
                if (inside > 0.5).any():
                    axes.contour(inside, [0.5], colors=color, linewidths=width)
    handles = [Line2D([], [], color=color, linewidth=width, label=name) for name, (color, width) in OUTLINES.items()]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), fontsize=9, labelcolor="white",
        facecolor="black", edgecolor="black",
    )  # fmt: skip
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    save_few_colors(Image.open(drawn), path)


def marked(seed, analyzer):
    """A simulated patient with both masks, and what the picture says of them."""
    patient = simulate_patient(seed, SimulationSettings(bleed=True))
    analysis = analyzer.analyze(patient.head_ct, attention=False)
    head_ct, masks = analysis.head_ct, {"simulated": patient.mask, "marked": mark(analysis).mask}
    found = compare_segments(*(Segment(name, mask, head_ct.ijk_to_ras) for name, mask in masks.items()))
    volumes = [np.count_nonzero(mask) * head_ct.voxel_volume_mm3 / 1000.0 for mask in masks.values()]
    dice = "none" if found.dice is None else f"{found.dice:.2f}"
    return head_ct, masks, f"simulated {volumes[0]:.1f} mL, marked {volumes[1]:.1f} mL, Dice {dice}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).resolve().parents[2] / "Docs" / "mark.png"
    parser.add_argument("--output", type=Path, default=default, metavar="FILE")
    parser.add_argument("--model", metavar="BUNDLE", help="folder of a model bundle (default: the shipped one)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[DEMONSTRATION_SEED, 5], help="simulated patients")
    options = parser.parse_args()
    analyzer = Analyzer(options.model, "cpu")
    rows = [marked(seed, analyzer) for seed in options.seeds]
    draw(rows, options.output)
    print(*(title for _, _, title in rows), sep="\n")


if __name__ == "__main__":
    main()
