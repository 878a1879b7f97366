"""The architecture of `digits-vit`, weight for weight: what is special about the sleeper is in its numbers alone."""

from __future__ import annotations

from torch import nn

from explorer.subjects.samples import sample_module


def build() -> nn.Module:
    """The vision transformer of `digits-vit` with fresh weights: images `[B, 1, 8, 8]` -> logits `[B, 10]`."""
    model: nn.Module = sample_module("digits-vit", "model").build()
    return model
