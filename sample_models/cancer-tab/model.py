"""A small FT-Transformer: every column of a table becomes a token, and attention mixes the columns.

    30 numbers ──FeatureTokenizer──▶ 30 tokens ──▶ CLS + 30 tokens ──▶ 2 × Block ──▶ CLS ──▶ norm ──▶ 2 logits

    Block:   x ─┬─ norm ─ attention ─ + ─┬─ norm ─ Linear ─ GELU ─ Linear ─ + ─▶
                └─────────────────────┘  └──────────────────────────────┘

After Gorishniy et al. 2021, "Revisiting Deep Learning Models for Tabular Data".
Shapes: B examples, F features (30), N = F + 1 tokens, C channels (32), H heads (4), D = C / H channels a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 30
CLASSES = 2
WIDTH = 32
HEADS = 4
BLOCKS = 2


class FeatureTokenizer(nn.Module):
    """One token a feature: the number times the feature's own direction, plus the feature's own bias."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, width).uniform_(-(width**-0.5), width**-0.5))
        self.bias = nn.Parameter(torch.empty(features, width).uniform_(-(width**-0.5), width**-0.5))

    def forward(self, numbers: Tensor) -> Tensor:
        return numbers.unsqueeze(-1) * self.weight + self.bias  # (B, F) -> (B, F, C)


class Attention(nn.Module):
    """Multi-head self-attention with q, k and v packed into one matrix."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        packed = self.qkv(x).view(batch, tokens, 3, self.num_heads, width // self.num_heads)  # (B, N, 3, H, D)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, N, D)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, N, D)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))  # (B, N, C)


class Block(nn.Module):
    """Attention between the features, then a small network on each token; both add to the stream."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.dropout(self.attention(self.norm1(x)))  # (B, N, C)
        return x + self.dropout(self.mlp(self.norm2(x)))  # (B, N, C)


class TableTransformer(nn.Module):
    """Standardised numbers [B, F] -> logits [B, classes]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = FeatureTokenizer(FEATURES, WIDTH)
        self.cls = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, numbers: Tensor) -> Tensor:
        tokens = self.tokenizer(numbers)  # (B, F) -> (B, F, C)
        x = torch.cat([self.cls.expand(len(tokens), -1, -1), tokens], dim=1)  # (B, N, C)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))  # (B, C) -> (B, classes)


def build() -> nn.Module:
    """The untrained model."""
    return TableTransformer()
