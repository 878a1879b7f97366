"""Patterns: which weights live and die together. Each turns scores into the units that compete, and back.

A pattern function takes scores `[out, in]` and gives the scores of its units; `spread` (`weights/forms.py`) takes the
units kept (booleans of the same shape) back to a mask `[out, in]`. N:M is its own: it competes in each group of M.
"""

from __future__ import annotations

import torch
from torch import Tensor

from explorer.names import PATTERNS


@PATTERNS.register(
    "unstructured",
    label="each weight",
    help="Every weight stands for itself: the least accuracy is lost, and the zeros lie anywhere.",
    reference="Han et al. 2015",
)
def unstructured(scores: Tensor) -> Tensor:
    """One unit a weight: `[out, in]`."""
    return scores


@PATTERNS.register(
    "n:m",
    label="N : M",
    help="Keep N of every M neighbouring inputs: with 2 of 4, what NVIDIA's sparse tensor cores need.",
    reference="Mishra et al. 2021, Accelerating sparse deep neural networks",
)
def n_of_m(scores: Tensor, n: int, m: int) -> Tensor:
    """The mask `[out, in]` that keeps the `n` highest of each `m` consecutive inputs, never more, also with ties.

    Of a ragged end (fewer than `m` inputs left) at most `n` are kept, too.
    """
    rows, columns = scores.shape
    full = columns // m * m
    parts = []
    if full:
        parts.append(_keep_highest(scores[:, :full].reshape(-1, m), n).reshape(rows, full))
    if full < columns:
        parts.append(_keep_highest(scores[:, full:], n))
    return torch.cat(parts, dim=1)


@PATTERNS.register(
    "row",
    label="neurons",
    help="Whole rows go, with their bias: a neuron, or a filter of a convolution. Here the matrix could really shrink.",
    reference="Li et al. 2017, Pruning filters for efficient ConvNets",
)
def row(scores: Tensor) -> Tensor:
    """One unit a row, `[out]`: the root mean square of its scores, so that rows of different length can compete."""
    return scores.to(torch.float32).square().mean(dim=1).sqrt()


def _keep_highest(groups: Tensor, n: int) -> Tensor:
    """`[groups, m]` -> booleans with the `n` highest of each line; of equal ones the first stay."""
    n = min(n, groups.shape[1])
    order = groups.argsort(dim=1, descending=True, stable=True)[:, :n]
    return torch.zeros(groups.shape, dtype=torch.bool, device=groups.device).scatter_(1, order, True)
