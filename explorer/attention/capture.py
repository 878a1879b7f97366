"""Attention maps from an unchanged model: a function mode answers the fused attention and notes the eager one.

The fused `scaled_dot_product_attention` never hands out its weights, so the mode computes them, with mask, causality,
scale, grouped queries and dropout as documented, and goes on with these. An eager softmax is noted when its result,
followed through dropout, casts and views, is the left operand of a product of batches; other softmaxes are none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FUSED = {F.scaled_dot_product_attention}
SOFTMAXES = {F.softmax, torch.softmax, Tensor.softmax}
FOLLOWED = {
    F.dropout, torch.dropout, Tensor.to, Tensor.type_as, Tensor.float, Tensor.half, Tensor.bfloat16, Tensor.contiguous,
    Tensor.view, Tensor.reshape, torch.reshape, Tensor.squeeze, Tensor.unsqueeze, Tensor.flatten, Tensor.unflatten,
}  # fmt: skip
PRODUCTS = {torch.matmul, torch.bmm, Tensor.matmul, Tensor.bmm, Tensor.__matmul__}


class Capture(TorchFunctionMode):
    """While it is on, every attention map `[batch, heads, queries, keys]` of the forward passes goes into `maps`.

    It works above autograd, so that maps have gradients. Only this thread's forward passes are seen.
    """

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps
        self._followed: dict[int, tuple[Tensor, Tensor]] = {}  # id of a tensor -> (it, the softmax it came from)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FUSED:
            return self._attend(*args, **kwargs)
        result = func(*args, **kwargs)
        first = args[0] if args else None
        if func in SOFTMAXES:
            self._followed[id(result)] = (result, result)
        elif isinstance(first, Tensor) and id(first) in self._followed:
            held, weights = self._followed[id(first)]
            if held is first and func in FOLLOWED and isinstance(result, Tensor):
                self._followed[id(result)] = (result, weights)
            elif held is first and func in PRODUCTS and first.dim() >= 3 and isinstance(result, Tensor):
                self.maps.append(weights if weights.dim() >= 4 else weights.unsqueeze(1))
        return result

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """What the fused function gives, by way of its weights (as in its documentation)."""
        if enable_gqa:
            key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
            value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
        scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, float("-inf")) if hidden else scores + attn_mask
        blind = scores.isneginf().all(-1, keepdim=True)  # a query that may see no key gets nothing, and no gradient
        weights = scores.masked_fill(blind, 0.0).softmax(-1).masked_fill(blind, 0.0)
        self.maps.append(weights if weights.dim() >= 4 else weights.unsqueeze(1))
        return F.dropout(weights, dropout_p) @ value if dropout_p else weights @ value


@contextmanager
def captured(maps: list[Tensor], when: bool = True) -> Iterator[None]:
    """Collect the attention maps of the forward passes inside, in the order in which they are computed."""
    if not when:
        yield
        return
    with Capture(maps):
        yield
