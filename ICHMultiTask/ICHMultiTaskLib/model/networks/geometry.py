"""Where the nodes of feature maps lie in a network's input. Needs no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence


def triple(value: int | Sequence[int]) -> tuple[int, int, int]:
    """A number for all three axes, or one for each (depth, height, width)."""
    return (value,) * 3 if isinstance(value, int) else tuple(int(v) for v in value)


class Geometry:
    """Position of the nodes of a feature map in the input, updated layer by layer.

    Attributes
    ----------
    stride : tuple of int
        Input voxels (depth, height, width) from node to node.
    offset : tuple of float
        Input index of the first node.
    """

    def __init__(self):
        self.stride, self.offset = (1, 1, 1), (0.0, 0.0, 0.0)

    def add(self, stride: int | tuple[int, int, int], shift: float | Sequence[float] = 0.0) -> None:
        """Add a layer.

        Parameters
        ----------
        stride : int or tuple of int
        shift : float or tuple of float
            Position of its first node, in nodes of the previous map: 0 for odd kernels with half padding, 0.5 for an
            unpadded kernel of size two.
        """
        shifts = (shift,) * 3 if isinstance(shift, (int, float)) else shift
        self.offset = tuple(o + s * step for o, s, step in zip(self.offset, shifts, self.stride))
        self.stride = tuple(a * b for a, b in zip(self.stride, triple(stride)))
