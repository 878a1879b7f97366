"""Flow: attention of several layers taken together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def rollout(maps: Sequence[Tensor]) -> Tensor:
    """R <- (A/2 + I/2) R over layers `[batch, heads, n, n]`, heads averaged: `[batch, n, n]` (Abnar, Zuidema 2020)."""
    count = maps[0].shape[-1]
    rolled = torch.eye(count, dtype=maps[0].dtype, device=maps[0].device).expand(maps[0].shape[0], -1, -1)
    for weights in maps:
        mixed = 0.5 * weights.mean(1) + 0.5 * torch.eye(count, dtype=weights.dtype, device=weights.device)
        rolled = mixed @ rolled
    return rolled


def gradient_rollout(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """R <- R + mean over heads of relu(gradient * A) R: `[batch, n, n]` (Chefer et al. 2021)."""
    count = maps[0].shape[-1]
    rolled = torch.eye(count, dtype=maps[0].dtype, device=maps[0].device).expand(maps[0].shape[0], -1, -1)
    for weights, gradient in zip(maps, gradients, strict=True):
        rolled = rolled + (gradient * weights).clamp_min(0).mean(1) @ rolled
    return rolled
