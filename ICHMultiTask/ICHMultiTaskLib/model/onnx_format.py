"""ONNX graphs as bytes, written without the package `onnx`: the little of the format that a network here needs.

A graph is a protocol buffer. Its messages and field numbers are those of `onnx.proto`
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto); the encoding is that of
https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

IR_VERSION, OPSET = 8, 17
"""Of ONNX 1.12, which every version of ONNX Runtime since 1.12 reads."""
FLOAT = 1
"""float32, in `TensorProto.DataType`."""
_INTS = 7
"""A list of integers, in `AttributeProto.AttributeType`."""


class OnnxGraph:
    """A graph in the making: each method adds something and returns the name of its value."""

    def __init__(self):
        self._nodes, self._constants = [], []

    def constant(self, values: np.ndarray) -> str:
        """Add an array, stored as float32."""
        name = f"constant{len(self._constants)}"
        values = np.ascontiguousarray(values, np.float32)
        dims = [_field(1, size) for size in values.shape]
        self._constants.append(b"".join([*dims, _field(2, FLOAT), _field(8, name), _field(9, values.tobytes())]))
        return name

    def node(self, operator: str, *inputs: str, name: str = "", **attributes: Sequence[int]) -> str:
        """Add an operator of ONNX with one output.

        Parameters
        ----------
        operator : str
            Such as "Conv".
        *inputs : str
            Names of values.
        name : str
            Of the output; by default one that no other has.
        **attributes : sequence of int
        """
        name = name or f"value{len(self._nodes)}"
        content = [*(_field(1, value) for value in inputs), _field(2, name), _field(4, operator)]
        for key, values in attributes.items():
            integers = b"".join(_field(8, int(value)) for value in values)
            content.append(_field(5, _field(1, key) + integers + _field(20, _INTS)))
        self._nodes.append(b"".join(content))
        return name

    def model(self, inputs: dict[str, Sequence[int]], outputs: dict[str, Sequence[int | str]]) -> bytes:
        """The whole model.

        Parameters
        ----------
        inputs, outputs : dict of str to sequence
            Shapes of float32 tensors by name; a text stands for a size that is not known beforehand.
        """
        graph = b"".join(
            [
                *(_field(1, node) for node in self._nodes),
                _field(2, "network"),
                *(_field(5, values) for values in self._constants),
                *(_field(11, _tensor_info(name, shape)) for name, shape in inputs.items()),
                *(_field(12, _tensor_info(name, shape)) for name, shape in outputs.items()),
            ]
        )
        return _field(1, IR_VERSION) + _field(7, graph) + _field(8, _field(2, OPSET))


def _tensor_info(name, shape):
    dims = (_field(1, _field(2 if isinstance(size, str) else 1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, FLOAT) + _field(2, b"".join(dims))))


def _field(number, value):
    """A field: an integer, or the length and the content of a text or message."""
    if isinstance(value, int):
        return _integer(number << 3) + _integer(value)
    value = value.encode() if isinstance(value, str) else value
    return _integer(number << 3 | 2) + _integer(len(value)) + value


def _integer(value):
    """An integer that is not negative, in groups of 7 bits, the least significant first."""
    groups = bytearray()
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
