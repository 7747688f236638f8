"""LayerCAM: each place counts by its own positive gradient (Jiang et al. 2021, doi 10.1109/TIP.2021.3089943)."""


def weigh(features, gradients):
    """Features weighted by their own positive gradients; tensors [N, C, d, h, w]."""
    return gradients.relu() * features
