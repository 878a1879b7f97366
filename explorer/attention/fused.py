"""The fused attention in the open: what a call of `scaled_dot_product_attention` asks for, as PyTorch documents it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Asked:
    """What a call of the fused attention asks for, keys and values already repeated for grouped queries."""

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    dropout: float
    causal: bool
    scale: float

    @staticmethod
    def of(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Asked:
        """From the arguments of `scaled_dot_product_attention`."""
        if enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        factor = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
        return Asked(query, key, value, attn_mask, dropout_p, is_causal, factor)

    def open_scores(self) -> Tensor:
        """The scaled products of queries and keys, before any mask."""
        return self.query @ self.key.transpose(-2, -1) * self.scale

    def scores(self) -> Tensor:
        """The scores under the mask; what may not be seen is minus infinity."""
        scores = self.open_scores()
        if self.causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        if self.mask is not None:
            hidden = self.mask.dtype == torch.bool
            scores = scores.masked_fill(~self.mask, float("-inf")) if hidden else scores + self.mask
        return scores

    def weights(self, scores: Tensor | None = None) -> Tensor:
        """The softmax of the scores; a query that may see no key gets nothing, and no gradient."""
        scores = self.scores() if scores is None else scores
        blind = scores.isneginf().all(-1, keepdim=True)
        return scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)

    def output(self, weights: Tensor) -> Tensor:
        """The values, weighted."""
        return F.dropout(weights, self.dropout) @ self.value if self.dropout else weights @ self.value
