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
        """Part of an array that belongs to this process, neighbors together."""
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
