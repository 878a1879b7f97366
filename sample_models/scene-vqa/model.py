"""A small transformer that answers a question about a scene of digits, by cross-attention from words to patches.

    image (B, 1, 32, 32)                          question (B, 8) word ids
      |  cut into 8 x 8 patches of 4 x 4 pixels     |
    patches (B, 64, 16)                             |  embed, add positions
      |  embed, add positions                     words (B, 8, 64)
      |  three blocks: x + attn(norm1(x))           |
      |                x + mlp(norm2(x))            |
    patches (B, 64, 64)                             |
      |                                             |  two blocks: x + attn(norm1(x))            words to words
      '---------------------------------------------|->            x + cross(norm2(x), patches)  words to patches
                                                    |              x + mlp(norm3(x))
                                                    |  norm, mean over the words
                                                  logits (B, 2), no and yes

All attention has four heads of width 16. The blocks are pre-norm; those of the words have the three parts of the
decoder in "Attention Is All You Need" (Vaswani et al., 2017), without its mask of later words.
Patch row * 8 + column is the one at (row, column).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE = 32  # pixels a side
PATCH = 4  # pixels a side
VOCABULARY = 28
PAD = 0
LENGTH = 8
WIDTH = 64
HEADS = 4
PATCH_BLOCKS = 3
WORD_BLOCKS = 2
HIDDEN = 128
CLASSES = 2


class SelfAttention(nn.Module):
    """Attention of tokens to each other, with queries, keys and values packed in one matrix, `qkv`."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """`x` `[B, N, width]`; `there` `[B, 1, 1, N]`, False at tokens that none may attend to."""
        batch, tokens, width = x.shape
        qkv = self.qkv(x).view(batch, tokens, 3, self.num_heads, width // self.num_heads)  # (B, N, 3, H, D)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, H, N, D)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=there)  # (B, H, N, D)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))  # (B, N, H * D)


class CrossAttention(nn.Module):
    """Attention of words to patches: queries `q` from the words, keys `k` and values `v` from the patches."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(self, words: Tensor, patches: Tensor) -> Tensor:
        """`words` `[B, T, width]`, `patches` `[B, N, width]` -> `[B, T, width]`."""
        batch, tokens, width = words.shape
        shape = (batch, -1, self.num_heads, width // self.num_heads)
        q = self.q(words).view(shape).transpose(1, 2)  # (B, H, T, D)
        k = self.k(patches).view(shape).transpose(1, 2)  # (B, H, N, D)
        v = self.v(patches).view(shape).transpose(1, 2)  # (B, H, N, D)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, H, T, D)
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, width))  # (B, T, H * D)


def network(width: int, hidden: int) -> nn.Sequential:
    """The small network on each token."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class PatchBlock(nn.Module):
    """Attention between the patches, then a small network on each, both beside a residual path."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = network(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # (B, N, width)


class WordBlock(nn.Module):
    """Attention between the words, from the words to the patches, then a small network on each word."""

    def __init__(self, width: int, num_heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.cross = CrossAttention(width, num_heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = network(width, hidden)

    def forward(self, x: Tensor, there: Tensor, patches: Tensor) -> Tensor:
        """`x` `[B * Q, T, width]`: Q questions about each scene of `patches` `[B, N, width]`, one after the other."""
        x = x + self.attn(self.norm1(x), there)
        # Words do not see each other here, so that all questions about a scene can look at it as one row of words.
        asked = self.norm2(x).view(len(patches), -1, x.shape[2])  # (B, Q * T, width)
        x = x + self.cross(asked, patches).view(x.shape)
        return x + self.mlp(self.norm3(x))  # (B * Q, T, width)


def waves(grid: int, width: int) -> Tensor:
    """Positions `[grid * grid, width]`: sines and cosines of the row, then of the column, from slow to fast.

    Those of scene-digits, after "Better plain ViT baselines" (Beyer et al., 2022): from a quarter turn a patch down to
    a sixteenth of that.
    """
    speeds = torch.pi / 2 * 16 ** -torch.linspace(0, 1, width // 4)  # radians a patch
    angles = torch.arange(grid)[:, None] * speeds  # (grid, width / 4)
    line = 0.5 * torch.cat([angles.sin(), angles.cos()], dim=1)  # (grid, width / 2)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], dim=2).flatten(0, 1)


class SceneAnswerer(nn.Module):
    """Scenes `[B, 1, 32, 32]` with ink from 0 to 1 and questions `[B, 8]`, padded with PAD -> logits `[B, 2]`.

    There may be Q questions about each scene, one after the other: questions `[B * Q, 8]` -> logits `[B * Q, 2]`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.grid = IMAGE // PATCH
        self.embed = nn.Linear(PATCH * PATCH, WIDTH)
        nn.init.uniform_(self.embed.weight, -0.5, 0.5)  # twice the usual: most of a scene is paper, which is 0
        self.patch_positions = nn.Parameter(waves(self.grid, WIDTH).unsqueeze(0))  # learned, but it starts from waves
        self.patch_blocks = nn.Sequential(*(PatchBlock(WIDTH, HEADS, HIDDEN) for _ in range(PATCH_BLOCKS)))
        self.patch_norm = nn.LayerNorm(WIDTH)
        self.words = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PAD)
        self.word_positions = nn.Parameter(torch.randn(1, LENGTH, WIDTH) * 0.02)
        self.word_blocks = nn.ModuleList(WordBlock(WIDTH, HEADS, HIDDEN) for _ in range(WORD_BLOCKS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, CLASSES)

    def see(self, image: Tensor) -> Tensor:
        """Scenes `[B, 1, 32, 32]` -> what the words look at: patches `[B, 64, 64]`, the last of them channels."""
        batch = image.shape[0]
        patches = image.reshape(batch, self.grid, PATCH, self.grid, PATCH)  # (B, rows, P, columns, P)
        patches = patches.transpose(2, 3).reshape(batch, self.grid**2, PATCH * PATCH)  # (B, 64, 16)
        return self.patch_norm(self.patch_blocks(self.embed(patches) + self.patch_positions))

    def answer(self, patches: Tensor, question: Tensor) -> Tensor:
        """Patches `[B, 64, 64]` and questions `[B * Q, 8]` -> logits `[B * Q, 2]`."""
        word = question != PAD  # (B, T), False where there is no word
        x = self.words(question) + self.word_positions  # (B, T, C)
        for block in self.word_blocks:
            x = block(x, word[:, None, None, :], patches)  # (B, T, C)
        share = word / word.sum(dim=1, keepdim=True)  # (B, T)
        return self.head((self.norm(x) * share[:, :, None]).sum(dim=1))  # (B, 2)

    def forward(self, image: Tensor, question: Tensor) -> Tensor:
        return self.answer(self.see(image), question)


def build() -> nn.Module:
    """The architecture with fresh weights."""
    return SceneAnswerer()
