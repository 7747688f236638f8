"""Grad-CAM: each channel counts by its mean gradient (Selvaraju et al. 2017, doi 10.1109/ICCV.2017.74)."""


def weigh(features, gradients):
    """Features weighted by the mean of their channel's gradient; tensors [N, C, d, h, w]."""
    return gradients.mean((2, 3, 4), keepdim=True) * features
