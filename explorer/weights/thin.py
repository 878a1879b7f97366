"""Thin layers: what runs instead of a layer whose matrix is held as two thin factors."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ThinLinear(nn.Module):
    """A linear layer held in parts, each one matrix or two thin ones; their outputs stand side by side.

    parts: one entry for each matrix packed in the layer: `(weight [out, in],)`, or `(left [out, r], right [r, in])`.
    """

    def __init__(self, parts: list[tuple[Tensor, ...]], bias: Tensor | None) -> None:
        super().__init__()
        self.parts = nn.ModuleList(_Part(part) for part in parts)
        self.bias = None if bias is None else still(bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        if len(self.parts) == 1:
            y: Tensor = self.parts[0](x, self.bias)
            return y
        together = torch.cat([part(x) for part in self.parts], dim=-1)
        return together if self.bias is None else together + self.bias

    @property
    def weight(self) -> Tensor:
        """The full matrix `[out, in]`, for code that looks at it."""
        return torch.cat([part.weight for part in self.parts if isinstance(part, _Part)])


class _Part(nn.Module):
    """One matrix of a layer, whole or as two factors."""

    def __init__(self, weights: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.left = still(weights[0])
        self.right = still(weights[1]) if len(weights) > 1 else None

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = x if self.right is None else F.linear(x, self.right)  # (..., r)
        return F.linear(y, self.left, bias)

    @property
    def weight(self) -> Tensor:
        return self.left if self.right is None else self.left @ self.right


class ThinConv(nn.Module):
    """A convolution as r filters of the full kernel, then a 1×1 convolution to all channels (channel factorisation)."""

    def __init__(self, conv: nn.Conv1d | nn.Conv2d, left: Tensor, right: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        out, rank = left.shape
        kind: Any = nn.Conv2d if isinstance(conv, nn.Conv2d) else nn.Conv1d
        self.filters = kind(
            conv.in_channels,
            rank,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            1,
            False,
            conv.padding_mode,
            device="meta",  # the weights come from the factors: none are drawn
        )
        self.filters.weight = still(right.reshape(rank, *conv.weight.shape[1:]))  # (r, in, *kernel)
        self.mix = kind(rank, out, 1, bias=bias is not None, device="meta")
        self.mix.weight = still(left.reshape(out, rank, *[1] * len(conv.kernel_size)))  # (out, r, 1, ...)
        if bias is not None:
            self.mix.bias = still(bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, *space) -> (B, out, *space')."""
        y: Tensor = self.mix(self.filters(x))
        return y

    @property
    def weight(self) -> Tensor:
        """The full kernel `[out, in, *kernel]`, for code that looks at it."""
        filters = self.filters.weight
        return (self.mix.weight.flatten(1) @ filters.flatten(1)).reshape(-1, *filters.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        """`[out]`, or None."""
        bias: Tensor | None = self.mix.bias
        return bias


def still(tensor: Tensor) -> nn.Parameter:
    """The tensor as a Parameter that is not trained."""
    return nn.Parameter(tensor.detach(), requires_grad=False)
