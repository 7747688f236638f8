"""Training by several processes, on one machine or many, started by torchrun."""

import os
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
from torch import distributed, nn

from ICHMultiTaskLib.common.errors import ICHMultiTaskError

PATIENCE = timedelta(days=2)
"""The others wait while the first process prepares the scans; torchrun itself sees when one has ended."""


@dataclass(frozen=True)
class Workers:
    """The processes that train together, as seen by one of them.

    Attributes
    ----------
    rank : int
        Which one this is; 0 writes the files.
    count : int
    """

    rank: int = 0
    count: int = 1

    def shard(self, rows):
        """This process's part of an array, neighbors together."""
        return np.array_split(rows, self.count)[self.rank] if self.count > 1 else rows

    def total(self, values):
        """Sum of an array over the processes."""
        if self.count == 1:
            return values
        values = torch.from_numpy(values)
        if distributed.get_backend() == "nccl":
            values = values.cuda()
        distributed.all_reduce(values)
        return values.cpu().numpy()

    def gather(self, values):
        """Arrays of all processes' `shard`, one after the other, as they were before."""
        if self.count == 1:
            return values
        parts = [None] * self.count
        distributed.all_gather_object(parts, values)
        return np.concatenate(parts)

    def run_on_first(self, make):
        """Call `make` in the first process alone; all get what it returned, or the error it raised."""
        if self.count == 1:
            return make()
        box = [None]
        if self.rank == 0:
            try:
                box = [make()]
            except ICHMultiTaskError as error:
                box = [error]
        distributed.broadcast_object_list(box)
        if isinstance(box[0], ICHMultiTaskError):
            raise box[0]
        return box[0]

    def wrap(self, learner, device, some_unused):
        """The module with gradients averaged over the processes; a batch may leave some of its parameters unused."""
        if self.count == 1:
            return learner
        # The strides of a 1×1×1 kernel's single rows differ between its layouts and mean nothing.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        devices = [torch.cuda.current_device()] if device == "cuda" else None
        return nn.parallel.DistributedDataParallel(learner, devices, find_unused_parameters=some_unused)


ALONE = Workers()


@contextmanager
def launched_workers(device):
    """Join the processes that torchrun has started with this one.

    Parameters
    ----------
    device : str
        "cuda": each process takes the GPU of its local rank.

    Yields
    ------
    Workers
        One alone without torchrun.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield ALONE
        return
    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Workers(distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


def synchronize_batch_norm(network, device):
    """Replace every batch norm by one whose statistics are those of all processes' batches together."""
    if device == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for name, child in network.named_children():
        if isinstance(child, nn.BatchNorm3d):
            norm = SynchronizedBatchNorm3d(child.num_features, child.eps, child.momentum)
            norm.load_state_dict(child.state_dict())
            setattr(network, name, norm)
        else:
            synchronize_batch_norm(child, device)
    return network


class SynchronizedBatchNorm3d(nn.BatchNorm3d):
    """What `torch.nn.SyncBatchNorm` is on a GPU, for the devices that it refuses."""

    def forward(self, x):
        """Normalize [N, C, D, H, W] by the mean and variance over all processes."""
        if not self.training:
            return super().forward(x)
        axes, shape = (0, 2, 3, 4), (1, -1, 1, 1, 1)
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = _Sum.apply(torch.cat([x.sum(axes), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centered = x - mean.view(shape)
        variance = _Sum.apply((centered**2).sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            new = 1.0 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, new)
            self.running_var.lerp_(variance * count / (count - 1), new)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centered * scale.view(shape) + self.bias.view(shape)


class _Sum(torch.autograd.Function):
    """Sum over the processes; so is its gradient, as each process's output depends on every input."""

    @staticmethod
    def forward(ctx, values):
        values = values.clone()
        distributed.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(gradient)
        return gradient
