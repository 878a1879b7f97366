"""Similarity: how far two tensors of the same meaning lie apart."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_error(before: Tensor, after: Tensor) -> float:
    """||before - after|| / ||before|| (Frobenius, float64); 0 for equal tensors, NaN where only the first is zero."""
    first = before.detach().to("cpu", torch.float64)
    apart = float((first - after.detach().to("cpu", torch.float64)).norm())
    return apart / float(first.norm()) if float(first.norm()) else 0.0 if apart == 0 else float("nan")


def linear_cka(before: Tensor, after: Tensor) -> float:
    """Linear centred kernel alignment of two representations `[examples, features]`, 0 to 1; 1 for a rotated one.

    The numbers of features may differ. NaN where one of the two is the same for all examples.
    Source: Kornblith et al. 2019, Similarity of neural network representations revisited, equation 3, by Gram matrices.
    """
    first, second = _centred_gram(before), _centred_gram(after)
    scale = float(first.norm()) * float(second.norm())
    if torch.equal(first, second) and scale:
        return 1.0
    return min(1.0, float((first * second).sum()) / scale) if scale else float("nan")


def _centred_gram(features: Tensor) -> Tensor:
    """`[examples, examples]`, the products of the examples' features around their mean."""
    values = features.detach().to("cpu", torch.float64)
    values = values - values.mean(0)
    return values @ values.T
