"""Guided backpropagation and deconvolution: gradients with a modified backward pass through ReLU.

Springenberg et al. 2015, arXiv:1412.6806; Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53. Both pass only
positive gradients on; guided backpropagation passes them only where the ReLU's input was positive, too. Other
activations, as in X3D and TimeSformer, keep their gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ...common.progress import NO_PROGRESS, Progress
from .saliency import gradient

RELU = {functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
"""Functions by which a network may call ReLU."""


class _ModifiedReLU(torch.autograd.Function):
    @staticmethod
    def forward(context, x, is_guided):
        context.save_for_backward(x)
        context.is_guided = is_guided
        return x.relu()

    @staticmethod
    def backward(context, gradients):
        (x,) = context.saved_tensors
        gradients = gradients.relu()
        return gradients * (x > 0) if context.is_guided else gradients, None


class _ReplaceReLU(TorchFunctionMode):
    """Context in which every ReLU is replaced by `_ModifiedReLU`; no module is changed."""

    def __init__(self, is_guided):
        super().__init__()
        self.is_guided = is_guided

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in RELU:
            return _ModifiedReLU.apply(args[0] if args else kwargs["input"], self.is_guided)
        return func(*args, **(kwargs or {}))


def _explain(score, image, is_guided):
    with _ReplaceReLU(is_guided):
        return gradient(score, image).sum(1).relu()


def guided(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the guided gradient, [N, D, H, W], for images [N, 1, D, H, W]."""
    return _explain(score, image, True)


def deconvolution(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the deconvolution, [N, D, H, W], for images [N, 1, D, H, W]."""
    return _explain(score, image, False)
