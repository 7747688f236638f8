"""Layer-wise relevance propagation: the score is distributed back, layer by layer, to the voxels that contribute to it.

Bach et al. 2015, doi 10.1371/journal.pone.0130140. A convolution and the batch norm that follows it are one layer, with
the γ-rule (Montavon et al. 2019, doi 10.1007/978-3-030-28954-6_10): positive contributions have more weight where the
output is positive, negative ones where it is negative, so that the denominator stays away from 0. Dense layers, sums
and means use the basic rule (LRP-0); a maximum passes everything to the largest input. The factors of other layers
(softmax, layer norm, gates) are treated as constants (Ali et al. 2022, arXiv:2202.07304).

Every layer is rewritten so that gradient × input yields the rule: y = y′ · (y / y′), where y′ is the rule's denominator
and the gradient of the quotient is stopped.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ...common.progress import NO_PROGRESS, Progress
from .saliency import gradient

GAMMA = 0.25
"""γ of the rule: additional weight of positive contributions at outputs above 0, and of negative ones below 0."""
TINY = 1e-9


def explain(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the relevance, [N, D, H, W], for images [N, 1, D, H, W]."""
    return relevance(score, image).sum(1).relu()


def relevance(score: Callable, image: torch.Tensor, gamma: float = GAMMA) -> torch.Tensor:
    """Relevance of every voxel, in the image's shape; without biases its sum is the score."""
    with _Rules(gamma):
        return gradient(score, image) * image


class _Rules(TorchFunctionMode):
    """Context in which every layer follows its rule; no module is changed."""

    def __init__(self, gamma):
        super().__init__()
        self.gamma = gamma
        self.convolved = None  # output and arguments of the last convolution

    def __torch_function__(self, func, types, args=(), kwargs=None):
        rule = RULES.get(func)
        return rule(self, func, *args, **(kwargs or {})) if rule else func(*args, **(kwargs or {}))

    def convolution(self, func, x, weight, bias=None, *args, **kwargs):
        y = self._gamma_rule(func, x, weight, bias, args, kwargs)
        self.convolved = y, (func, x, weight, bias, args, kwargs)
        return y

    def batch_norm(self, func, x, mean, variance, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
        if training or self.convolved is None or self.convolved[0] is not x:
            return func(x, mean, variance, weight, bias, training, momentum, eps)
        convolve, source, kernel, shift, args, kwargs = self.convolved[1]
        scale = (1 if weight is None else weight) / (variance + eps).sqrt()
        shift = (0 if bias is None else bias) + scale * ((0 if shift is None else shift) - mean)
        kernel = kernel * scale.view(-1, *(1,) * (kernel.dim() - 1))
        return self._gamma_rule(convolve, source, kernel, shift, args, kwargs)

    def _gamma_rule(self, func, x, weight, bias, args, kwargs):
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
        # Attention is linear in the values if its weights are constant.
        return func(query.detach(), key.detach(), value, *args, **kwargs)


def _scaled(denominator, y):
    """The value of `y` with the gradient of `denominator`, times the constant quotient of both."""
    safe = torch.where(denominator.abs() < TINY, TINY, denominator).detach()
    return denominator * (y / safe).detach()


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
"""Rules by function. Functions not listed are linear or select an input (ReLU, maximum) and need no rule."""
