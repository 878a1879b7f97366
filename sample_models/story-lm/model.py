"""A small decoder-only language model over words: it reads a story so far and scores every word as the next one.

    word ids ─▶ word embedding + position embedding ─▶ 4 × Block ─▶ norm ─▶ head ─▶ a score for each word

    Block:   x ─┬─ norm ─ causal attention ─ + ─┬─ norm ─ Linear ─ GELU ─ Linear ─ + ─▶
                └────────────────────────────┘  └──────────────────────────────┘

The layout of GPT-2 (Radford et al. 2019), some two hundred times smaller.
Shapes: B stories, T words (at most 84), C channels (96), H heads (4), D = C / H channels a head, V words (193).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

VOCABULARY = 193
CONTEXT = 84
WIDTH = 96
HEADS = 4
BLOCKS = 4


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a word sees only itself and the words before it; q, k, v in one matrix.

    Stories are padded at the end, so a real word never sees padding and no padding mask is needed.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, words, width = x.shape
        packed = self.qkv(x).view(batch, words, 3, self.num_heads, width // self.num_heads)  # (B, T, 3, H, D)
        q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, D)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        return self.proj(mixed.transpose(1, 2).reshape(batch, words, width))  # (B, T, C)


class Block(nn.Module):
    """Attention to the words before, then a small network on each word; both add to the stream."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = CausalAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))  # (B, T, C)
        return x + self.mlp(self.norm2(x))  # (B, T, C)


class StoryModel(nn.Module):
    """Word ids [B, T] -> logits [B, T, V] of the word that follows each.

    Of a text longer than 84 words it reads the last 84.
    """

    def __init__(self) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embedding = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block(WIDTH, HEADS) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.apply(_small_start)

    def forward(self, ids: Tensor) -> Tensor:
        ids = ids[:, -CONTEXT:]
        positions = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        x = self.word_embedding(ids) + self.position_embedding(positions)  # (B, T, C)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # (B, T, C) -> (B, T, V)


def _small_start(module: nn.Module) -> None:
    """GPT-2's start: small normal weights, so that the first predictions are near uniform."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def build() -> nn.Module:
    """The untrained model."""
    return StoryModel()
