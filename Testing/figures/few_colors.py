"""Small PNG files of pictures of CT: the repository has little room, and keeps each version."""

import numpy as np
from PIL import Image

GRAYS, HUES = 16, 32
MIN_SPREAD = 24
"""Of red, green and blue, from which on a color is no gray."""


def save_few_colors(image, path, width=1100):
    """Write a picture in evenly spaced grays and its own colors, rare ones as well as frequent ones.

    Parameters
    ----------
    image : PIL.Image.Image
    path : path-like
        A .png file.
    width : int
        In pixels; a wider picture is made smaller.
    """
    image = image.convert("RGB")
    if image.width > width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    colors = np.unique(np.asarray(image).reshape(-1, 3), axis=0)
    vivid = Image.fromarray(colors[np.ptp(colors, axis=1) > MIN_SPREAD][None])
    hues = vivid.quantize(HUES, method=Image.Quantize.MEDIANCUT, kmeans=2).getpalette()[: 3 * HUES]
    palette = Image.new("P", (1, 1))
    palette.putpalette(hues + np.repeat(np.linspace(0, 255, GRAYS).astype(int), 3).tolist())
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
