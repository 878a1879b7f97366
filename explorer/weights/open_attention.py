"""`nn.MultiheadAttention` on public operations only, so that what it does can be seen and its projections be thin."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from explorer.errors import ExplorerError


class OpenAttention(nn.MultiheadAttention):
    """The same attention, by `F.linear` and scaled dot products; never PyTorch's fused encoder path.

    An existing `nn.MultiheadAttention` becomes one by `open_attention(module)`; parameters, names and results stay.
    `thin` may hold a module for "query", "key" or "value", which is used instead of the packed projection's part.
    """

    thin: nn.ModuleDict

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Shapes and meanings as in `nn.MultiheadAttention.forward`."""
        if is_causal and attn_mask is None:
            raise ExplorerError("is_causal is only a hint about attn_mask", instead="give attn_mask as well")
        batched = query.dim() == 3
        if not batched:
            query, key, value = query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0)  # (1, N, E)
            key_padding_mask = None if key_padding_mask is None else key_padding_mask.unsqueeze(0)
        elif not self.batch_first:
            query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)  # (B, N, E)

        q = self._split(self._project("query", query))  # (B, H, N, D)
        k, v = self._project("key", key), self._project("value", value)  # (B, S, E)
        k, v, extra = self._with_extra_keys(k, v)
        k, v = self._split(k), self._split(v)  # (B, H, S, D)
        mask = self._mask(attn_mask, key_padding_mask, q, k.shape[2] - extra, extra)

        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(-2, -1) * self.head_dim**-0.5  # (B, H, N, S)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            weights = F.dropout(weights, dropout, training=dropout > 0)
            mixed = weights @ v  # (B, H, N, D)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
        output = self.out_proj(mixed.transpose(1, 2).flatten(2))  # (B, N, E)

        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)  # (B, N, S)
        if not batched:
            return output.squeeze(0), None if weights is None else weights.squeeze(0)
        return output if self.batch_first else output.transpose(0, 1), weights

    def _project(self, part: str, x: Tensor) -> Tensor:
        """q, k or v before the heads are split, (B, N, E)."""
        position = ("query", "key", "value").index(part)
        rows = slice(position * self.embed_dim, (position + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        if part in self.thin:
            y: Tensor = self.thin[part](x)
            return y if bias is None else y + bias
        weight = (
            self.in_proj_weight[rows] if self.in_proj_weight is not None else getattr(self, f"{part[0]}_proj_weight")
        )
        return F.linear(x, weight, bias)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)  # (B, H, N, D)

    def _with_extra_keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, int]:
        """Learned and zero keys at the end, and how many."""
        extra = 0
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(k.shape[0], 1, -1)], dim=1)
            v = torch.cat([v, self.bias_v.expand(v.shape[0], 1, -1)], dim=1)
            extra += 1
        if self.add_zero_attn:
            k = torch.cat([k, k.new_zeros(k.shape[0], 1, k.shape[2])], dim=1)
            v = torch.cat([v, v.new_zeros(v.shape[0], 1, v.shape[2])], dim=1)
            extra += 1
        return k, v, extra

    def _mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, keys: int, extra: int
    ) -> Tensor | None:
        """Both masks as one that is added to the scores, broadcastable to (B, H, N, S); extra keys are always seen."""
        mask = None
        if attn_mask is not None:
            mask = _additive(attn_mask, q.dtype)
            mask = mask if mask.dim() == 2 else mask.unflatten(0, (-1, self.num_heads))  # (N, S) or (B, H, N, S)
        if key_padding_mask is not None:
            padding = _additive(key_padding_mask, q.dtype)[:, None, None, :]  # (B, 1, 1, S)
            mask = padding if mask is None else mask + padding
        return mask if mask is None or not extra else F.pad(mask, (0, extra))


def open_attention(module: nn.MultiheadAttention) -> OpenAttention:
    """Make an existing module an `OpenAttention`, in place; returns it."""
    module.__class__ = OpenAttention
    assert isinstance(module, OpenAttention)
    if "thin" not in module._modules:
        module.thin = nn.ModuleDict()
    return module


def _additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask (true = hidden, or already numbers) as numbers to add."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, float("-inf"))
