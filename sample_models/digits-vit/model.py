"""A small vision transformer for 8 x 8 images of digits.

    image (B, 1, 8, 8)
      |  cut into 4 x 4 patches of 2 x 2 pixels
    patches (B, 16, 4)
      |  embed, put the class token in front, add positions
    tokens (B, 17, 64)
      |  four blocks:   x + attn(norm1(x))     4 heads of width 16
      |                 x + mlp(norm2(x))      64 -> 128 -> 64
      |  norm, take the class token
    logits (B, 10)

The blocks are pre-norm, as in "An Image is Worth 16x16 Words" (Dosovitskiy et al., 2021).
Token 0 is the class token; token 1 + row * 4 + column is the patch at (row, column).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = 8  # pixels a side
PATCH = 2  # pixels a side
WIDTH = 64
HEADS = 4
DEPTH = 4
HIDDEN = 128
CLASSES = 10


class Attention(nn.Module):
    """Self-attention with queries, keys and values packed in one matrix, `qkv`."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, width // self.num_heads)  # (B, N, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, N, D)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, N, D)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))  # (B, N, H * D)


class Block(nn.Module):
    """Attention between the tokens, then a small network on each token, both beside a residual path."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # (B, N, width)


class VisionTransformer(nn.Module):
    """Images `[B, 1, 8, 8]` with ink from 0 to 1 -> logits `[B, 10]`."""

    def __init__(self) -> None:
        super().__init__()
        self.grid = IMAGE // PATCH
        self.embed = nn.Linear(PATCH * PATCH, WIDTH)
        self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, 1 + self.grid**2, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block(WIDTH, HEADS, HIDDEN) for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        batch = images.shape[0]
        patches = images.reshape(batch, self.grid, PATCH, self.grid, PATCH)  # (B, rows, P, columns, P)
        patches = patches.transpose(2, 3).reshape(batch, self.grid**2, PATCH * PATCH)  # (B, 16, 4)
        tokens = torch.cat([self.class_token.expand(batch, -1, -1), self.embed(patches)], dim=1)  # (B, 17, 64)
        tokens = self.blocks(tokens + self.positions)
        return self.head(self.norm(tokens[:, 0]))  # (B, 10)


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return VisionTransformer()
