"""Intervals: how far a number measured on some examples can be trusted (95 %, where nothing else is asked)."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The 97.5 % point of the normal distribution."""

CONFIDENCE = 0.95
"""How often an interval holds the truth."""


def deviations(confidence: float = CONFIDENCE) -> float:
    """How many standard deviations a two-sided normal interval reaches to each side."""
    return Z if confidence == CONFIDENCE else NormalDist().inv_cdf((1 + confidence) / 2)


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


def of_paired_change(
    before: NDArray[np.float64], after: NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """(change, low, high) of the mean from `before` to `after` on the same examples.

    For right and wrong answers this is the interval of McNemar's setting, where only examples that changed count.
    """
    total = len(before)
    if total == 0:
        return 0.0, float("-inf"), float("inf")
    difference = after - before
    change = float(difference.mean())
    if set(np.unique(difference)) <= {-1.0, 0.0, 1.0}:
        lost, won = int((difference < 0).sum()), int((difference > 0).sum())
        return change, *of_paired_shares(lost, won, total, confidence)
    half = deviations(confidence) * float(difference.std(ddof=1)) / sqrt(total) if total > 1 else float("inf")
    return change, change - half, change + half


def of_paired_shares(lost: int, won: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """(low, high) of the change (won - lost) / total of right answers on the same examples, by the score (Tango 1998).

    It is never a point: that none of 540 answers broke leaves a loss of 0.7 points possible. And it keeps its promise
    where few answers changed and at confidences above 95 %, where simpler intervals do not.
    """
    if total == 0:
        return -1.0, 1.0
    z, change = deviations(confidence), (won - lost) / total

    def farther(truth: float) -> bool:
        """Whether the change lies more than z deviations from this truth."""
        middle = (2 * total - won + lost) * truth - won - lost  # 2 total q² + middle q - lost truth (1 - truth) = 0
        root = sqrt(max(0.0, middle * middle + 8 * total * lost * truth * (1 - truth)))
        variance = total * (
            (root - middle) / (2 * total) + truth * (1 - truth)
        )  # q: the likeliest share of broken ones
        return abs(won - lost - total * truth) > z * sqrt(max(0.0, variance))

    return _border(farther, -1.0, change), _border(farther, 1.0, change)


def _border(farther: Callable[[float], bool], outside: float, inside: float) -> float:
    """Where between two truths the first that is not too far away lies."""
    if not farther(outside):
        return outside
    for _ in range(50):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if farther(middle) else (outside, middle)
    return inside
