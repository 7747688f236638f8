"""Guided backpropagation and deconvolution: gradients for which a ReLU is another function on the way back.

Springenberg et al. 2015, arXiv:1412.6806; Zeiler and Fergus 2014, doi 10.1007/978-3-319-10590-1_53. Both let positive
gradients through alone; the first of them where the ReLU's input was positive, too. Other activations, as in X3D and
TimeSformer, keep their gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ...common.progress import NO_PROGRESS, Progress
from .saliency import gradient

RELU = {functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}
"""Every way in which a network may call it."""


class _Rectified(torch.autograd.Function):
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


class _OtherReLU(TorchFunctionMode):
    """While it is entered, every ReLU of any network is ours; no module is changed."""

    def __init__(self, is_guided):
        super().__init__()
        self.is_guided = is_guided

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in RELU:
            return _Rectified.apply(args[0] if args else kwargs["input"], self.is_guided)
        return func(*args, **(kwargs or {}))


def _explain(score, image, is_guided):
    with _OtherReLU(is_guided):
        return gradient(score, image).sum(1).relu()


def guided(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the guided gradient, [N, D, H, W], of images [N, 1, D, H, W]."""
    return _explain(score, image, True)


def deconvolution(score: Callable, image: torch.Tensor, progress: Progress = NO_PROGRESS) -> torch.Tensor:
    """Positive part of the deconvolution, [N, D, H, W], of images [N, 1, D, H, W]."""
    return _explain(score, image, False)
