"""Batch norm's statistics: estimated anew after a change of resolution, then kept.

Batch norm divides by what the few scans of a batch have in common, a large bleed among them included, which blurs what
a sum over the image shall tell. With statistics that stay, the same bleed gives the same output beside any other scan.
"""

import torch
from torch.nn.modules.batchnorm import _BatchNorm

BATCH = 16
"""Scans at once: in small batches the variance between scans comes out too small."""
BATCHES = 15


def estimate_norms(network, batches):
    """Replace the running statistics by plain means over batches.

    Parameters
    ----------
    network : nn.Module
    batches : iterable of tensor [N, 1, D, H, W]
    """
    norms = _norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # PyTorch's word for a plain mean
    network.train()
    with torch.no_grad():
        for images in batches:
            network(images)
    for norm, momentum in zip(norms, momenta):
        norm.momentum = momentum


def freeze_norms(network):
    """Use the running statistics and leave them as they are, until the next call of `train`."""
    for norm in _norms(network):
        norm.eval()


def _norms(network):
    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
