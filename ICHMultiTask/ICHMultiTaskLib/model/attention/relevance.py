"""Layer-wise relevance propagation: the score, dealt back layer by layer to the voxels that made it.

Bach et al. 2015, doi 10.1371/journal.pone.0130140. Convolutions, each with the batch norm behind it as one layer,
follow the γ-rule (Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10): positive shares count more where the output
is positive; negative ones where it is negative, so that no quotient explodes. Dense layers, sums and means follow the
plain rule; a maximum gives all to the largest. What a layer of another kind multiplies by (softmax, layer norm, gates)
is taken as it is on this image (Ali et al. 2022, arXiv:2202.07304).

Every layer is rewritten so that gradient × input is the rule: y = y′ · (y / y′), where y′ is what the rule deals by and
the quotient is held fixed.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ...common.progress import NO_PROGRESS, Progress
from .saliency import gradient

GAMMA = 0.25
"""How much more positive shares count, at outputs above 0; and negative ones below."""
TINY = 1e-9


def explain(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the relevance, [N, D, H, W], of images [N, 1, D, H, W]."""
    return relevance(score, image).sum(1).relu()


def relevance(score: Callable, image: torch.Tensor, gamma: float = GAMMA) -> torch.Tensor:
    """Relevance of every voxel, of the image's shape; its sum is the score but for what biases add."""
    with _Rules(gamma):
        return gradient(score, image) * image


class _Rules(TorchFunctionMode):
    """While it is entered, every layer of any network deals by its rule; no module is changed."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma
        self.convolved = None  # the last convolution: its output, and what that was computed from

    def __torch_function__(self, func, types, args=(), kwargs=None):
        rule = RULES.get(func)
        return rule(self, func, *args, **(kwargs or {})) if rule else func(*args, **(kwargs or {}))

    def convolution(self, func, x, weight, bias=None, *args, **kwargs):
        y = self._dealt(func, x, weight, bias, args, kwargs)
        self.convolved = y, (func, x, weight, bias, args, kwargs)
        return y

    def batch_norm(self, func, x, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        if training or self.convolved is None or self.convolved[0] is not x:
            return func(x, mean, variance, weight, bias, training, momentum, eps)
        of, source, kernel, shift, args, kwargs = self.convolved[1]
        scale = (1 if weight is None else weight) / (variance + eps).sqrt()
        shift = (0 if bias is None else bias) + scale * ((0 if shift is None else shift) - mean)
        kernel = kernel * scale.view(-1, *(1,) * (kernel.dim() - 1))
        return self._dealt(of, source, kernel, shift, args, kwargs)

    def _dealt(self, func, x, weight, bias, args, kwargs):
        y = func(x, weight, bias, *args, **kwargs)
        above = func(x, weight.clamp(min=0), None, *args, **kwargs)
        below = func(x, weight.clamp(max=0), None, *args, **kwargs)
        return _scaled(y + self.gamma * torch.where(y.detach() > 0, above, below), y)

    def gate(self, func, x, *args, **kwargs):
        return func(x, *args, **kwargs).detach()

    def activation(self, func, x, *args, **kwargs):
        return _scaled(x, func(x, *args, **kwargs))

    def layer_norm(self, func, x, shape, weight=None, bias=None, eps=1e-5):
        axes = tuple(range(-len(shape), 0))
        centered = x - x.mean(axes, keepdim=True)
        y = centered * (x.var(axes, keepdim=True, correction=0) + eps).rsqrt().detach()
        y = y if weight is None else y * weight
        return y if bias is None else y + bias

    def attention(self, func, query, key, value, *args, **kwargs):
        # Linear in the values: with the weights held fixed, their gradient is all that is left.
        return func(query.detach(), key.detach(), value, *args, **kwargs)


def _scaled(dealt, y):
    """`dealt`, with the value of `y`: the quotient of both is held fixed."""
    safe = torch.where(dealt.abs() < TINY, TINY, dealt).detach()
    return dealt * (y / safe).detach()


_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_GATES = (
    functional.softmax, torch.softmax, torch.Tensor.softmax, functional.sigmoid, torch.sigmoid, torch.Tensor.sigmoid,
    functional.hardsigmoid,
)  # fmt: skip
_ACTIVATIONS = (functional.silu, functional.gelu, functional.hardswish)
RULES = {
    **dict.fromkeys(_CONVOLUTIONS, _Rules.convolution),
    **dict.fromkeys(_GATES, _Rules.gate),
    **dict.fromkeys(_ACTIVATIONS, _Rules.activation),
    functional.batch_norm: _Rules.batch_norm,
    functional.layer_norm: _Rules.layer_norm,
    functional.scaled_dot_product_attention: _Rules.attention,
}
"""By function; what is not named here is linear, or chooses, as ReLU and a maximum do."""
