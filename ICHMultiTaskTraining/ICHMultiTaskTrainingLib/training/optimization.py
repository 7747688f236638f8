"""Optimization of the weights: optimizer, learning rate, gradient clipping, and the pull toward the start."""

from __future__ import annotations

import torch
from torch import nn

from .config import TrainingConfig


class Optimization:
    """Optimizer steps of a run.

    Parameters
    ----------
    learner : Module
        On its device; all of its weights are trained.
    network : MultiTaskNetwork
        The part of the learner that `anchor` pulls toward its current weights.
    config : TrainingConfig
    device : str
    scales : bool
        Whether losses are scaled up before the backward pass, as needed for fp16.
    steps : int
        Number of steps of the whole run.
    """

    def __init__(
        self, learner: nn.Module, network: nn.Module, config: TrainingConfig, device: str, scales: bool, steps: int
    ):
        self.config, self.network, self.steps = config, network, steps
        self.parameters = list(learner.parameters())
        self.anchors = [p.detach().clone() for p in network.parameters()] if config.anchor else []
        self.scaler = torch.amp.GradScaler(device, enabled=scales)
        rate, decay = config.learning_rate, config.weight_decay
        if config.optimizer == "sgd":
            self.optimizer = torch.optim.SGD(self.parameters, rate, config.momentum, weight_decay=decay)
        else:
            fused = device in ("cpu", "cuda")  # one pass over the weights instead of a dozen
            self.optimizer = torch.optim.AdamW(self.parameters, rate, weight_decay=decay, fused=fused)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.rate)

    def rate(self, step: int) -> float:
        """Learning rate at a step, as a fraction of the setting."""
        warm_up = max(1, self.steps // 10)
        if self.config.schedule == "constant":
            return 1.0
        return min((step + 1) / warm_up, (self.steps - step) / max(1, self.steps - warm_up))

    def clear(self) -> None:
        """Discard all gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a loss; gradients are accumulated."""
        self.scaler.scale(loss).backward()

    def clip(self) -> torch.Tensor:
        """Clip the norm of the gradient, and return the norm before."""
        self.scaler.unscale_(self.optimizer)
        limit = float("inf") if self.config.gradient_clip is None else self.config.gradient_clip
        return nn.utils.clip_grad_norm_(self.parameters, limit)

    def step(self) -> None:
        """Update the weights and discard the gradients."""
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.clear()
        if self.anchors:
            pull = min(1.0, self.config.anchor * self.optimizer.param_groups[0]["lr"])
            with torch.no_grad():
                for parameter, anchor in zip(self.network.parameters(), self.anchors):
                    parameter.lerp_(anchor, pull)
        self.scheduler.step()

    @property
    def skips_overflow(self) -> bool:
        """Whether a gradient that is not finite is skipped, because the loss scale of fp16 is then halved."""
        return self.scaler.is_enabled() and self.scaler.get_scale() >= 1

    def state_dict(self) -> dict:
        """State for a checkpoint, with the keys `optimizer`, `scheduler` and `scaler`."""
        return {name: getattr(self, name).state_dict() for name in ("optimizer", "scheduler", "scaler")}

    def load_state_dict(self, state: dict) -> None:
        """Restore the state of a checkpoint; checkpoints of the first version have no `scaler`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        for group in self.optimizer.param_groups:  # if epochs were added, the rate at the same step differs
            group["lr"] = self.config.learning_rate * self.rate(self.scheduler.last_epoch)
        if "scaler" in state:
            self.scaler.load_state_dict(state["scaler"])
