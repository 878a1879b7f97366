"""Intervals: how far a number measured on some examples can be trusted (95 %)."""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""


def wilson(successes: int, total: int) -> tuple[float, float]:
    """The interval of a share (Wilson 1927): (low, high)."""
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    middle = share + Z * Z / (2 * total)
    half = Z * sqrt(share * (1 - share) / total + Z * Z / (4 * total * total))
    scale = 1 + Z * Z / total
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def of_mean(values: NDArray[np.float64]) -> tuple[float, float]:
    """The normal interval of a mean; as wide as can be from a single value."""
    if len(values) < 2:
        return float("-inf"), float("inf")
    half = Z * float(values.std(ddof=1)) / sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def of_ratio(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of sum(parts) / sum(wholes) where whole examples are drawn, not single tokens (linearised)."""
    if len(parts) < 2 or wholes.sum() == 0:
        return 0.0, 1.0
    ratio, half = _ratio(parts[:, None], wholes[:, None])
    return max(0.0, ratio - half), min(1.0, ratio + half)


def of_r2(errors: NDArray[np.float64], spreads: NDArray[np.float64]) -> tuple[float, float]:
    """The linearised interval of 1 - sum(errors) / sum(spreads), averaged over outputs.

    errors, spreads: `[examples, outputs]`, the squares of prediction and of mean minus target.
    """
    if len(errors) < 2 or not spreads.sum(0).all():
        return float("-inf"), 1.0
    ratio, half = _ratio(errors, spreads)
    return 1 - ratio - half, min(1.0, 1 - ratio + half)


def of_ratio_change(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> tuple[float, float, float]:
    """(change, low, high) of sum(parts) / sum(wholes), averaged over outputs, on the same examples (linearised).

    parts: `[examples, outputs]`, after minus before; wholes: `[examples, outputs]`, the same for both.
    """
    if not len(parts) or not wholes.sum(0).all():
        return 0.0, float("-inf"), float("inf")
    change, half = _ratio(parts, wholes)
    return change, change - half, change + half


def _ratio(parts: NDArray[np.float64], wholes: NDArray[np.float64]) -> tuple[float, float]:
    """The mean over columns of sum(parts) / sum(wholes), and half of its interval (Taylor linearisation)."""
    totals = wholes.sum(0)
    ratios = parts.sum(0) / totals
    residual = ((parts - ratios * wholes) / totals).mean(1)
    half = Z * float(residual.std(ddof=1)) * sqrt(len(parts)) if len(parts) > 1 else float("inf")
    return float(ratios.mean()), half


def of_paired_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float, float]:
    """(change, low, high) of the mean from `before` to `after` on the same examples.

    For right and wrong answers this is the interval of McNemar's setting: only examples that changed count
    (Agresti and Min 2005: half an example is added to each of the four kinds, so that it is never a point: that no
    answer changed on 20 examples does not prove that none ever will).
    """
    total = len(before)
    if total == 0:
        return 0.0, float("-inf"), float("inf")
    difference = after - before
    change = float(difference.mean())
    if set(np.unique(difference)) <= {-1.0, 0.0, 1.0}:
        lost, won = float((difference < 0).sum()), float((difference > 0).sum())
        padded = total + 2
        lost, won = lost + 0.5, won + 0.5
        half = Z * sqrt(lost + won - (won - lost) ** 2 / padded) / padded
        return change, (won - lost) / padded - half, (won - lost) / padded + half
    half = Z * float(difference.std(ddof=1)) / sqrt(total) if total > 1 else float("inf")
    return change, change - half, change + half
