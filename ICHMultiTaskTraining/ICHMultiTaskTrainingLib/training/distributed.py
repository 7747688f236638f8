"""Training with several processes, on one or several computers, started by torchrun."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from ICHMultiTaskLib.common.errors import ICHMultiTaskError

PATIENCE = timedelta(days=2)
"""The other processes wait this long while the first prepares the scans; torchrun notices if one has ended."""


@dataclass(frozen=True)
class Workers:
    """The processes that train together, as seen by one of them.

    Attributes
    ----------
    rank : int
        Index of this process; 0 writes the files.
    count : int
    """

    rank: int = 0
    count: int = 1

    def shard(self, rows: np.ndarray) -> np.ndarray:
        """The contiguous part of an array that belongs to this process."""
        return np.array_split(rows, self.count)[self.rank] if self.count > 1 else rows

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum of an array over the processes."""
        if self.count == 1:
            return values
        values = torch.from_numpy(values)
        if distributed.get_backend() == "nccl":
            values = values.cuda()
        distributed.all_reduce(values)
        return values.cpu().numpy()

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Concatenate the arrays of all processes, in the order of `shard`."""
        if self.count == 1:
            return values
        parts = [None] * self.count
        distributed.all_gather_object(parts, values)
        return np.concatenate(parts)

    def run_on_first(self, make: Callable[[], Any]) -> Any:
        """Call `make` only in the first process; all processes get its result, or the error it raised."""
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

    def wrap(self, learner: nn.Module, device: str, some_unused: bool) -> nn.Module:
        """The module with gradients averaged over the processes; `some_unused`: a batch may not use all parameters."""
        if self.count == 1:
            return learner
        # The strides of a 1×1×1 kernel differ between memory layouts, without any effect.
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        devices = [torch.cuda.current_device()] if device == "cuda" else None
        return nn.parallel.DistributedDataParallel(learner, devices, find_unused_parameters=some_unused)


ALONE = Workers()


@contextmanager
def launched_workers(device: str) -> Iterator[Workers]:
    """Join the processes that torchrun started with this one.

    Parameters
    ----------
    device : str
        "cuda": each process uses the GPU of its local rank.

    Yields
    ------
    Workers
        A single one without torchrun.
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
        # A process that ended right after an exchange could wait for itself: PyTorch ends its threads while it holds
        # Python's lock, and the thread of the exchange needs that lock to release the result.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()
