"""TimeSformer: a transformer whose patches attend to those of other slices, then to those of the same slice.

Bertasius et al. 2021 (arXiv:2102.05095), divided space-time attention, base size; the authors' code:
facebookresearch/TimeSformer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from .base import STAGES, MultiTaskNetwork
from .geometry import Geometry

PATCH = 16
HEAD = 64
"""Channels of an attention head."""
BLOCKS = (3, 3, 3, 2)
"""Blocks of the four stages. The last of the twelve is in the neck: only its class token is used."""


class Attention(nn.Module):
    """Multi-head self-attention among tokens [N, n, C]."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // HEAD)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def _queries_keys_values(self, x):
        return self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [N, heads, n, C / heads]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map tokens [N, n, C] to tokens of the same shape."""
        queries, keys, values = self._queries_keys_values(x)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def multiply_adds(self, x: torch.Tensor) -> int:
        """Multiply-adds of the two products between tokens, for `cost`."""
        return 2 * x.shape[1] * x.numel()

    def weights(self, x: torch.Tensor) -> torch.Tensor:
        """Attention of each token to each other one, [N, n, n], averaged over the heads; rows add up to 1."""
        queries, keys, _ = self._queries_keys_values(x)
        scale = queries.shape[-1] ** -0.5
        return (scale * queries @ keys.transpose(-2, -1)).softmax(-1).mean(1)


class StochasticDepth(nn.Module):
    """Skips the residual branch for some samples in training (Huang et al. 2016, arXiv:1603.09382)."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The branch's output, zero for some samples and scaled up for the others."""
        if not self.training or self.rate == 0:
            return x
        kept = x.new_empty(len(x), *(1,) * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class Block(nn.Module):
    """Attention across the slices, attention within them, and an MLP."""

    def __init__(self, width: int, drop_path: float):
        super().__init__()
        self.norm_across, self.across = nn.LayerNorm(width, eps=1e-6), Attention(width)
        self.project_across = nn.Linear(width, width)
        self.norm_within, self.within = nn.LayerNorm(width, eps=1e-6), Attention(width)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop_path = StochasticDepth(drop_path)

    def columns(self, x: torch.Tensor) -> torch.Tensor:
        """Input of the attention across slices: tokens [N, d, n, C] as [N × n, d, C], normalized."""
        return self.norm_across(x.transpose(1, 2).flatten(0, 1))

    def slices(self, x: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        """Input of the attention within slices: class token and tokens of the slice, [N × d, 1 + n, C], normalized."""
        token = token[:, None, None].expand(-1, x.shape[1], 1, -1)
        return self.norm_within(torch.cat([token, x], dim=2).flatten(0, 1))

    def after_columns(self, x: torch.Tensor) -> torch.Tensor:
        """Tokens [N, d, n, C] after the attention across the slices."""
        mixed = self.project_across(self.drop_path(self.across(self.columns(x))))
        return x + mixed.unflatten(0, (len(x), -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor, token: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map tokens [N, d, n, C] and the class token [N, C] to the same shapes."""
        x = self.after_columns(x)
        mixed = self.drop_path(self.within(self.slices(x, token))).unflatten(0, (len(x), -1))
        # The class token attends to each slice separately; the results are averaged.
        x, token = x + mixed[:, :, 1:], token + mixed[:, :, 0].mean(1)
        return tuple(tokens + self.drop_path(self.mlp(self.norm_mlp(tokens))) for tokens in (x, token))


def pack(x: torch.Tensor, token: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Tokens [N, d, n, C] as features [N, C, 1 + d, h, w], with the class token [N, C] repeated in an extra slice 0."""
    grid = x.unflatten(2, shape).permute(0, 4, 1, 2, 3)
    return torch.cat([token[:, :, None, None, None].expand(-1, -1, 1, *shape), grid], dim=2)


def unpack(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The inverse of `pack`, without the shape."""
    return features[:, :, 1:].flatten(3).permute(0, 2, 3, 1), features[:, :, 0, 0, 0]


class Blocks(nn.Module):
    """Blocks in sequence, with features as returned by `pack` as input and output."""

    def __init__(self, blocks: Sequence[Block]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features [N, C, 1 + d, h, w] to features of the same shape."""
        x, token = unpack(features)
        for block in self.blocks:
            x, token = block(x, token)
        return pack(x, token, features.shape[3:])


class Patches(nn.Module):
    """16×16 patches of each slice as tokens, with learned embeddings of their position and slice."""

    def __init__(self, width: int, grid: Sequence[int]):
        super().__init__()
        depth, height, columns = grid
        self.project = nn.Conv3d(1, width, (1, PATCH, PATCH), (1, PATCH, PATCH))
        self.place = nn.Parameter(torch.empty(1, width, height, columns))
        self.slice = nn.Parameter(torch.zeros(1, width, depth))
        self.token = nn.Parameter(torch.empty(1, width))
        self.token_place = nn.Parameter(torch.empty(1, width))
        for parameter in (self.place, self.token, self.token_place):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map images [N, 1, D, H, W] to features as returned by `pack`; rows and columns are padded with zeros."""
        height, width = image.shape[3:]
        image = F.pad(image, (0, -width % PATCH, 0, -height % PATCH))
        x = self.project(image)
        place, places = self.place, self.slice
        if place.shape[2:] != x.shape[3:]:
            place = F.interpolate(place, x.shape[3:], mode="bilinear", align_corners=False)
        if places.shape[2] != x.shape[2]:
            places = F.interpolate(places, x.shape[2], mode="linear", align_corners=False)
        x = x + place[:, :, None] + places[..., None, None]
        token = (self.token + self.token_place)[:, :, None, None, None]
        return torch.cat([token.expand(len(x), -1, 1, *x.shape[3:]), x], dim=2)


class ClassToken(nn.Module):
    """The last block and norm, whose class token is returned as features [N, C, 1, 1, 1]."""

    def __init__(self, block: Block, width: int):
        super().__init__()
        self.block, self.norm = block, nn.LayerNorm(width, eps=1e-6)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map features as returned by `pack` to [N, C, 1, 1, 1]."""
        _, token = self.block(*unpack(features))
        return self.norm(token)[:, :, None, None, None]


class TimeSformer(MultiTaskNetwork):
    """TimeSformer of base size; any input size.

    The features of a stage are its tokens on their grid, with an extra slice 0 that contains the class token; `on_grid`
    removes it.

    Parameters
    ----------
    width : int
        Channels of a token (768 in the publication): at most 64, or a multiple of 64.
    grid : sequence of int
        Slices, rows and columns of the input that the position embeddings fit; they are interpolated for others.
    final_relu : bool
        Keep the paper's ReLU before the softmax.
    drop_path : float
        Share of samples for which the last block is skipped in training; decreases to 0 for the first block.
    """

    def __init__(
        self, width: int = 768, grid: Sequence[int] = (32, 224, 224), final_relu: bool = True, drop_path: float = 0.1
    ):
        super().__init__()
        if width > HEAD and width % HEAD:
            raise ValueError(f"width is {width}; expected at most {HEAD} (one attention head) or a multiple of it.")
        depth, rows, columns = grid
        self.stem = Patches(width, (depth, -(-rows // PATCH), -(-columns // PATCH)))
        last = sum(BLOCKS)
        blocks = [Block(width, drop_path * n / last) for n in range(last + 1)]
        geometry = Geometry()
        geometry.add((1, PATCH, PATCH), (0, (PATCH - 1) / 2, (PATCH - 1) / 2))
        for name, count in zip(STAGES, BLOCKS):
            self.add_stage(name, Blocks(blocks[:count]), geometry, width)
            blocks = blocks[count:]
        architecture = {"width": width, "grid": list(grid), "final_relu": final_relu, "drop_path": drop_path}
        self.finish(architecture, final_relu, ClassToken(blocks[0], width))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        # In all but the first block, attention across slices contributes nothing before training.
        for module in [m for m in self.modules() if isinstance(m, Block)][1:]:
            nn.init.zeros_(module.project_across.weight)

    def on_grid(self, features: torch.Tensor) -> torch.Tensor:
        """Features without the slice of the class token."""
        return features[:, :, 1:]

    def attention_weights(
        self, features: torch.Tensor, stage: str = STAGES[-1]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Attention weights of each block after a stage, averaged over the attention heads.

        Yields
        ------
        across : tensor [N, n, d, d]
            At each position, between slices.
        within : tensor [N, d, 1 + n, 1 + n]
            In each slice, between positions; the first is the class token.
        """
        x, token = unpack(features)
        later = [block for name in STAGES[STAGES.index(stage) + 1 :] for block in getattr(self, name).blocks]
        for block in (*later, self.neck.block):
            across = block.across.weights(block.columns(x))
            within = block.within.weights(block.slices(block.after_columns(x), token))
            yield across.unflatten(0, (len(x), -1)), within.unflatten(0, (len(x), -1))
            x, token = block(x, token)
