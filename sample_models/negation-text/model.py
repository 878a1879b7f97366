"""A small text classifier of stock PyTorch parts: two encoder layers of two heads over the words of a review.

    word ids ─▶ word embedding + position embedding ─▶ 2 × nn.TransformerEncoderLayer ─▶ mean over words ─▶ 2 logits

Shapes: B reviews, T words (at most 24), C channels (32). Small on purpose: in larger ones many heads share a task.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

VOCABULARY = 154
PAD = 0
LENGTH = 24
WIDTH = 32
HEADS = 2
LAYERS = 2
CLASSES = 2


class ReviewClassifier(nn.Module):
    """Word ids [B, T], padded with PAD, -> logits [B, classes]."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(VOCABULARY, WIDTH, padding_idx=PAD)
        self.position_embedding = nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, dim_feedforward=2 * WIDTH, dropout=0.1, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == PAD  # (B, T), True where there is no word
        positions = torch.arange(ids.shape[1], device=ids.device)  # (T,)
        x = self.word_embedding(ids) + self.position_embedding(positions)  # (B, T, C)
        x = self.encoder(x, src_key_padding_mask=padding)  # (B, T, C)
        words = (~padding).unsqueeze(-1).to(x.dtype)  # (B, T, 1)
        mean = (x * words).sum(dim=1) / words.sum(dim=1).clamp(min=1)  # (B, C)
        return self.head(mean)  # (B, classes)


def build() -> nn.Module:
    """The untrained model."""
    return ReviewClassifier()
