"""Measures of attention rows: how spread, how sure, how different."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropies(weights: Tensor) -> Tensor:
    """Of rows `[..., keys]`: entropy over the log of how many keys they see, 0 to 1; NaN where there is no choice.

    Weights that an edit has scaled count by their shares.
    """
    exact = weights.detach().to(torch.float64)
    exact = exact / exact.sum(-1, keepdim=True)  # NaN where a row is empty
    seen = (exact > 0).sum(-1)
    spread = torch.special.entr(exact).sum(-1) / seen.to(torch.float64).log()
    return torch.where(seen > 1, spread.clamp(0, 1), torch.nan)


def _over_rows(values: Tensor, valid: Tensor) -> Tensor:
    """`[heads]`: means of `[batch, (windows,) heads, queries]` over what is valid `[batch, queries]` and no NaN."""
    if values.dim() == 3:
        values = torch.where(valid[:, None, :], values, torch.nan)
    elif values.shape[-1] == valid.shape[-1]:
        values = torch.where(valid[:, None, None, :], values, torch.nan)
    return values.movedim(-2, 0).flatten(1).nanmean(1)


def normalised_entropy(weights: Tensor, valid: Tensor) -> Tensor:
    """`[heads]`: the mean normalised entropy of the valid rows of `[batch, heads, queries, keys]`; NaN without any."""
    return _over_rows(entropies(weights), valid)


def confidence(weights: Tensor, valid: Tensor) -> Tensor:
    """`[heads]`: the mean over valid rows of the largest weight (Voita et al. 2019)."""
    return _over_rows(weights.detach().to(torch.float64).amax(-1), valid)


def divergence(before: Tensor, after: Tensor) -> Tensor:
    """Jensen-Shannon divergence, base 2, of rows `[..., keys]`: 0 (the same) to 1 (no key in common).

    Rows are taken by their shares; NaN where one of the two is empty.
    """
    first, second = (rows.detach().to(torch.float64) for rows in (before, after))
    first, second = first / first.sum(-1, keepdim=True), second / second.sum(-1, keepdim=True)
    middle = (first + second) / 2
    bits = torch.special.entr(middle) - (torch.special.entr(first) + torch.special.entr(second)) / 2
    return (bits.sum(-1) / math.log(2)).clamp(0, 1)


def overlap(before: Tensor, after: Tensor, k: int = 3) -> Tensor:
    """The share of the k largest keys of rows `[..., keys]` that are among the k largest of the other, 0 to 1."""
    kept = min(k, before.shape[-1])
    first, second = before.topk(kept, -1).indices, after.topk(kept, -1).indices
    return (first[..., :, None] == second[..., None, :]).any(-1).to(torch.float64).mean(-1)


def rank_correlation(before: Tensor, after: Tensor) -> Tensor:
    """Spearman's correlation of rows `[..., keys]`, ties at their mean rank; NaN where a row has no ranking."""
    first, second = _ranks(before), _ranks(after)
    first, second = first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True)
    bottom = (first.square().sum(-1) * second.square().sum(-1)).sqrt()
    return torch.where(bottom > 0, (first * second).sum(-1) / bottom, torch.nan)


def _ranks(rows: Tensor) -> Tensor:
    exact = rows.detach().to(torch.float64)
    ordered = exact.sort(-1).values
    below = torch.searchsorted(ordered, exact.contiguous())
    until = torch.searchsorted(ordered, exact.contiguous(), right=True)
    return (below + until - 1).to(torch.float64) / 2
